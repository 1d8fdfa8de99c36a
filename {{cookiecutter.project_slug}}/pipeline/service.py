"""The service: rows in, answers out. `make serve` builds a Bento of it and serves what was built.

The request's type is made of what the model's manifest says of a row, so importing this
module loads the model: model/ beside pipeline/, or the directory that MODEL names.
"""

import gc
import logging
import os
import re
from collections import Counter as Occurrences
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any, ClassVar, Literal, Self

import bentoml
from prometheus_client import Counter, Gauge, Histogram
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
from starlette.datastructures import Headers
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import JSONResponse

from pipeline import log, tasks
from pipeline.model import AHEAD, MAX_ROWS, MISSING, SINCE, BadModel, Input, Model, Problem, Value, load
from pipeline.params import BadInput
from pipeline.reading import nearest
from pipeline.tasks import Answered

MAX_BYTES = 4 * 2**20  # of a request: several times what MAX_ROWS rows need
TOLD, TOLD_NAME = 20, 100  # mistakes, and characters of a name: what compares more keeps others waiting
METERED = {"/predict", "/livez", "/readyz", "/healthz", "/metrics", "/docs.json", "/"}

REQUEST_ID = "x-request-id"
SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:;=/+@-]{0,127}")  # a request id as proxies make them; it ends up in logs

WRITTEN = f"^[^{MISSING}]"  # the graph takes MISSING for no text
DAY = timedelta(days=1)
REQUEST = "the request"  # what a refusal calls it
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

request_id: ContextVar[str] = ContextVar("request_id", default="")


# What is asked and what is answered


def request_model(problem: Problem, inputs: Sequence[Input]) -> type[BaseModel]:
    """The request: {"rows": [{<id>: 1, <inputs>}]}, of 1 to MAX_ROWS rows, each value of its type and in its range.

    A row may say when its event happened, under the time's name, where the problem has one; it is now, where it does
    not. The first bad row ends the check, so that refusing a request costs no more than answering it. Whatever a column
    is called is its alias: a field's name has to be Python's.
    """
    identifier = Input(problem.id, problem.id_type, about="Identifies the row: it comes back with the answer")
    fields: dict[str, Any] = {
        "identifier": field(identifier),
        **{name: field(column) for name, column in zip(names(inputs), inputs, strict=True)},
    }
    if problem.time:
        when = Field(alias=problem.time, title=problem.time, description="When it happened, in UTC; or now")
        fields["moment"] = (Annotated[datetime, PlainValidator(happened, json_schema_input_type=datetime), when], None)
    row = create_model("Row", __config__=STRICT, **fields)
    rows = Annotated[list[row], Field(min_length=1, max_length=MAX_ROWS), FailFast()]  # type: ignore[valid-type]
    asked = create_model("Request", __base__=Asked, rows=(rows, ...))
    asked.sent = dict.fromkeys([problem.id, *(column.name for column in inputs), *filter(None, [problem.time])])
    return asked


class Asked(BaseModel):
    """A request, whose refusal says what was meant by a name that a row does not have."""

    model_config = ConfigDict(**STRICT, title=REQUEST)
    sent: ClassVar[Mapping[str, None]] = {}  # the names that a row may have

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


def names(inputs: Sequence[Input]) -> list[str]:
    """The fields of a row that hold the inputs."""
    return [f"c{at}" for at in range(len(inputs))]


def field(column: Input) -> tuple[Any, Any]:
    """A column as a field of the request: its type, its range, what it means; null, or left out, where it may be."""
    about = Field(alias=column.name, title=column.name, description=column.about or None)
    kind: Any = typed(column)
    return (Annotated[kind | None, about], None) if column.missing else (Annotated[kind, about], ...)


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


def answer_model(problem: Problem) -> type[BaseModel]:
    """The answer: {"predictions": [{<id>: 1, <part>: ..., ...}], "model": "sha256:..."}, whose parts the task names.

    Raises BadInput where the identifier is called as a part of it.
    """
    if said := tasks.mistakable(problem):
        raise BadInput(f"contract.yaml: {said}")
    parts = tasks.task(problem.task).answers(problem)
    kind = int if problem.id_type == "integer" else str
    fields: dict[str, Any] = {"identifier": (kind, Field(alias=problem.id, title=problem.id))}
    for at, (name, part) in enumerate(parts.items()):
        fields[f"p{at}"] = (said_as(part, problem), Field(alias=name, title=name, description=part.about))
    answered = create_model("Prediction", **fields)
    digest = Field(description="Digest of the model that answered")
    return create_model("Answer", predictions=(list[answered], ...), model=(str, digest))  # type: ignore[valid-type]


def said_as(part: Answered, problem: Problem) -> Any:
    """The type of a part of an answer."""
    kinds = {"number": float, "boolean": bool, "shares": dict[str, float]}
    return Literal[problem.values] if part.kind == "label" else kinds[part.kind]


# What stands before BentoML's own answers


class Door:
    """Refuses what is no JSON of a fair size, names every request, and keeps unknown paths out of the metrics.

    BentoML labels its metrics with the path as it was sent: every made-up one would stay in memory.
    """

    def __init__(self, app: App, router: App) -> None:
        self.app = app
        self.unmetered: App = ExceptionMiddleware(router)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        app = self.app
        if scope["type"] == "http" and scope["path"] not in METERED:
            app = self.unmetered
        elif scope["type"] == "http" and scope["method"] == "POST":
            headers = Headers(scope=scope)
            app, send = refusal(headers) or self.app, named(headers, send)
        await app(scope, receive, send)


