"""`make demo`: the whole loop on a GitHub of this machine, from the first model to a rollback.

With PROBLEM=churn the same is told of a CSV that is adopted, and with PROBLEM=maintenance, products or clicks of a
problem of tests/problems; what differs is in stories.py.

Workflows, policies, service and models are a bake's own; nothing that they say is made up here, and where something
is not as the story has it, it stops. What commands and jobs say goes to demo/demo.log; the terminal tells the story.

It leaves out what a story does not need: the bank of card fraud is small, and of a bake's lint and tests a part runs.
"""

import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import yaml

from tests import baking, serving
from tests.baking import Words, changed
from tests.rehearsal import page
from tests.rehearsal.driver import Rehearsal, Run
from tests.rehearsal.project import ANSWERS, OWNER, Project
from tests.stories import STORIES, TRAFFIC, Story

DEMO = baking.ROOT / "demo"
LOG = DEMO / "demo.log"
PAGE = DEMO / "index.html"
FACTS = DEMO / "demo.json"
STEPS = 12

OURS = {"alice@example.org", "noreply@github.com"}
"""Who commits in a demo: alice, and GitHub when it merges or a bot commits."""
BOLD, DIM, RED, GREEN = 1, 2, 31, 32
MARKS = {"success": ("✓", GREEN), "failure": ("✗", RED)}
AMISS = re.compile(r"""(?:<(?:b|li|p) class="(?:bad|failure|missing)">|<li class="quiet">|[🔴❌])([^<]*)""")
"""On our pages: a check or a bar that is not met or not judged, and a part that is not there."""

Json = Mapping[str, Any]


def main(name: str = "card-fraud") -> None:
    """The story; whatever stops it, the last line says where the rest is told."""
    began = time.monotonic()
    if name not in STORIES:
        sys.exit(f"There is no story of {name}; there are: {', '.join(STORIES)}")
    DEMO.mkdir(exist_ok=True)
    LOG.write_text("")
    FACTS.unlink(missing_ok=True)
    try:
        told = tell(STORIES[name])
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        log(traceback.format_exc())
        sys.exit(f"\nThe demo stopped: {str(error) or 'interrupted'}\nWhat was said until then is in {LOG}")
    took = time.monotonic() - began
    FACTS.write_text(json.dumps({"problem": name, "seconds": round(took, 1), **told}, indent=2) + "\n")
    minutes, seconds = divmod(round(took), 60)
    print(f"\nTold in {minutes} min {seconds} s. What commands and jobs said is in {LOG}")


@dataclass
class Tale:
    """Where the story is told, and what the page is made of."""

    story: Story
    project: Project
    beside: Path  # what the service is asked, and what it answered
    artist: ProcessPoolExecutor  # draws pull requests while the story goes on: a chart takes a second
    today: date
    told: int = 0  # runs
    pulls: list[Future[dict[str, Any]]] = field(default_factory=list)
    events: list[page.Event] = field(default_factory=list)

    def saw(self, number: int, refusal: str = "") -> Json:
        """What GitHub shows of a pull request, for the page too."""
        seen = page.seen(self.project, number, refusal)
        self.pulls.append(self.artist.submit(page.shape, seen))
        return seen

    @property
    def predictions(self) -> Path:
        """The prediction log."""
        return self.beside / "predictions"

    def happened(self, what: str, pull: int | None = None, mark: str = "") -> None:
        """A line of the timeline; with a `mark`, one on the chart too."""
        self.events.append(page.Event(self.today, what, pull, mark))


