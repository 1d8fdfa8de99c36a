"""The forge itself: REST and git over HTTP on 127.0.0.1, a record of every call, faults on demand, subscribers."""

import json
import queue
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from . import actions, api, environments, merge_queue, pulls, rules
from .answers import Json
from .git import ISOLATED, pushed
from .state import Actor, Event, Refused, Repo, State, snapshot

GIT_PATH = re.compile(r"/(?P<repo>[\w.-]+/[\w.-]+?)(?:\.git)?/(?P<tail>info/refs|git-upload-pack|git-receive-pack)")


@dataclass
class Fault:
    """What goes wrong with the calls that match, `times` times, once `after` of them have passed.

    match: a regular expression over "METHOD /path". effect: the call takes effect before it fails. drop: the connection
    is cut. rate_limit: the primary limit is spent (403, x-ratelimit-remaining: 0); retry_after: seconds, the secondary
    limit; an HTTP date as text; without, it is a `message` with status 403. body: what is answered in place of a
    message, as a listing that is empty for some seconds (status 200). delay: seconds, and nothing else fails if that
    is all. hook: called first, to kill a client at this call.
    """

    match: str
    status: int = 0
    drop: bool = False
    effect: bool = False
    delay: float = 0
    retry_after: int | str | None = None
    rate_limit: bool = False
    message: str = "Server Error"
    body: Any = None
    after: int = 0
    times: int | None = 1
    hook: Callable[[], object] = lambda: None
    hits: int = 0

    def strikes(self, call: str) -> bool:
        if not re.search(self.match, call):
            return False
        self.hits += 1
        return self.after < self.hits and (self.times is None or self.hits <= self.after + self.times)

    def answer(self, now: float) -> api.Answer | None:
        """The answer in place of the true one, if any."""
        if self.rate_limit:
            headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(now) + int(self.retry_after or 60))}
            return api.Answer(self.status or 403, {"message": "API rate limit exceeded for installation."}, headers)
        if self.retry_after is not None:
            message = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
            return api.Answer(self.status or 403, message, {"Retry-After": str(self.retry_after)})
        body = {"message": self.message} if self.body is None else self.body
        return api.Answer(self.status, body, {"Content-Type": "application/json"}) if self.status else None


@dataclass(frozen=True)
class Made:
    """A call that was made: `status` is 0 where the connection was cut."""

    method: str
    path: str
    status: int
    actor: str


