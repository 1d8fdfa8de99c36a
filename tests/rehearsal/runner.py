"""One job on this machine: act in host mode, in an environment of its own, with a time limit and a clean end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests import baking

from .workflow import NEEDS, PLAIN, PROBE, Event, Refused, Result, Workflow, from_results

ACT = Path(sys.executable).with_name("act")
STAND_INS = Path(__file__).with_name("actions")
GRACE = 300.0  # seconds that an interrupted job has for its `always()` steps
LEVELS = ("error", "warning", "notice")
SILENT = ("summary", "set-output", "add-path", "add-mask")
SUMMARY_LIMIT = 1024 * 1024  # bytes of one step


@dataclass
class Job:
    """One job of a run, and what became of it."""

    id: str
    name: str
    labels: list[str]
    minutes: float
    permissions: dict[str, str]
    conclusion: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    lines: list[str] = field(default_factory=list, repr=False)
    annotations: list[dict[str, str]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    interrupted: bool = False
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def log(self) -> str:
        return "".join(self.lines)

    @property
    def result(self) -> Result:
        return Result(self.conclusion, self.outputs)

    def interrupt(self) -> None:
        """End it as GitHub does: the step is killed, `cancelled()` and `always()` steps follow."""
        if self.process and self.process.poll() is None and not self.interrupted:
            self.interrupted = True
            self.process.send_signal(signal.SIGINT)
            _later(GRACE, self.process.kill)

    def time_out(self) -> None:
        message = f"The job has exceeded the maximum execution time of {self.minutes:g} minutes"
        self.annotations.append({"level": "error", "message": message})
        self.lines.append(message + "\n")
        self.interrupt()

    def refuse(self, sentence: str) -> None:
        """Fail before the first step."""
        self.annotations.append({"level": "error", "message": sentence})
        self.lines.append(sentence + "\n")
        self.conclusion = "failure"

    def read(self, entry: Mapping[str, Any]) -> None:
        """Take in one entry of act's log."""
        kind = entry.get("command")
        if kind == "summary":
            self._add_summary(entry["content"])
        elif kind in LEVELS:
            self.annotations.append({"level": kind, "message": entry["arg"], **(entry.get("kvPairs") or {})})
        if entry.get("stage") == "Main" and entry.get("stepResult"):
            step = {"name": entry["step"].split("\n")[0], "status": "completed", "conclusion": entry["stepResult"]}
            self.steps.append({**step, "number": len(self.steps) + 1})
        if kind not in SILENT and not entry["msg"].startswith("LocalRepositoryCache"):
            self.lines.append(entry["msg"].rstrip("\n") + "\n")

    def _add_summary(self, text: str) -> None:
        if len(text.encode()) > SUMMARY_LIMIT:
            message = "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k"
            self.annotations.append({"level": "error", "message": message})
        else:
            self.summary += text.rstrip("\n") + "\n"


@dataclass(frozen=True)
class Context:
    """What all jobs of a run share."""

    folder: Path
    workflow: Workflow
    event: Event
    env: Mapping[str, str]
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    files: Mapping[str, str]  # .github of the commit, by path: workflows and actions may call each other
    called: Mapping[str, Workflow]  # what jobs call, by how they spell it: ./path, or owner/name/path@ref


