"""What the service is asked, and what it answers: types made of what the model's manifest says of a row."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import ceil, floor
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from pipeline import tasks
from pipeline.model import AHEAD, MAX_ROWS, MISSING, SINCE, Input, Problem
from pipeline.params import BadInput
from pipeline.reading import nearest
from pipeline.tasks import Answered

TOLD, TOLD_NAME = 20, 100  # mistakes, and characters of a name: what compares more keeps others waiting

WRITTEN = f"^[^{MISSING}]"  # the graph takes MISSING for no text
REQUEST = "the request"  # what a refusal calls it
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Row = dict[str, Any]


# --- what is asked ---


def request_model(problem: Problem, inputs: Sequence[Input], most: int = MAX_ROWS) -> "type[Asked]":
    """The request: {"rows": [{<id>: 1, <inputs>}]}, of 1 to `most` rows, each value of its type and in its range.

    A row may say when its event happened, under the time's name, where the problem has one; it is None, where it does
    not, as is what may be missing. The first bad row ends the check, so that refusing a request costs no more than
    answering it.
    """
    identifier = Input(problem.id, problem.id_type, about="Identifies the row: it comes back with the answer")
    fields: dict[str, Any] = {column.name: field(column) for column in (identifier, *inputs)}
    if problem.time:
        about = Field(title=problem.time, description="When it happened, in UTC; or now", default=None)
        fields[problem.time] = Annotated[datetime, PlainValidator(happened, json_schema_input_type=datetime), about]
    row: Any = TypedDict("Row", fields)  # type: ignore[misc]
    row.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
    rows = Annotated[list[row], Field(min_length=1, max_length=most), FailFast()]
    asked = create_model("Request", __base__=Asked, rows=(rows, ...))
    asked.sent = dict.fromkeys(fields)
    return asked


class Asked(BaseModel):
    """A request, whose refusal says what was meant by a name that a row does not have."""

    model_config = ConfigDict(**STRICT, title=REQUEST)
    sent: ClassVar[Mapping[str, None]] = {}  # the names that a row may have
    rows: list[Row]

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as refused:
            raise ValidationError.from_exception_data(
                refused.title, [cls.told(error) for error in refused.errors(include_url=False)[:TOLD]], "json"
            ) from None

    @classmethod
    def told(cls, error: ErrorDetails) -> InitErrorDetails:
        """What is wrong with a value, as pydantic says it; and of a name that is not sent which one is like it."""
        said, place = error["msg"], error["loc"]
        if error["type"] == "extra_forbidden" and len(place) > 1:
            said = f"{said}; {nearest(str(place[-1])[:TOLD_NAME], cls.sent)}"
        return {"type": PydanticCustomError(error["type"], "{said}", {"said": said}), "loc": place, "input": None}


def field(column: Input) -> Any:
    """A column as a field of the request: its type, its range, what it means; null, or left out, where it may be."""
    kind: Any = typed(column)
    about: Any = {"title": column.name, "description": column.about or None}
    if column.missing:
        return Annotated[kind | None, Field(default=None, **about)]
    return Annotated[kind, Field(**about)]


def typed(column: Input) -> Any:
    """The type of a column's values, and their range."""
    match column.type:
        case "integer":
            return Annotated[int, Field(ge=ceil(column.lowest), le=floor(column.highest))]
        case "number":
            return Annotated[float, Field(ge=float(column.lowest), le=float(column.highest))]
        case "boolean":
            return bool
        case "time":
            return Annotated[datetime, PlainValidator(moment, json_schema_input_type=datetime)]
        case _ if column.categories:
            return Literal[column.categories]
        case _:
            return Annotated[str, Field(min_length=1, max_length=column.longest, pattern=WRITTEN)]


def happened(said: object) -> datetime:
    """When a row happened, as `moment`. Refused before SINCE and later than AHEAD of now: it names a folder."""
    found = moment(said)
    if not SINCE <= found.replace(tzinfo=UTC) <= datetime.now(UTC) + AHEAD:
        raise PydanticCustomError("moment", f"Input should be from {SINCE.date()} to a day from now, in UTC")
    return found


def in_utc(moment: datetime) -> datetime:
    """The moment as the source writes it: without a time zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def moment(said: object) -> datetime:
    """A time in UTC, without a time zone; a day is its midnight. Refused where it is no ISO 8601."""
    try:
        found = datetime.fromisoformat(said if isinstance(said, str) else "")
        return in_utc(found) if found.tzinfo else found
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment", "Input should be a valid datetime or day, such as 2018-08-14") from None


# --- what is answered ---


def answer_model(problem: Problem) -> type[BaseModel]:
    """The answer: {"predictions": [{<id>: 1, <part>: ..., ...}], "model": "sha256:..."}, whose parts the task names.

    Raises BadInput where the identifier is called as a part of it.
    """
    if said := tasks.mistakable(problem):
        raise BadInput(f"contract.yaml: {said}")
    kind = int if problem.id_type == "integer" else str
    fields: dict[str, Any] = {problem.id: Annotated[kind, Field(title=problem.id)]}
    for name, part in tasks.task(problem.task).answers(problem).items():
        fields[name] = Annotated[said_as(part, problem), Field(title=name, description=part.about)]
    row: Any = TypedDict("Prediction", fields)  # type: ignore[misc]
    digest = Field(description="Digest of the model that answered")
    return create_model("Answer", predictions=(list[row], ...), model=(str, digest))


def said_as(part: Answered, problem: Problem) -> Any:
    """The type of a part of an answer."""
    kinds = {"number": float, "boolean": bool, "shares": dict[str, float]}
    return Literal[problem.values] if part.kind == "label" else kinds[part.kind]