def tell(story: Story) -> dict[str, Any]:
    """The steps, read from top to bottom; the facts that are worth keeping."""
    weeks = story.weeks
    step("Bake a repository")
    repository = bake(story)
    # Not below demo/: act and platform.yaml take no space in a path.
    with (
        tempfile.TemporaryDirectory(prefix="rehearsal-") as folder,
        Rehearsal(Path(folder), baking.VENV, at_once=3) as github,
        page.artist() as artist,
    ):
        (beside := Path(folder) / "beside").mkdir()
        words = story.adopt(repository, beside, command, say)
        step("GitHub on this machine: the push of main trains the first model and proposes it")
        tale = start(
            Tale(story, Project(github, repository, f"{OWNER}/{story.slug}"), beside, artist, story.start), words
        )
        first = ship(tale)

        step(f"{plural(weeks.healthy)} of traffic; the clock starts drift.yml")
        with service(tale, first) as address:
            ask(tale, address, weeks.healthy)
            clock(tale, after=f"{plural(weeks.healthy)} as expected")
            quicker = hurry(tale)  # alice does not wait for the clock's run
            check(tale, "healthy", runs=1)
            step(f"Alice makes the training quicker, and the model worse: {story.quicker}")
            refuse(tale, quicker)
            step(f"On {story.change} the world changes: {story.changes}")
            tale.happened("The world changes", mark="change")
            ask(tale, address, weeks.changed)
            clock(tale, after=f"{plural(weeks.changed)} later")
            check(tale, "drifted")
            retrain = requested(tale)
            step("The labels of the changed world come in; drift.yml brings the one request up to date")
            ask(tale, address, weeks.learning)
            clock(tale, after=f"{plural(weeks.learning)} later")
            check(tale, "drifted")
            if requested(tale) != retrain:
                raise RuntimeError("there is a second retrain request")

        step("Bob starts the request's checks: they train, and compare with the champion on the same rows")
        retrained = approve(tale, retrain)
        merge(tale, retrain)
        step(f"Its merge: release.yml takes the {story.family}, makes and measures all the rest again, and proposes it")
        untrained(tale)
        second = ship(tale)

        step(f"{plural(weeks.recovered)} with the new model")
        with service(tale, second) as address:
            ask(tale, address, weeks.recovered)
            clock(tale, after=f"{plural(weeks.recovered)} later")
            check(tale, "healthy")

        step("Alice reverts the promotion: the previous bytes, nothing trains")
        if revert(tale) != first:
            raise RuntimeError("production is not what it was before")
        with service(tale, first) as address:
            ask(tale, address, weeks.reverted)
        step("Live quality over the story")
        measured = quality(tale)
        step("Write the pages")
        return finish(tale, measured, retrained)


# Baking, and GitHub


def bake(story: Story) -> Path:
    """A new bake in demo/; what an earlier demo left makes way, unless somebody has worked in it."""
    repository = DEMO / story.slug
    if repository.exists():
        clear(repository)
    for earlier in DEMO.glob("drift-*.html"):
        earlier.unlink()
    with tempfile.TemporaryDirectory() as folder:
        done = baking.cookiecutter(baking.template(Path(folder)), DEMO, project_name=story.project, **ANSWERS)
    log(done.stdout)
    if done.returncode:
        raise RuntimeError("cookiecutter failed")
    say(f"{len(baking.tracked(repository))} files in {repository}")
    return repository


def clear(repository: Path) -> None:
    """Removes an earlier demo's repository, or moves it aside where it has commits or changes of somebody's own."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True)
    command = ["git", "log", "--all", "--min-parents=1", "--format=%ce"]  # the root commit is the bake's
    history = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    if status.returncode or history.returncode or status.stdout or set(history.stdout.split()) - OURS:
        aside = repository.with_name(f"{repository.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        repository.rename(aside)
        say(f"there is work in the last demo's repository: it is now {aside}")
    else:
        shutil.rmtree(repository)


def start(tale: Tale, words: Words) -> Tale:
    """The bake, made small, on the forge; from then on main changes by pull requests only. Told to the first model."""
    project, github, repository = tale.project, tale.project.github, tale.project.folder
    logs = {"platform.yaml": {"prediction_log: null": f"prediction_log: {tale.predictions}"}}
    project.commit("main", changed(repository, {**words, **tale.story.small, **logs}), "Start small")
    Project.start(github, repository, repository=project.repository)
    allowed = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True}
    github.call("PUT", f"/repos/{project.repository}/actions/permissions/workflow", allowed, login=OWNER)
    say(f"{project.repository} on {github.forge.url}, protected by policies/ruleset.json: a review, and all checks")
    say("platform.yaml names a folder for the prediction log, and nothing else: no secret, no account")
    say("the owner allows Actions to create pull requests")
    tale.story.traffic(repository, tale.beside, command)  # while the first model trains
    tale.happened("main is pushed; release.yml trains the first model")
    follow(tale)
    return tale


# Pull requests


def opened(tale: Tale, branch: str) -> dict[str, Any]:
    """The open pull request of a bot's branch. Raises RuntimeError where there is none."""
    found: list[dict[str, Any]] = tale.project.call("GET", f"pulls?head={OWNER}:{branch}&state=open")
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} pull requests of {branch} are open, not one")
    return found[0]


