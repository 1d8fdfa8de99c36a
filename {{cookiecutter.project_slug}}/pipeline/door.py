"""What stands before the service: it takes a request off the wire, and refuses what nobody should read or answer.

It answers POST /predict ahead of BentoML's middleware, which would take longer than everything that is done here, and
the model's own page. All other paths are BentoML's.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from math import inf
from random import getrandbits
from time import perf_counter
from typing import Any, Protocol

from pydantic import ValidationError
from starlette.middleware.exceptions import ExceptionMiddleware

from pipeline.about import About
from pipeline.meters import Meters
from pipeline.model import MAX_ROWS

PREDICT, TRY, PAGE, ABOUT = "/predict", "/try", "/", "/about.json"
METERED = {"/livez", "/readyz", "/healthz", "/metrics", "/docs.json"}

MAX_BYTES = 4 * 2**20  # of a request: several times what MAX_ROWS rows need
UNDER_WAY = 16 * MAX_BYTES  # bytes of all requests that have come in part: they wait in memory
SMALL = 16 * 2**10  # of them; a request of no more is let in, whatever others send
SECONDS = 5.0  # that a request may take to be sent, unless PREDICT_SECONDS says another
WAIT = 0.025  # seconds that a request waits for its turn, unless PREDICT_WAIT says another; then it is refused
RETRY = 1  # seconds after which to ask again
JSON, REQUEST_ID = b"application/json", b"x-request-id"
JSON_TYPE = (b"content-type", JSON)
SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:;=/+@-]{0,127}")  # a request id as proxies make them; it ends up in logs

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Headers = Mapping[bytes, bytes]

logger = logging.getLogger(__name__)


class Refused(Exception):
    """Why a request is not answered: a status, a reason that is counted, and what its caller is told."""

    def __init__(self, status: int, reason: str, said: str, detail: Sequence[Any] | None = None) -> None:
        self.status, self.reason = status, reason
        self.content = json.dumps({"error": said} if detail is None else {"error": said, "detail": detail}).encode()
        self.headers = [(b"retry-after", str(RETRY).encode())] if status == 429 else []


class Gone(Exception):
    """Whoever asked has hung up."""


class Scorer(Protocol):
    """Who answers."""

    meters: Meters
    about: About

    def answer(self, body: bytes, request: str) -> bytes:
        """The answer to a request's body, and to its id. Raises ValidationError where the body is wrong."""

    def tried(self, body: bytes) -> bytes:
        """The answer to a row of the page, with its reasons. Raises ValidationError where the body is wrong."""


class Turns:
    """How long requests wait: those that are there at once are answered one after the other, in a turn of the loop."""

    def __init__(self, most: float) -> None:
        self.most = most  # seconds that a turn should take
        self.began: float | None = None
        self.long = -inf  # when the last one ended that took longer

    def waited(self) -> float:
        """Seconds since the turn began, when all that have theirs in it were there."""
        now = perf_counter()
        if self.began is None:
            self.began = now
            asyncio.get_running_loop().call_soon(self.over)  # after all that are ready now
        return now - self.began

    def over(self) -> None:
        now = perf_counter()
        if self.began is not None and now - self.began > self.most:
            self.long = now
        self.began = None

    def overloaded(self) -> bool:
        """Whether this turn takes longer, and one right before it did: a single one is a crowd that will be gone."""
        return self.waited() > self.most and (self.began or 0) - self.long < self.most


