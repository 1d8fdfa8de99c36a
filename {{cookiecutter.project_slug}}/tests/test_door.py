"""What stands before the service: who is let in, who is told to come again, and that nobody waits for anybody else."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from time import perf_counter, sleep
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline import door
from pipeline.about import About
from pipeline.door import Door
from pipeline.meters import Meters
from pipeline.model import Model
from tests import tables

BUSY = "too many ask at once; ask again in 1 s, with more rows in a request"
GOOD = b'{"rows": [1]}'
JSON = {"content-type": "application/json"}
Sent = tuple[int, dict[str, str], Any]


class Answering:
    """A service that answers with how many bytes it was sent, after a while."""

    def __init__(self, seconds: float = 0) -> None:
        self.registry, self.seconds = CollectorRegistry(), seconds
        served = Model(tables.problem(), "linear", (), "sha256:ab", dict)
        self.meters, self.about = Meters(served, self.registry), About(served)

    def answer(self, body: bytes, request: str) -> bytes:
        sleep(self.seconds)
        return str(len(body)).encode()

    def tried(self, body: bytes) -> bytes:
        return self.answer(body, "")

    def counted(self, name: str, **labels: str) -> float | None:
        self.meters.add()
        return self.registry.get_sample_value(f"scorer_{name}", labels)


async def nobody(*_: Any) -> None:
    raise AssertionError("BentoML is not asked")


def knock(
    at: Door, *parts: bytes, pause: float = 0, headers: Mapping[str, str] | None = None, path: str = door.PREDICT
) -> Coroutine[Any, Any, Sent]:
    """What is answered to a POST to a path whose body comes in parts, with a pause before each."""
    whole = {**JSON, "content-length": str(sum(map(len, parts))), **(headers or {})}
    said = {name.encode(): value.encode() for name, value in whole.items() if value}
    scope = {"type": "http", "path": path, "method": "POST", "headers": list(said.items())}

    async def bodies() -> AsyncIterator[dict[str, Any]]:
        for number, part in enumerate(parts, start=1):
            await asyncio.sleep(pause)
            yield {"type": "http.request", "body": part, "more_body": number < len(parts)}
        yield {"type": "http.disconnect"}

    waiting, sent = bodies(), list[dict[str, Any]]()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def ask() -> Sent:
        await at(scope, waiting.__anext__, send)
        if not sent:
            return 0, {}, None
        start, content = sent
        return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, json.loads(content["body"])

    return ask()


def at_once(*asked: Callable[[], Coroutine[Any, Any, Sent]]) -> Sequence[Sent]:
    """What is answered to all of them, who ask at the same moment."""

    async def ask() -> Sequence[Sent]:
        return await asyncio.gather(*(each() for each in asked))

    return asyncio.run(ask())


def opened(seconds: float = 0, **options: Any) -> tuple[Answering, Door]:
    """A service, and its door."""
    service = Answering(seconds)
    return service, Door(nobody, nobody, lambda: service, **options)


def test_a_body_in_parts_is_one_body() -> None:
    service, at = opened()
    ((status, headers, said),) = at_once(lambda: knock(at, b"ab", b"", b"cde"))
    assert (status, said, headers["content-length"]) == (200, 5, "1")
    assert service.counted("requests_total", status="200") == 1
    assert service.counted("request_seconds_count") == 1


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"content-type": "text/csv"}, 415, "media_type"),
        ({"content-encoding": "gzip"}, 415, "media_type"),
        ({"content-type": "", "origin": "https://elsewhere.example"}, 415, "media_type"),
        ({"content-length": ""}, 411, "length"),
        ({"content-length": "-1"}, 411, "length"),
        ({"content-length": str(door.MAX_BYTES + 1)}, 413, "length"),
        ({"content-length": "9" * 5000}, 413, "length"),
    ],
)
def test_what_nobody_should_read_is_refused_by_its_headers(headers: dict[str, str], status: int, reason: str) -> None:
    service, at = opened()
    ((found, _, said),) = at_once(lambda: knock(at, GOOD, headers=headers))
    assert found == status and said["error"].startswith("send ")
    assert (
        service.counted("rejected_total", reason=reason) == service.counted("requests_total", status=str(status)) == 1
    )
    assert service.counted("request_seconds_count") == 0


def test_a_body_that_comes_too_slowly_is_given_up_and_keeps_nobody_waiting() -> None:
    service, at = opened(seconds=0)
    at.seconds = 0.05
    slow, quick = at_once(lambda: knock(at, *[b" "] * 100, pause=0.01), lambda: knock(at, GOOD))
    assert (slow[0], quick[0]) == (408, 200) and "within 0.05 s" in slow[2]["error"]
    assert service.counted("rejected_total", reason="slow") == 1 and at.under_way == 0


def test_who_hangs_up_is_not_answered() -> None:
    service, at = opened()
    ((status, _, _),) = at_once(lambda: knock(at, headers={"content-length": "9"}))
    assert status == 0 and service.counted("rejected_total", reason="gone") == 1 and at.under_way == 0


def test_bodies_under_way_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "UNDER_WAY", 100)
    monkeypatch.setattr(door, "SMALL", 10)
    _, at = opened()
    large, small = (lambda size=size: knock(at, b" " * size, b" " * size, pause=0.01) for size in (40, 5))
    found = [status for status, *_ in at_once(*[large] * 4, small, lambda: knock(at, b" " * 100))]
    assert sorted(found[:4]) == [200, 200, 429, 429] and at.under_way == 0
    assert found[4:] == [200, 200], "whoever sends little, or all at once, is let in"


def test_who_says_that_much_will_come_keeps_nobody_out() -> None:
    _, at = opened()
    at.seconds = 0.05
    many = [lambda: knock(at, b" ", b" ", pause=1, headers={"content-length": str(door.MAX_BYTES)})] * 50
    *slow, honest = at_once(*many, lambda: knock(at, GOOD))
    assert {status for status, *_ in slow} == {408} and honest[0] == 200


def test_under_overload_some_are_answered_in_time_and_the_rest_is_told_so_at_once() -> None:
    """The first turn is a crowd that will be gone; that the second one is as large is overload."""
    service, at = opened(seconds=0.01, wait=0.05)

    async def crowds() -> list[tuple[float, Sequence[Sent]]]:
        found = []
        for _ in range(3):
            began = perf_counter()
            said = await asyncio.gather(*(knock(at, GOOD) for _ in range(30)))
            found.append((perf_counter() - began, said))
        await asyncio.sleep(0.1)
        return [*found, (0, await asyncio.gather(*(knock(at, GOOD) for _ in range(30))))]

    first, *overload, later = asyncio.run(crowds())
    assert {status for status, *_ in (*first[1], *later[1])} == {200}
    for took, found in overload:
        answered, refused = ([each for each in found if each[0] == status] for status in (200, 429))
        assert len(answered) + len(refused) == 30 and 4 <= len(answered) <= 6
        assert took < 0.2, "one after the other they take 0.3 s"
        assert {(headers["retry-after"], said["error"]) for _, headers, said in refused} == {("1", BUSY)}
    assert service.counted("rejected_total", reason="busy") == sum(e[0] == 429 for _, of in overload for e in of) > 0


def test_whoever_waits_is_counted_as_waiting() -> None:
    service, at = opened(seconds=0.02, wait=1)
    at_once(*[lambda: knock(at, GOOD)] * 5)
    assert service.counted("request_seconds_bucket", le="0.05") in (1, 2), "the others were there as early"
    assert service.counted("request_seconds_bucket", le="0.25") == 5


def test_a_fault_of_ours_is_answered_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    service, at = opened()
    service.answer = lambda body, request: 1 // 0  # type: ignore[method-assign, assignment, return-value]
    ((status, headers, said),) = at_once(lambda: knock(at, GOOD, headers={"x-request-id": "mine"}))
    assert (status, headers["x-request-id"]) == (500, "mine") and "ZeroDivisionError" not in str(said)
    assert "mine" in caplog.text and "ZeroDivisionError" in caplog.text
    assert service.counted("rejected_total", reason="fault") == 1


# --- the page ---


def test_rows_are_tried_one_at_a_time_and_keep_no_request_waiting() -> None:
    service, at = opened(seconds=0.3)

    async def ask() -> tuple[Sequence[Sent], float]:
        trying = [asyncio.create_task(knock(at, GOOD, path=door.TRY)) for _ in range(3)]
        await asyncio.sleep(0.05)
        service.seconds, began = 0, perf_counter()
        status, *_ = await knock(at, GOOD)
        took = perf_counter() - began
        return [(status, {}, None), *await asyncio.gather(*trying)], took

    (answered, *tried), took = asyncio.run(ask())
    assert answered[0] == 200 and took < 0.2
    assert [status for status, *_ in tried] == [200, 429, 429] and tried[1][1]["retry-after"] == "1"
    assert service.counted("requests_total", status="200") == 1, "what is tried is no request"
    assert service.counted("requests_total", status="429") == 0
    assert at_once(lambda: knock(at, GOOD, path=door.TRY))[0][0] == 429, "it rests for as long as it took"
    at.trying = 0
    assert at_once(lambda: knock(at, GOOD, path=door.TRY))[0][0] == 200


def test_what_is_tried_is_refused_as_a_request_is(caplog: pytest.LogCaptureFixture) -> None:
    service, at = opened()
    assert at_once(lambda: knock(at, GOOD, path=door.TRY, headers={"content-length": ""}))[0][0] == 411
    service.tried = lambda body: 1 // 0  # type: ignore[method-assign, assignment, return-value]
    assert at_once(lambda: knock(at, GOOD, path=door.TRY))[0][0] == 500 and "ZeroDivisionError" in caplog.text
    assert at.trying < perf_counter() + 1