def approve(tale: Tale, number: int) -> Run:
    """Bob lets the checks of a bot's request run: without an App, GitHub waits for somebody. The run, ended."""
    run = next(run for run in reversed(checks(tale.project.github.runs)) if numbered(run) == number)
    say("bob clicks “Approve workflows to run”")
    run.approve()
    watch(run)
    tale.project.github.wait()
    judge(tale, run, number, "success")
    return run


def checks(runs: Iterable[Run]) -> list[Run]:
    """Those of pull-request.yml; verify.yml has its own."""
    return [run for run in runs if run.workflow.path.endswith("/pull-request.yml")]


def numbered(run: Run) -> int:
    """The number of the pull request that a run is for."""
    return int(run.event.payload["pull_request"]["number"])


def judge(tale: Tale, run: Run, number: int, expected: str) -> None:
    """What the run's report says. Raises RuntimeError where the run did not end as expected."""
    log(run.log)
    if run.conclusion != expected:
        raise RuntimeError(f"the run of #{number} ended with {run.conclusion}, not with {expected}")
    say(f"the report says {found(r'^## (.*)$', report(tale.project, number))}")


def report(project: Project, number: int) -> str:
    """The workflow's report on a pull request, as text."""
    comments = [each for each in project.comments(number) if "<!-- gitops:report -->" in each["body"]]
    return unescape(comments[-1]["body"])


def merge(tale: Tale, number: int) -> None:
    """Bob approves and merges; what that starts is told."""
    tale.project.approve(number)
    tale.project.merge(number)
    say(f"bob approves and merges #{number}")
    tale.happened(f"{tale.saw(number)['pull']['title']}: bob merges it", number)
    follow(tale)


def hurry(tale: Tale) -> int:
    """Alice opens a request for a model that is worse; its number."""
    files = changed(tale.project.folder, tale.story.quick)
    return tale.project.propose("quicker", files, tale.story.quicker)


def refuse(tale: Tale, number: int) -> None:
    """Bob approves a model that is worse and would merge it, and GitHub does not let him."""
    project = tale.project
    ((file, words),) = tale.story.quick.items()
    ((old, new),) = words.items()
    say(f"alice opens #{number}, {tale.story.quicker}: in {file} {old} becomes {new}")
    (run,) = (run for run in checks(follow(tale)) if numbered(run) == number)
    judge(tale, run, number, "failure")
    project.approve(number)
    try:
        project.merge(number)
    except HTTPError as error:
        said = str(json.load(error)["message"])
        say(f"bob approves #{number} and tries to merge it; GitHub refuses with {error.code}:")
        print("".join(f"    {line}\n" for line in said.splitlines() if line), end="")
    else:
        raise RuntimeError(f"#{number} was merged, although its checks fail")
    project.call("PATCH", f"pulls/{number}", {"state": "closed"})
    say(f"alice closes #{number}")
    tale.saw(number, said)
    tale.happened(f"{tale.story.quicker}: refused, the model would be worse", number)
    follow(tale)


# Production


def untrained(tale: Tale) -> None:
    """What the release after a merge says of its model. Raises RuntimeError where it has trained one."""
    release = next(run for run in reversed(tale.project.github.runs) if run.workflow.path.endswith("/release.yml"))
    if f"Running stage 'train@{tale.story.family}'" in release.log or "Running stage 'baselines'" not in release.log:
        raise RuntimeError("main did not take the fitted model, or did not make all the rest")
    say(f"the summary says: {found(r'(Main takes .*?)</code>', unescape(release.summary))}")