class Forge(State):
    """GitHub on this machine: `with Forge(folder) as forge:` serves `forge.api_url` and `forge.url` until it ends."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"forge": self}))
        super().__init__(folder, f"http://127.0.0.1:{self.server.server_port}")
        self.calls: list[Made] = []
        self.faults: list[Fault] = []
        self.subscribers: list[Callable[[Event], object]] = []
        self.failures: list[Exception] = []
        self.told: queue.Queue[Event | None] = queue.Queue()

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        threading.Thread(target=self.deliver, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.told.put(None)
        self.server.shutdown()
        self.server.server_close()

    def subscribe(self, callback: Callable[[Event], object]) -> None:
        """Call back with each event, in order, on a thread of the forge's own: it may call the API."""
        self.subscribers.append(callback)

    def settle(self) -> None:
        """Wait until every event so far has been delivered; raises what a subscriber raised."""
        self.told.join()
        if self.failures:
            raise self.failures.pop(0)

    def deliver(self) -> None:
        while event := self.told.get():
            for callback in self.subscribers:
                try:
                    callback(event)
                except Exception as error:  # kept for `settle`: whoever waits should hear of it
                    self.failures.append(error)
            self.told.task_done()

    def emit(self, repo: Repo, name: str, actor: Actor, payload: Json, *, ref: str = "", sha: str = "") -> None:
        super().emit(repo, name, actor, payload, ref=ref, sha=sha)
        self.told.put(self.events[-1])

    def fault(self, match: str, **what: Any) -> Fault:
        """Break the calls that match; see Fault. Returns it, with the `hits` it counts."""
        self.faults.append(Fault(match, **what))
        return self.faults[-1]

    def start_run(self, repo: str, **fields: Any) -> Json:
        """A new run: path, event, sha, branch, actor; see actions.start_run."""
        with self.lock:
            return snapshot(actions.start_run(self, self.repositories[repo], **fields))

    def update_run(self, repo: str, run: int, **changes: Any) -> Json:
        with self.lock:
            return snapshot(actions.update_run(self, self.repositories[repo], run, **changes))

    def set_job(self, repo: str, run: int, name: str, **changes: Any) -> Json:
        """A job and its check run: status, conclusion, steps."""
        with self.lock:
            job = snapshot(actions.set_job(self, self.repositories[repo], run, name, **changes))
            merge_queue.advance(self)
            return job

    def start_deployment(self, repo: str, run: int, environment: str, ref: str) -> Json:
        """That of a run's job which names an environment. Raises Refused where the environment does not admit it."""
        with self.lock:
            there = self.repositories[repo]
            return snapshot(environments.begin(self, there, there.row("runs", run), environment, ref))

    def end_deployment(self, repo: str, deployment: Json, state: str) -> None:
        with self.lock:
            there, creator = self.repositories[repo], Actor(deployment["creator"]["login"])
            environments.report(self, there, creator, deployment, {"state": state})

    def ready_for_review(self, repo: str, number: int, login: str) -> None:
        """What a person does to a draft (GitHub has it in GraphQL only)."""
        with self.lock:
            pull = self.repositories[repo].row("pulls", number)
            pull["draft"] = False
            pulls.tell(self, self.repositories[repo], pull, Actor(login), "ready_for_review")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news: some are killed on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection: reads a request, lets faults strike, answers by REST or by git, records the call."""

    forge: Forge
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/api/v3")
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = api.Call(self.forge, self.command, path, dict(parse_qsl(parts.query)), headers, self.content())
        struck = [fault for fault in self.forge.faults if fault.strikes(f"{self.command} {path}")]
        answer = self.failing(call, struck[0]) if struck else self.answer(call)
        caller = call.app.slug if call.app else call.actor.login
        self.forge.calls.append(Made(self.command, path, answer.status if answer else 0, caller))
        if answer:
            self.send(answer)
            return
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def answer(self, call: api.Call) -> api.Answer:
        answer = self.git(call) if GIT_PATH.fullmatch(call.path) else self.rest(call)
        if call.method != "GET":
            with self.forge.lock:
                merge_queue.advance(self.forge)
        return answer

    def failing(self, call: api.Call, fault: Fault) -> api.Answer | None:
        """The answer under a fault; None cuts the connection."""
        fault.hook()
        time.sleep(fault.delay)
        instead = fault.answer(self.forge.clock().timestamp())
        happens = fault.effect or not (instead or fault.drop)
        true = self.answer(call) if happens else None
        return None if fault.drop else instead or true

    def content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def rest(self, call: api.Call) -> api.Answer:
        with self.forge.lock:
            try:
                answer = api.respond(call)
            except Exception:  # a defect of the forge: show it to the caller
                answer = api.Answer(500, {"message": traceback.format_exc()})
            if not isinstance(answer.body, bytes):
                answer.body = b"" if answer.status == 204 else json.dumps(answer.body).encode()
                answer.headers.setdefault("Content-Type", "application/json; charset=utf-8")
            return answer

    def send(self, answer: api.Answer) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        used = len(self.forge.calls)
        limits = {"Limit": 5000, "Remaining": 5000 - used % 5000, "Used": used, "Resource": "core"}
        limits["Reset"] = int(self.forge.clock().timestamp()) + 3600
        headers = {f"X-RateLimit-{name}": str(value) for name, value in limits.items()}
        headers |= {"Content-Length": str(len(body)), **answer.headers}
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def git(self, call: api.Call) -> api.Answer:
        """Smart HTTP: who may is ours to say, the rest is `git http-backend`'s."""
        match = GIT_PATH.fullmatch(call.path)
        assert match
        pushing = "receive-pack" in call.path + call.query.get("service", "")
        try:
            api.authenticate(call)
            call.repo = api.visible(call, match["repo"])
            api.allow(call, "contents:write" if pushing else "contents:read")
        except Refused as refused:
            if not call.actor.login:
                return api.Answer(401, b"", {"WWW-Authenticate": 'Basic realm="GitHub"'})
            message = {403: "Write access to repository not granted.", 404: "Repository not found."}
            body = message.get(refused.status, refused.message).encode()
            return api.Answer(refused.status, body, {"Content-Type": "text/plain"})
        if not (pushing and call.method == "POST"):
            return self.backend(call, match["tail"])
        with self.forge.lock, pulls.refs_moving(self.forge, call.repo, call.actor):
            about = (self.forge, call.repo, call.actor)
            reasons = {ref: rules.refusal(*about, ref, new) for ref, new in pushed(call.content)}
            limits = {"FORGE_REFUSED": "\n".join(f"{ref} {why}" for ref, why in reasons.items() if why)}
            limits["FORGE_FAST_FORWARD_ONLY"] = " ".join(rules.fast_forward_only(*about))
            limits["FORGE_NO_WORKFLOWS"] = "" if call.actor.writes_workflows else "yes"
            return self.backend(call, match["tail"], **limits)

    def backend(self, call: api.Call, tail: str, **limits: str) -> api.Answer:
        environment = {
            **ISOLATED,
            **{"GIT_PROJECT_ROOT": str(call.repo.git.path.resolve()), "PATH_INFO": f"/{tail}"},
            **{"GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": call.actor.login, "REQUEST_METHOD": call.method},
            "QUERY_STRING": urlsplit(self.path).query,
            **{"CONTENT_TYPE": call.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(call.content))},
            **{"HTTP_CONTENT_ENCODING": call.headers.get("content-encoding", ""), "REMOTE_ADDR": "127.0.0.1"},
            **{"GIT_PROTOCOL": call.headers.get("git-protocol", ""), "LC_ALL": "C", **limits},
        }
        done = subprocess.run(["git", "http-backend"], input=call.content, capture_output=True, env=environment)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        return api.Answer(int(headers.pop("Status", "200").split()[0]), body, headers)
