"""The service: rows in, answers out. `make serve` builds a Bento of it and serves what was built.

    bytes -> door.py: may they come in? -> request.py: what do they ask? -> the model -> writer.py: the prediction log

The request's type is made of what the model's manifest says of a row, so importing this module loads the model: model/
beside pipeline/, or the directory that MODEL names.
"""

import gc
import logging
import os
import resource
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from time import time_ns
from typing import Any
from uuid import uuid4

import bentoml
from prometheus_client import REGISTRY, CollectorRegistry
from pydantic_core import to_json
from starlette.responses import Response

from pipeline import door, log, profile, tasks, writer
from pipeline.about import About
from pipeline.door import App, Door
from pipeline.meters import Meters, forget_dead_workers
from pipeline.model import BadModel, Model, load
from pipeline.params import BadInput, variable
from pipeline.request import Row, answer_model, request_model

EPOCH, MICROSECOND, DAY = datetime(1970, 1, 1), timedelta(microseconds=1), timedelta(days=1)


def load_model(folder: Path) -> Model:
    """The model in a folder. Raises BadInput where there is none."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reports to its maker unless it is told not to
    try:
        threads = int(variable("PREDICT_THREADS", 1, whole=True))
        return load(folder, threads)
    except BadModel as error:
        raise BadInput(str(error)) from None


class Behind(bentoml.Service[Any]):
    """A BentoML service that is reached through the Door."""

    def to_asgi(self, is_main: bool = True) -> App:
        app: Any = super().to_asgi(is_main=is_main)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection is an open file
        logging.getLogger("uvicorn.access").propagate = False  # else it writes a line a request, for nobody
        return Door(app, app.router, bentoml.get_current_service, seconds, wait)


folder = Path(os.environ.get("MODEL") or Path(__file__).parent.parent / "model")
model = load_model(folder)
problem, task = model.problem, tasks.task(model.problem.task)
ASKED, ANSWERED = request_model(problem, model.inputs), answer_model(problem)
TRIED = request_model(problem, model.inputs, 1)
timed = [column.name for column in model.inputs if column.type == "time"]
shares = tasks.shares(task.answers(problem))
rules, period = log.policy(), variable("PREDICTION_LOG_SECONDS", writer.SECONDS)
seconds, wait = variable("PREDICT_SECONDS", door.SECONDS), variable("PREDICT_WAIT", door.WAIT)
expected = profile.load(folder.parent / profile.PROFILE, model)
promoted = os.environ.get("PROMOTED_MODEL", "")  # what deploy/production says
model_card = Path(os.environ["MODEL_CARD"]) if os.environ.get("MODEL_CARD") else None
log.Folder.at()  # what is wrong with the log ends the start, as what is wrong with the model does


@bentoml.service(
    service_class=Behind,
    workers=int(variable("PREDICT_WORKERS", 1, whole=True)),
    traffic={"timeout": 5},  # BentoML holds on to every request for as long, however soon it was answered
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # half of a request's time, even where nothing is traced
)
class Scorer:
    """Answers requests with the model that this Bento carries."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        forget_dead_workers()
        release = bentoml.server_context.bento_version.replace("not available", "")  # where no Bento is served
        self.meters = meters = Meters(model, registry, release, promoted, expected, rules.personal)
        self.about = About(model, release, promoted, expected, rules.personal, model_card)
        counters = meters.logged, meters.lost
        self.log = writer.Log(log.Folder.at(), model, rules, *counters, period, watch=meters.watch, tick=meters.tick)
        gc.collect()
        gc.freeze()  # what was loaded stays: collections need not look at it again
        gc.set_threshold(50_000)

    def answer(self, body: bytes, request: str) -> bytes:
        """The answer to a request's body, as JSON. Raises ValidationError where the body is wrong."""
        return self.scored(ASKED.model_validate_json(body).rows, request)

    def scored(self, rows: Sequence[Row], request: str) -> bytes:
        """The answer to rows that were checked."""
        moments = happened(rows)
        given = model.given(rows)
        said = task.answer(model.scorer(given), problem)
        identifiers = [row[problem.id] for row in rows]
        self.log.add(identifiers, moments, given, said, request)
        self.meters.scored(said[task.WATCHED], self.log.held)
        predictions = tasks.rowwise({problem.id: identifiers, **said}, problem, shares)
        return to_json({"predictions": predictions, "model": model.digest})

    def tried(self, body: bytes) -> bytes:
        """The answer to a row of the page, and its reasons; it is not logged. Raises ValidationError."""
        (row,) = rows = TRIED.model_validate_json(body).rows
        happened(rows)
        said = task.answer(model.scorer(model.given(rows)), problem)
        (answer,) = tasks.rowwise(said, problem, shares)
        self.meters.tried.inc()
        return to_json({"answer": answer, **self.about.reasons(row), "model": model.digest})

    @bentoml.api(input_spec=ASKED, output_spec=ANSWERED)
    async def predict(self, rows: list[Any]) -> Response:
        """Predict: each row has the model's inputs, and an identifier that comes back with its answer."""
        return Response(self.scored(rows, uuid4().hex), media_type="application/json")

    @bentoml.on_shutdown
    def close(self) -> None:
        """Write what the prediction log still holds."""
        self.log.close()
        self.meters.add()


def happened(rows: Sequence[Row]) -> list[int]:
    """When each row happened, or now: microseconds since the epoch. Its times become days before that, as learned."""
    now = time_ns() // 1_000
    if not timed and not (problem.time and any(row[problem.time] for row in rows)):
        return [now] * len(rows)
    moments = [(problem.time and row[problem.time]) or EPOCH + now * MICROSECOND for row in rows]
    for row, at in zip(rows, moments, strict=True):
        for name in timed:
            row[name] = None if row[name] is None else (at - row[name]) / DAY
    return [(at - EPOCH) // MICROSECOND for at in moments]