def ship(tale: Tale) -> str:
    """The promotion that a release has opened is started, approved and merged; the tag of what deploy.yml records."""
    pull = opened(tale, "promote/production")
    say(f"{pull['user']['login']} opens #{pull['number']}, {pull['title']}")
    approve(tale, pull["number"])
    merge(tale, pull["number"])
    return deployed(tale, pull["number"])


def deployed(tale: Tale, number: int) -> str:
    """The tag of what is deployed. Raises RuntimeError where it is not what the pull request merged."""
    (newest, *_) = tale.project.call("GET", "deployments?environment=production")
    if newest["sha"] != tale.project.call("GET", f"pulls/{number}")["merge_commit_sha"]:
        raise RuntimeError(f"deploy.yml has not recorded #{number}")
    tag = str(newest["payload"]["release"])
    tale.happened(f"deploy.yml records {tag}", number, mark="deploy")
    say(f"in production is {tag}")
    return tag


def revert(tale: Tale) -> str:
    """Alice reverts what is in production; the tag of what is there then."""
    project = tale.project
    title = project.git("log", "-1", "--format=%s", "HEAD^2")
    project.git("switch", "--quiet", "--create", "revert")
    project.git("revert", "--no-edit", "--mainline=1", "HEAD")
    project.push("revert")
    number = project.open("revert", f'Revert "{title}"')
    say(f"alice presses Revert, and opens #{number}")
    began = time.monotonic()
    (run,) = checks(follow(tale))
    judge(tale, run, number, "success")
    if run.jobs["train"].conclusion != "skipped":
        raise RuntimeError("a rollback has trained a model")
    say(f"verified in {time.monotonic() - began:.0f} s")
    merge(tale, number)
    tag = deployed(tale, number)
    tale.events[-1] = tale.events[-1]._replace(mark="rollback")
    return tag


@contextmanager
def service(tale: Tale, tag: str) -> Iterator[str]:
    """The address of the very Bento that was tested and promoted, as the Release has it."""
    release = tale.project.call("GET", f"releases/tags/{tag}")
    (asset,) = [each for each in release["assets"] if each["name"] == "service.bento"]
    with tempfile.TemporaryDirectory(prefix="bento-") as folder:
        with tarfile.open(fileobj=io.BytesIO(download(tale.project, asset["url"]))) as tar:
            tar.extractall(folder, filter="data")
        with serving.bento(Path(folder), tale.predictions) as address:
            say(f"service.bento of the Release is served on {address}")
            yield address


def ask(tale: Tale, address: str, weeks: int) -> None:
    """The service is asked what it is asked in these weeks, in which labels come in."""
    until = tale.today + timedelta(weeks=weeks)
    rows = tale.story.asked(tale.beside, tale.today, until)
    began = time.monotonic()
    serving.ask(address, rows)
    took = time.monotonic() - began
    tale.today = until
    tale.story.logged(tale.beside)
    tale.story.deliver(tale.beside, until)
    say(f"{len(rows):,} {tale.story.rows} until {until - timedelta(days=1)}, answered and logged in {took:.0f} s")


# Drift


def clock(tale: Tale, after: str) -> None:
    """The clock starts drift.yml."""
    say(f"{after}: drift.yml")
    tale.project.github.schedule("drift.yml")
    tale.project.github.forge.settle()


def check(tale: Tale, expected: str, runs: int = sys.maxsize) -> None:
    """What the clock's run says. Raises RuntimeError where its outcome is not the one expected."""
    run, *_ = follow(tale, runs)
    facts = artifact(tale.project, run, "facts-drift")
    gate, measured = json.loads(facts["gate-drift.json"]), json.loads(facts["drift.json"])
    say(f"the summary says {found(r'^## (.*)$', run.summary)}")
    missed = sorted(gate["violations"], key=lambda each: "live" not in each["rule"])
    for value in list(dict.fromkeys(each["value"] for each in missed))[:3]:
        print(styled(f"    {value}", DIM))
    live, metric = measured["live"], tale.story.called
    value, low, high = (live["metrics"][tale.story.metric][name] for name in ("value", "low", "high"))
    days = " to ".join(live["days"])
    say(f"live {metric} {value:.3f} ({low:.3f} to {high:.3f}), of {days}, whose labels have come in")
    if gate["outcome"] != expected:
        raise RuntimeError(f"the drift check of {tale.today} says {gate['outcome']}, not {expected}")
    html = artifact(tale.project, run, "drift")["drift.html"]
    (DEMO / f"drift-{tale.today}.html").write_bytes(html)
    tale.happened(f"drift.yml: {expected}; live {metric} {value:.2f}", mark=expected)
    if expected == "healthy" and tale.story.clock:
        requested(tale)


def requested(tale: Tale) -> int:
    """The request that drift.yml has opened, or brought up to date; its number."""
    pull = opened(tale, "retrain/production")
    say(f"{pull['user']['login']} asks in #{pull['number']}: {pull['title']}")
    for warning in re.findall(r"^\*\*(.+?)\*\*:", pull["body"], re.MULTILINE):
        say(f"its body warns: {warning}")
    tale.happened(pull["title"], pull["number"])
    return int(pull["number"])


def artifact(project: Project, run: Run, name: str) -> dict[str, bytes]:
    """The files that a run has left under a name."""
    listed = project.call("GET", f"actions/runs/{run.id}/artifacts")["artifacts"]
    (one,) = [each for each in listed if each["name"] == name]
    return unzipped(project, one)