class Runner:
    """Runs jobs under `folder`, each in a home of its own, with nothing of ours but `environment` and `image`."""

    def __init__(self, folder: Path, environment: Path, image: Mapping[str, str]) -> None:
        self.folder, self.environment, self.image = folder, environment, image
        node = folder / "bin" / "node"
        node.parent.mkdir(parents=True)
        # The stand-ins are JavaScript actions to act, pre and post steps included, and Python to us.
        node.write_text(f'#!/bin/bash\nexec "{sys.executable}" "$@"\n')
        node.chmod(0o755)

    def evaluate(
        self, context: Context, texts: Mapping[str, str], variables: Mapping[str, str] | None = None, name: str = ""
    ) -> dict[str, str]:
        """The texts with their expressions evaluated, by act: github, vars and inputs, no job's results."""
        written = context.folder / f"evaluated{name}"
        names = {f"REHEARSAL_{number}": key for number, key in enumerate(texts)}
        env = {name: texts[key] for name, key in names.items()}
        probe = {"env": env, "runs-on": "ubuntu-latest", "steps": [{"run": f"env -0 > '{written}'", **PLAIN}]}
        process = self._start(context, f"evaluate{name}", context.workflow.alone(probe), [], "", variables or {})
        said = process.communicate()[0]
        if not written.exists():
            raise Refused(f"{context.workflow.path} does not load: {said.strip()}")
        found = dict(pair.split("=", 1) for pair in written.read_text().split("\0") if "=" in pair)
        return {key: found.get(name, "") for name, key in names.items()}

    def label(self, context: Context, job: Job, results: Mapping[str, Result]) -> None:
        """The labels of a job that takes them from the results of others."""
        labels = context.workflow.labels(job.id)
        if (text := from_results(labels)) != labels:
            given = {NEEDS: context.workflow.needed(job.id, results)}
            job.labels = self.evaluate(context, {"labels": text}, given, f"-{job.id}")["labels"].split("\n")

    def environment_of(self, context: Context, job: Job, results: Mapping[str, Result], cancelled: bool) -> str:
        """The environment that the job names, by act; empty where it names none in the end, or will be skipped."""
        written, name = context.folder / f"{job.id}.environment", f"{job.id}-environment"
        probe = {"needs": [job.id], "if": "always()", "runs-on": "ubuntu-latest", "steps": [{"run": "true", **PLAIN}]}
        text = context.workflow.copy(
            job.id, results, probe, cancelled, step=f"printf %s \"$ENVIRONMENT\" > '{written}'"
        )
        self._start(context, name, text, [], "", {NEEDS: context.workflow.needed(job.id, results)}).communicate()
        self._sweep(context.folder / name)
        return written.read_text() if written.exists() else ""

    def start(self, context: Context, job: Job, results: Mapping[str, Result], token: str, cancelled: bool) -> None:
        """Start the job; `finish` waits for it."""
        written = context.folder / f"{job.id}.json"
        write = {"run": f"printf %s \"$NEEDS\" > '{written}'", "env": {"NEEDS": "${{ toJSON(needs) }}"}, **PLAIN}
        probe = {"needs": [job.id], "if": "always()", "runs-on": "ubuntu-latest", "steps": [write]}
        text = context.workflow.copy(job.id, results, probe, cancelled)
        needs = {NEEDS: context.workflow.needed(job.id, results)}
        job.process = self._start(context, job.id, text, job.labels, token, needs)

    def finish(self, context: Context, job: Job, token: str) -> None:
        """Read the job's log until it ends, and keep what became of it."""
        assert job.process and job.process.stdout
        began, limit = time.monotonic(), _later(job.minutes * 60, job.time_out)
        others, complaints = {PROBE, *context.workflow.jobs} - {job.id}, []
        for entry in _entries(job.process.stdout):
            if "jobID" not in entry:
                complaints.append(entry["msg"] + "\n")
            elif entry["jobID"] not in others:
                job.read(entry)
        job.process.wait()
        limit.cancel()
        job.seconds = time.monotonic() - began
        written = context.folder / f"{job.id}.json"
        became: dict[str, Any] = {"result": "failure"}
        if written.exists():
            became = json.loads(written.read_text())[job.id]
        else:
            job.lines += complaints
        job.conclusion = "cancelled" if job.interrupted else became["result"]
        secrets = [*context.secrets.values(), token]
        job.outputs = _without_secrets(job, became.get("outputs") or {}, secrets)
        self._sweep(context.folder / job.id)

    def _start(
        self, context: Context, name: str, text: str, labels: Iterable[str], token: str, variables: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        folder = context.folder / name
        for path, content in {**context.files, context.workflow.path: text, "event.json": context.event.json}.items():
            (folder / "work" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "work" / path).write_text(content)
        home = folder / "home"
        home.mkdir()
        git = Path(shutil.which("git") or "/usr/bin/git").parent
        path = f"{self.folder / 'bin'}:{git}:/usr/local/bin:/usr/bin:/bin"
        env = {**context.env, **baking.MAKES, "VENV": str(self.environment), "RUNNER_TRACKING_ID": str(folder)}
        env |= {"TERM": "dumb", "PAGER": "cat"}  # act gives steps a terminal, GitHub does not
        command = [
            *(str(ACT), context.event.name, "--job", PROBE, "--directory", str(folder / "work")),
            *("--workflows", context.workflow.path, "--eventpath", "event.json", "--actor", context.event.actor),
            *("--json", "--rm", "--pull=false", "--action-offline-mode", "--no-cache-server", "--no-skip-checkout"),
            *_flags("--platform", dict.fromkeys(["ubuntu-latest", *labels], "-self-hosted")),
            *_flags("--env", env),
            *_flags("--var", {**context.variables, **variables}),
            *_flags("--secret", {**context.secrets, "GITHUB_TOKEN": token}),
            *_flags("--local-repository", {**stand_ins(context), **others(context)}),
        ]
        return subprocess.Popen(
            command,
            cwd=folder / "work",
            env={
                "LANG": "C.UTF-8",
                **self.image,
                "PATH": path,
                "HOME": str(home),
                "XDG_CACHE_HOME": str(folder / "work"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _sweep(self, folder: Path) -> None:
        """End what the job left running, known by the mark in its environment as on GitHub's runners, and its files."""
        mark = f"RUNNER_TRACKING_ID={folder}\0".encode()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes():
                    os.kill(int(environ.parent.name), signal.SIGKILL)
            except OSError:  # not ours to read, or gone
                continue
        shutil.rmtree(folder, ignore_errors=True)


def stand_ins(context: Context) -> dict[str, str]:
    """owner/name@commit of each action in use, to the folder that stands in for it. Raises Refused where none does."""
    texts = {path: text for path, text in context.files.items() if "/actions/" in path}
    texts |= {workflow.path: workflow.text for workflow in (*context.called.values(), context.workflow)}
    found = {}
    for path, text in texts.items():
        for used in re.findall(r"^[\s-]*uses:\s*['\"]?([^'\"\s#]+)", text, re.M):
            if used.startswith("./") or used in context.called:
                continue
            action, _, commit = used.partition("@")
            if not re.fullmatch("[0-9a-f]{40}", commit):
                raise Refused(f"{path}: {used} is not pinned; name its commit by 40 hex digits, the tag as a comment")
            if not (STAND_INS / action / "action.yml").exists():
                raise Refused(f"{path}: nothing stands in for {action}; add {STAND_INS.name}/{action}/action.yml")
            repository = "/".join(action.split("/")[:2])
            found[f"{repository}@{commit}"] = str(STAND_INS / repository)
    return found


def others(context: Context) -> dict[str, str]:
    """owner/name@ref of each other repository whose workflows are called, to a folder that holds them."""
    found = {}
    for used, workflow in context.called.items():
        if not used.startswith("./"):
            name, ref = used.split(f"/{workflow.path}@")
            folder = context.folder / "called" / quote(f"{name}@{ref}", safe="")
            (folder / workflow.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / workflow.path).write_text(workflow.text)
            found[f"{name}@{ref}"] = str(folder)
    return found


def _without_secrets(job: Job, outputs: Mapping[str, str], secrets: Iterable[str]) -> dict[str, str]:
    """GitHub drops an output in which it sees a secret."""
    kept = {name: value for name, value in outputs.items() if not any(secret and secret in value for secret in secrets)}
    for name in outputs.keys() - kept.keys():
        message = f"Skip output '{name}' since it may contain secret."
        job.annotations.append({"level": "warning", "message": message})
    return kept


def _flags(name: str, values: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        yield from (name, f"{key}={value}")


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        yield json.loads(line) if line.startswith("{") else {"msg": line.rstrip("\n")}


def _later(seconds: float, action: Any) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer
