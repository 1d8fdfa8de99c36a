"""`make demo`: two pull requests on a GitHub of this machine, one merged and one refused, then the merged model served.

What commands and jobs say goes to demo/demo.log; the terminal tells the story.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import zipfile
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from tests import baking
from tests.rehearsal import page
from tests.rehearsal.driver import Rehearsal, Run
from tests.rehearsal.forge.answers import ACTIONS
from tests.rehearsal.project import ANSWERS, Project
from tests.serving import served

DEMO = baking.ROOT / "demo"
LOG = DEMO / "demo.log"
PAGE = DEMO / "index.html"
STEPS = 6
SMALL = {
    "params.yaml": {"customers: 5000": "customers: 3000", "epochs: 16": "epochs: 2"},
    "pyproject.toml": {'addopts = "-ra --strict-markers"': "addopts = \"-ra --strict-markers -m 'not slow'\""},
}
"""A smaller bank, trained briefly, without the slow tests of the code: a run takes a minute or two."""
PAYMENT = {
    "transaction_id": 1,
    "tx_amount": 320,
    "tx_during_weekend": 0,
    "tx_during_night": 1,
    "customer_nb_tx_1d": 3,
    "customer_avg_amount_1d": 130,
    "customer_nb_tx_7d": 15,
    "customer_avg_amount_7d": 58,
    "customer_nb_tx_30d": 64,
    "customer_avg_amount_30d": 44,
    "terminal_nb_tx_1d": 1,
    "terminal_risk_1d": 0,
    "terminal_nb_tx_7d": 6,
    "terminal_risk_7d": 0,
    "terminal_nb_tx_30d": 29,
    "terminal_risk_30d": 0,
}
"""320.00 by a card that usually pays about 40.00; README.md of a bake sends the same."""
OURS = {"alice@example.org", "noreply@github.com"}
"""Who commits in a demo: alice, and GitHub when it merges."""
BOLD, DIM, RED, GREEN = 1, 2, 31, 32
MARKS = {"success": ("✓", GREEN), "failure": ("✗", RED)}


def main() -> None:
    """The story; whatever stops it, the last line says where the rest is told."""
    began = time.monotonic()
    DEMO.mkdir(exist_ok=True)
    LOG.write_text("")
    try:
        story()
    except (Exception, KeyboardInterrupt) as error:
        log(traceback.format_exc())
        sys.exit(f"\nThe demo stopped: {str(error) or 'interrupted'}\nWhat was said until then is in {LOG}")
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    print(f"\nTold in {minutes} min {seconds} s. What commands and jobs said is in {LOG}")


def story() -> None:
    """The steps, read from top to bottom."""
    step(1, "Bake a repository")
    repository = bake()
    # Not below demo/: act takes no space in a path.
    with (
        tempfile.TemporaryDirectory(prefix="rehearsal-") as folder,
        Rehearsal(Path(folder), baking.VENV) as github,
    ):
        step(2, "Start GitHub on this machine, push main, and protect it")
        project = start(github, repository)
        step(3, "Alice makes the model better: train for 16 epochs, not 2")
        better = propose(project, "train-longer", "Train for 16 epochs", "epochs: 2", "epochs: 16", expect="success")
        merge(project, better)
        merged = page.seen(project, better)
        step(4, "Alice makes it quicker, and worse: one epoch will do")
        worse = propose(project, "train-quicker", "One epoch will do", "epochs: 16", "epochs: 1", expect="failure")
        refused = page.seen(project, worse, refusal(project, worse))
        step(5, "Serve what the merged pull request trained")
        trained = found(r"(sha256:\w+)", report(project, better))
        print(f"  #{better} trained   {trained}")
        print(f"  restored     {restore(project)}")
        serve(repository)
    step(6, "Write the pages")
    command(repository, "make", "report")
    model = repository / "reports" / "index.html"
    links = {"The merged model's report": model.relative_to(DEMO).as_posix()}
    PAGE.write_text(page.render("Two pull requests", [merged, refused], links), encoding="utf-8")
    print(f"  the pull requests   {PAGE.as_uri()}\n  the merged model    {model.as_uri()}")
    print(f"  the repository      {repository}: see `make help` there")


# 1 and 2: a repository on GitHub


def bake() -> Path:
    """A new bake in demo/; what an earlier demo left makes way, unless somebody has worked in it."""
    repository = DEMO / "card-fraud"
    if repository.exists():
        clear(repository)
    with tempfile.TemporaryDirectory() as folder:
        done = baking.cookiecutter(baking.template(Path(folder)), DEMO, **ANSWERS)
    log(done.stdout)
    if done.returncode:
        raise RuntimeError("cookiecutter failed")
    print(f"  {len(baking.tracked(repository))} files in {repository}")
    return repository


def clear(repository: Path) -> None:
    """Removes an earlier demo's repository, or moves it aside where it has commits or changes of somebody's own."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True)
    command = ["git", "log", "--all", "--min-parents=1", "--format=%ce"]  # the root commit is the bake's
    committers = set(subprocess.run(command, cwd=repository, capture_output=True, text=True).stdout.split())
    if status.returncode or status.stdout or committers - OURS:
        aside = repository.with_name(f"{repository.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        repository.rename(aside)
        print(f"  there is work in the last demo's repository: it is now {aside}")
    else:
        shutil.rmtree(repository)


def start(github: Rehearsal, repository: Path) -> Project:
    """The bake, made small, on the forge; from now on main changes by pull requests only."""
    Project(github, repository).commit("main", changed(repository, SMALL), "Start small")
    project = Project.start(github, repository)
    print(f"  {project.repository} on {github.forge.url}, with policies/ruleset.json: a review, and all checks")
    return project


def changed(repository: Path, replacements: dict[str, dict[str, str]]) -> dict[str, str]:
    """Files with words replaced. Raises ValueError where the words are not there, once."""
    texts = {}
    for name, words in replacements.items():
        text = (repository / name).read_text()
        for old, new in words.items():
            if text.count(old) != 1:
                raise ValueError(f"{name} has {old!r} {text.count(old)} times, not once")
            text = text.replace(old, new)
        texts[name] = text
    return texts


# 3 and 4: two pull requests


def propose(project: Project, branch: str, title: str, old: str, new: str, expect: str) -> int:
    """A pull request that changes one knob, and its run, told job by job; its number."""
    files = changed(project.folder, {"params.yaml": {old: new}})
    number = project.propose(branch, files, title)
    print(f"  alice opens #{number}, {title}: in params.yaml {old} becomes {new}")
    run = project.github.runs[-1]
    try:
        follow(run)
        project.github.wait()
    finally:
        log(run.log)
    if run.conclusion != expect:
        raise RuntimeError(f"the run of #{number} ended with {run.conclusion}, not with {expect}")
    print(f"  the report says {found(r'^## (.*)$', report(project, number))}")
    return number


def follow(run: Run) -> None:
    """A line for each job as it ends."""
    untold = list(run.jobs.values())
    while untold:
        ended = [job for job in untold if job.ended.wait(0.05)]
        for job in ended:
            untold.remove(job)
            took = f"{job.seconds:5.0f} s" if job.conclusion in MARKS else job.conclusion
            mark = styled(*MARKS.get(job.conclusion, ("–", DIM)))
            print(f"    {mark} {job.name:<9} {took}", flush=True)
        if run.conclusion and not ended:
            return


def report(project: Project, number: int) -> str:
    """The workflow's comment on a pull request, as text."""
    (comment,) = [each for each in project.comments(number) if each["user"]["login"] == ACTIONS]
    return unescape(comment["body"])


def merge(project: Project, number: int) -> None:
    """Bob approves and merges."""
    project.approve(number)
    project.merge(number)
    print(f"  bob approves and merges #{number}")


def refusal(project: Project, number: int) -> str:
    """Bob approves and would merge; what GitHub says to that. Raises RuntimeError where it merges."""
    project.approve(number)
    try:
        project.merge(number)
    except HTTPError as error:
        said = str(json.load(error)["message"])
        print(f"  bob approves #{number} and tries to merge it; GitHub refuses with {error.code}:")
        print("".join(f"    {line}\n" for line in said.splitlines() if line), end="")
        return said
    raise RuntimeError(f"#{number} was merged, although its checks fail")


# 5 and 6: the merged model


def restore(project: Project) -> str:
    """Puts in place what the run of the merged pull request handed over, found by main's content key; its digest."""
    project.git("switch", "--quiet", "main")
    key = command(project.folder, "python", "-c", "from gitops import content; print(content.key())").strip()
    (newest, *_) = project.call("GET", f"actions/artifacts?name=pipeline-{key}")["artifacts"]
    headers = {"Authorization": f"Bearer {project.github.forge.user('alice')}"}
    with urllib.request.urlopen(urllib.request.Request(newest["archive_download_url"], headers=headers)) as answer:
        zipfile.ZipFile(io.BytesIO(answer.read())).extractall(project.folder / "build" / "bundle")
    command(project.folder, "python", "-m", "gitops", "restore", GITHUB_OUTPUT=os.devnull)
    return f"sha256:{hashlib.sha256((project.folder / 'model' / 'manifest.json').read_bytes()).hexdigest()}"


def serve(repository: Path) -> None:
    """Two payments of one card, scored by the service."""
    with served(repository) as address:
        for payment in (PAYMENT | {"tx_amount": 38}, PAYMENT):
            answer = predict(address, payment)
            print(f"  a payment of {payment['tx_amount']:>3}.00 scores {answer['predictions'][0]['score']:.4f}")
    print(f"  served       {answer['model']}")


def predict(address: str, payment: Mapping[str, float]) -> dict[str, Any]:
    """What the served model says of a payment."""
    body = json.dumps({"rows": [payment]}).encode()
    request = urllib.request.Request(f"{address}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


# On the terminal, and in the log


def command(repository: Path, *words: str, **environment: str) -> str:
    """What a command of the environment prints in the repository. Raises RuntimeError where it fails."""
    path = f"{baking.VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = baking.run(*words, cwd=repository, PATH=path, **environment)
    log(f"$ {' '.join(words)}\n{done.stdout}")
    if done.returncode:
        raise RuntimeError(f"`{' '.join(words)}` failed in {repository}")
    return done.stdout


def found(pattern: str, text: str) -> str:
    """What the pattern's group matches in the text. Raises RuntimeError where it matches nothing."""
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise RuntimeError(f"nothing matches {pattern} in a report")
    return match[1]


def log(said: str) -> None:
    """Adds to the log."""
    with LOG.open("a") as file:
        file.write(said.rstrip("\n") + "\n")


def step(number: int, what: str) -> None:
    """A heading."""
    print("\n" + styled(f"[{number}/{STEPS}] {what}", BOLD), flush=True)


def styled(text: str, style: int) -> str:
    """The text in a style, where a person reads along."""
    return f"\033[{style}m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    main()