def unzipped(project: Project, artifact: Json) -> dict[str, bytes]:
    """An artifact's files."""
    with zipfile.ZipFile(io.BytesIO(download(project, artifact["archive_download_url"]))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def download(project: Project, url: str) -> bytes:
    """What the forge has at an address."""
    token = project.github.forge.user("alice")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return bytes(answer.read())


def quality(tale: Tale) -> list[dict[str, Any]]:
    """Each week's quality, as drift.yml measures it. Raises RuntimeError where it does not go as the story has it."""
    story, last = tale.story, tale.today - timedelta(days=1)
    story.deliver(tale.beside, date.max)  # the last labels come in after the story
    said = command(
        tale.project.folder,
        *("python", str(TRAFFIC), "quality", str(story.start), str(last), story.metric),
        PREDICTION_LOG=str(tale.predictions),
    )
    weeks: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    bar, first = minimum(tale), weeks[0]["models"]
    for week in weeks:
        mark = styled("≥", GREEN) if week["value"] >= bar else styled("<", RED)
        who = "first" if week["models"] == first else "new"
        print(f"    {week['first']}  {who:<5}  {week['value']:.3f} {mark} {bar}", flush=True)
        changed_, new = week["first"] >= str(story.change), week["models"] != first
        if (week["value"] >= bar) != (new or not changed_):
            raise RuntimeError(f"the quality of the week of {week['first']} is not what the story says")
    return weeks


def minimum(tale: Tale) -> float:
    """The least live quality that policies/drift.yaml allows."""
    policy = yaml.safe_load((tale.project.folder / "policies" / "drift.yaml").read_text())
    return float(policy["live"]["metrics"][tale.story.metric]["minimum"])


# The end


def finish(tale: Tale, weeks: list[dict[str, Any]], retrained: Run) -> dict[str, Any]:
    """The pages, and the facts. Raises RuntimeError where a page shows what is not of the story."""
    project, repository = tale.project, tale.project.folder
    restore(project, retrained)
    command(repository, "make", "report")
    model = repository / "reports" / "index.html"
    drifts = sorted(DEMO.glob("drift-*.html"))
    links = {
        "Report of the new model": model.relative_to(DEMO).as_posix(),
        **{f"Evidently, {file.stem.removeprefix('drift-')}": file.name for file in drifts},
        "The ledger": "#ledger",
    }
    what = f"{tale.story.called[0].upper()}{tale.story.called[1:]} of a week's {tale.story.rows}"
    chart = page.plot(weeks, minimum(tale), tale.events, what, tale.story.lowest)
    pulls = [drawn.result() for drawn in tale.pulls]
    told = page.render("From the first model to a rollback", pulls, links, tale.events, chart, ledger(project))
    PAGE.write_text(told, encoding="utf-8")
    for written in (PAGE, model):
        if shown := amiss(written.read_text(encoding="utf-8")):
            raise RuntimeError(f"{written} shows what is not of the story: {'; '.join(shown)}")
    say(f"the story         {PAGE.as_uri()}")
    say(f"the new model     {model.as_uri()}")
    say(f"the drift         {drifts[-2].as_uri()}")
    say(f"the repository    {repository}: see `make help` there")
    return {"weeks": weeks, "events": [[str(each.day), each.what] for each in tale.events]}


def amiss(html: str) -> list[str]:
    """What a page shows in red, or has no place filled for; a request that was refused is meant to."""
    kept = [part for part in html.split("<article") if 'class="box refused"' not in part]
    return [" ".join(found.split()) for part in kept for found in AMISS.findall(part)]


def restore(project: Project, run: Run) -> None:
    """Puts in place what a request's run has made, and what main's code has measured: beside the champion of then."""
    project.git("switch", "--quiet", "main")
    put(project.folder / "build" / "bundle", artifact(project, run, "pipeline"))
    command(project.folder, "python", "-m", "gitops", "restore")
    put(project.folder, artifact(project, run, "facts-measure"))


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files below a folder, in the place of what is there."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it may be a link into a cache
        path.write_bytes(content)


def ledger(project: Project) -> list[dict[str, str]]:
    """What was in production, newest first: git's own history of deploy/production."""
    manifest = "deploy/production/manifest.json"
    lines = project.git("log", "--first-parent", "--format=%H %s", "main", "--", manifest).splitlines()
    entries = []
    for commit, _, subject in (line.partition(" ") for line in lines):
        entry = json.loads(project.git("show", f"{commit}:{manifest}"))
        entries.append({"commit": commit, "subject": subject, "model": entry["model"], "until": entry["data"]["until"]})
    return entries


# On the terminal, and in the log


def follow(tale: Tale, most: int = sys.maxsize) -> list[Run]:
    """The runs that have begun since the last ones were told, and those that they start, so many: told, and ended."""
    github, first = tale.project.github, tale.told
    github.forge.settle()
    while tale.told < min(len(github.runs), first + most):
        run = github.runs[tale.told]
        tale.told += 1
        watch(run)
        if tale.told == len(github.runs):
            github.wait()
        log(run.log)
    return github.runs[first : tale.told]


def watch(run: Run) -> None:
    """A line for each job as it ends."""
    file = run.workflow.path.rpartition("/")[2]
    if run.conclusion == "action_required":
        print(f"    {styled(file, DIM)} waits for an approval", flush=True)
        return
    untold = list(run.jobs.values())
    while untold:
        ended = [job for job in untold if job.ended.wait(0.05)]
        for job in ended:
            untold.remove(job)
            if job.conclusion in MARKS:
                print(
                    f"    {styled(*MARKS[job.conclusion])} {file:<17} {job.name:<17} {job.seconds:5.1f} s", flush=True
                )
        if run.conclusion and not ended:
            return


def command(repository: Path, *words: str, **environment: str) -> str:
    """What a command of the environment prints in the repository. Raises RuntimeError where it fails."""
    path = f"{baking.VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = baking.run(*words, cwd=repository, PATH=path, **baking.MAKES, **environment)
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


def say(what: str) -> None:
    """A line of a step."""
    print(f"  {what}", flush=True)


def plural(weeks: int) -> str:
    """So many weeks, as a sentence begins."""
    return "One week" if weeks == 1 else f"{weeks} weeks"


def step(what: str, numbers: Iterator[int] = itertools.count(1)) -> None:  # noqa: B008 # one story a process
    """A heading."""
    print("\n" + styled(f"[{next(numbers)}/{STEPS}] {what}", BOLD), flush=True)


def styled(text: str, style: int) -> str:
    """The text in a style, where a person reads along."""
    return f"\033[{style}m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    main(*sys.argv[1:])