def named(headers: Headers, send: Any) -> Any:
    """Gives the request the id that it came with, if it is a sane one, or a new one; `send` that answers with it."""
    said = headers.get(REQUEST_ID, "")
    name = said if SANE.fullmatch(said) else token_hex(16)
    request_id.set(name)

    async def answer(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (REQUEST_ID.encode(), name.encode())]
        await send(message)

    return answer


def refusal(headers: Headers) -> JSONResponse | None:
    """Why a body cannot be read, from its headers alone; None where it can."""
    media_type = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        return JSONResponse({"error": f"send JSON, with content-type: application/json; not {media_type}"}, 415)
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return JSONResponse({"error": "send the header content-length"}, 411)
    if int(length) > MAX_BYTES:
        return JSONResponse({"error": f"send at most {MAX_BYTES} bytes and {MAX_ROWS} rows in a request"}, 413)
    return None


class Behind(bentoml.Service[Any]):
    """A BentoML service that is reached through the Door."""

    def to_asgi(self, is_main: bool = True) -> App:
        app: Any = super().to_asgi(is_main=is_main)
        return Door(app, app.router)


def ours(record: logging.LogRecord) -> bool:
    """Whether a logged exception is a fault of ours: a bad request is answered, and needs no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, ValidationError) and error.title == REQUEST)


def before(field: str, rows: Sequence[Any], moments: Sequence[datetime]) -> list[float | None]:
    """The days that each row's value of a field lies before the row's own moment, as the model learned them."""
    values = [getattr(row, field) for row in rows]
    return [None if value is None else (at - value) / DAY for at, value in zip(moments, values, strict=True)]


# What is counted


def meter(served: Model) -> Callable[[Sequence[Any]], None]:
    """Counts what is WATCHED of the answers: numbers in a histogram, classes each by itself."""
    task, problem = tasks.task(served.problem.task), served.problem
    name = f"scorer_{task.WATCHED}"
    if buckets := task.buckets(problem, served.settled):
        observe = Histogram(name, "What was answered", buckets=buckets).observe

        def spread(values: Sequence[float]) -> None:
            for value in values:
                observe(value)

        return spread
    counter = Counter(name, "Rows, by what was answered", [task.WATCHED])
    for value in problem.values:
        counter.labels(value)  # shown from the start: a counter that appears at 1 has no increase

    def count(values: Sequence[Value]) -> None:
        for value, number in Occurrences(values).items():
            counter.labels(value).inc(number)

    return count


# The service


def load_model() -> Model:
    """The model beside this code, in the repository and in a Bento alike, unless MODEL names another."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reports to its maker unless it is told not to
    try:
        return load(Path(os.environ.get("MODEL") or Path(__file__).parent.parent / "model"))
    except BadModel as error:
        raise BadInput(str(error)) from None


model = load_model()
columns = [
    (name, column.name, column.type == "time") for name, column in zip(names(model.inputs), model.inputs, strict=True)
]
task = tasks.task(model.problem.task)
shares = tasks.shares(task.answers(model.problem))
rules, period = log.policy(), log.period()
log.Folder.at()  # what is wrong with the log ends the start, as what is wrong with the model does


@bentoml.service(
    service_class=Behind,
    traffic={"timeout": 5},  # BentoML holds on to every request for as long, however soon it was answered
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # half of a request's time, even where nothing is traced
)
class Scorer:
    """Answers requests with the model that this Bento carries."""

    def __init__(self) -> None:
        logging.getLogger("bentoml._internal.server.http_app").addFilter(ours)
        self.rows = Counter("scorer_rows", "Rows that were answered")
        self.meter = meter(model)
        logged = Counter("scorer_log_rows", "Rows that the prediction log has written")
        lost = Counter("scorer_log_lost_rows", "Rows that the prediction log has lost", ["reason"])
        self.log = log.Log(log.Folder.at(), model, rules, logged, lost, period)
        info = Gauge("scorer_model_info", "The model that answers", ["model"], multiprocess_mode="max")
        info.labels(model.digest).set(1)
        gc.collect()
        gc.freeze()  # what was loaded stays: collections need not look at it again
        gc.set_threshold(50_000)

    @bentoml.api(input_spec=request_model(model.problem, model.inputs), output_spec=answer_model(model.problem))
    async def predict(self, rows: list[Any]) -> JSONResponse:
        """Predict: each row has the model's inputs, and an identifier that comes back with its answer."""
        now = datetime.now(UTC).replace(tzinfo=None)
        moments = [row.moment or now for row in rows] if model.problem.time else [now] * len(rows)
        sent = [vars(row) for row in rows]
        table = {
            name: before(field, rows, moments) if timed else [row[field] for row in sent]
            for field, name, timed in columns
        }
        said = task.answer(model.predict(table), model.problem)
        self.rows.inc(len(rows))
        self.meter(said[task.WATCHED])
        identifiers = [row.identifier for row in rows]
        answers = {log.kept(name): values for name, values in said.items()}
        self.log.add({log.ID: identifiers, log.TIME: moments, **table, **answers}, request_id.get())
        predictions = tasks.rowwise({model.problem.id: identifiers, **said}, model.problem, shares)
        return JSONResponse({"predictions": predictions, "model": model.digest})

    @bentoml.on_shutdown
    def close(self) -> None:
        """Write what the prediction log still holds."""
        self.log.close()