class Door:
    """Names every request, refuses what is no JSON of a fair size, and keeps unknown paths out of the metrics.

    BentoML labels its metrics with the path as it was sent: every made-up one would stay in memory.
    """

    def __init__(
        self,
        app: App,
        router: App,
        scorer: Callable[[], Scorer],  # there is none before the service has started
        seconds: float = SECONDS,
        wait: float = WAIT,
    ) -> None:
        self.app, self.scorer = app, scorer
        self.unmetered: App = ExceptionMiddleware(router)
        self.seconds, self.turns, self.under_way = seconds, Turns(wait), 0
        self.trying = -inf  # until when somebody does, or has

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in METERED:
            if scope.get("path") == "/metrics":
                self.scorer().meters.add()
            await self.app(scope, receive, send)
        elif scope["path"] == PREDICT and scope["method"] == "POST":
            await self.predict(dict(scope["headers"]), receive, send)
        elif scope["path"] == TRY and scope["method"] == "POST":
            await self.tried(dict(scope["headers"]), receive, send)
        elif scope["path"] in (PAGE, ABOUT) and scope["method"] in ("GET", "HEAD"):
            about = self.scorer().about
            page = scope["path"] == PAGE
            await respond(send, 200, about.page if page else about.json, about.headers if page else [JSON_TYPE])
        else:
            await self.unmetered(scope, receive, send)

    async def predict(self, headers: Headers, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it; where its caller has hung up, nobody is answered."""
        began = perf_counter() - self.turns.waited()  # it was there when the turn began
        name, scorer = named(headers), self.scorer()
        status, extra = 200, list[tuple[bytes, bytes]]()
        try:
            body = await self.body(headers, receive)
            self.wait_no_longer()
            content = answered(scorer.answer, body, name)
        except Gone:
            scorer.meters.refused("gone")
            return
        except Refused as refused:
            status, content, extra = refused.status, refused.content, refused.headers
            scorer.meters.refused(refused.reason)
        await respond(send, status, content, [JSON_TYPE, (REQUEST_ID, name.encode()), *extra])
        scorer.meters.answered(status, perf_counter() - began)

    async def tried(self, headers: Headers, receive: Any, send: Any) -> None:
        """Answer a row of the page with its reasons: one at a time, in a thread, so that requests need not wait."""
        scorer, status, extra = self.scorer(), 200, list[tuple[bytes, bytes]]()
        try:
            body = await self.body(headers, receive)
            began = perf_counter()
            if began < self.trying:
                raise Refused(429, "busy", f"a row was tried just now; try again in {RETRY} s")
            self.trying = inf
            try:
                content = await asyncio.to_thread(answered, scorer.tried, body)
            finally:
                now = perf_counter()
                self.trying = now + min(now - began, RETRY)  # it rests for as long: the time is for requests
        except Gone:
            return
        except Refused as refused:
            status, content, extra = refused.status, refused.content, refused.headers
        await respond(send, status, content, [JSON_TYPE, *extra])

    async def body(self, headers: Headers, receive: Any) -> bytes:
        """The request's body. Raises Refused where nobody should read it, Gone where it does not come to its end."""
        self.wait_no_longer()
        check(headers)
        came = 0
        try:
            async with asyncio.timeout(self.seconds):
                message = await receive()
                if not message.get("more_body"):
                    return whole(message)
                parts = [whole(message)]
                while message.get("more_body"):
                    came, self.under_way = came + len(parts[-1]), self.under_way + len(parts[-1])
                    if came > SMALL and self.under_way > UNDER_WAY:
                        raise Refused(429, "busy", f"too much is being sent at once; ask again in {RETRY} s")
                    message = await receive()
                    parts.append(whole(message))
                return b"".join(parts)
        except TimeoutError:
            raise Refused(408, "slow", f"send the whole request within {self.seconds:g} s") from None
        finally:
            self.under_way -= came

    def wait_no_longer(self) -> None:
        """Raises Refused where more are asking than can be answered: those behind this one would wait for it too."""
        if self.turns.overloaded():
            raise Refused(429, "busy", f"too many ask at once; ask again in {RETRY} s, with more rows in a request")


def answered(answer: Callable[..., bytes], body: bytes, *name: str) -> bytes:
    """The answer to a body, and to the request's name. Raises Refused where the body is wrong, and where we fail."""
    try:
        return answer(body, *name)
    except ValidationError as wrong:
        detail = wrong.errors(include_url=False, include_context=False, include_input=False)
        said = f"{len(detail)} validation error for {wrong.title}"
        raise Refused(400, detail[0]["type"], said, detail) from None
    except Exception:
        logger.exception("the request %s was not answered", *name or ("of the page",))
        raise Refused(500, "fault", "An unexpected error has occurred, please check the server log.") from None


async def respond(send: Any, status: int, content: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Send an answer."""
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})


def named(headers: Headers) -> str:
    """The id that a request came with, if it is a sane one, or a new one, which nobody needs to be unable to guess."""
    said = headers.get(REQUEST_ID, b"").decode("latin-1")
    return said if SANE.fullmatch(said) else f"{getrandbits(128):032x}"


def check(headers: Headers) -> None:
    """Raises Refused where the headers say that a body cannot be read."""
    unsaid = b"" if b"origin" in headers else JSON  # a page of somebody else's may send what says no type, unasked
    media_type = headers.get(b"content-type", unsaid).partition(b";")[0].strip().lower()
    if media_type != JSON:
        said = media_type.decode("latin-1")
        raise Refused(415, "media_type", f"send JSON, with content-type: application/json; not {said}")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, "media_type", "send plain JSON, without content-encoding")
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        raise Refused(411, "length", "send the header content-length")
    if len(length) > 20 or int(length) > MAX_BYTES:
        raise Refused(413, "length", f"send at most {MAX_BYTES} bytes and {MAX_ROWS} rows in a request")


def whole(message: Mapping[str, Any]) -> bytes:
    """What a message brings of a body. Raises Gone where it brings none."""
    if message["type"] == "http.disconnect":
        raise Gone
    return bytes(message.get("body", b""))
