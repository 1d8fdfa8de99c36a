"""The attacks: each is walked to its end by somebody who may write and owns no bars, or by nobody at all.

A case says which check or which setting stops it, and in which words; where nothing does, it got what it wanted.
"""

import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import polars as pl
import yaml

from tests.defects.case import Case, change
from tests.defects.world import PULL_REQUEST, STRANGER, Files, Outcome, World, outcome, write
from tests.rehearsal.driver import Run
from tests.rehearsal.project import OWNER

WRITER, MAKER, BELIEVER, OUTSIDER = STRANGER, "alice", "bob", "eve"
"""Who attacks; who works honestly; an owner of the bars, who believes a green check; somebody without any rights."""
RELEASE, DEPLOY, VERIFY = "Release", "Deploy", "Verify"
MANIFEST = "deploy/production/manifest.json"
WORKFLOW = ".github/workflows/{}.yml"
STEP = "        run: |\n"


def stopped(by: str, said: str, really: bool = True) -> Outcome:
    """What came of an attack that something other than the checks of its own request is to stop."""
    return Outcome((by,) if really else (), said)


def together(*found: Outcome) -> Outcome:
    """An attack in several steps: one that nothing has stopped is enough for it."""
    red = [name for each in found for name in each.red]
    return Outcome(tuple(red) if all(each.red for each in found) else (), "\n".join(each.said for each in found))


def refused(call: Callable[[], object], by: str = "settings") -> Outcome:
    """Whether GitHub refuses a call, and its words."""
    try:
        call()
    except HTTPError as error:
        return stopped(by, f"{error.code} {error.read().decode()}")
    return stopped(by, "", really=False)


def merge(world: World, number: int, login: str = BELIEVER) -> Outcome:
    """Approve a request and try to merge it."""
    world.project.approve(number, login=login)
    return refused(lambda: world.project.merge(number, login=login))


def commit(world: World, branch: str, files: Files, login: str = WRITER) -> None:
    """One more commit on a branch that was pushed."""
    world.project.commit(branch, files, "More", login=login)
    world.project.push(branch, login=login)


def push(world: World, what: str, login: str = WRITER) -> str:
    """What git says of a push that GitHub refuses; empty where it takes it."""
    forge = world.project.github.forge
    address = f"{forge.url.replace('//', f'//{login}:{forge.user(login)}@')}/{world.project.repository}.git"
    done = subprocess.run(
        ["git", "push", "--quiet", address, what], cwd=world.project.folder, capture_output=True, text=True
    )
    forge.settle()
    return done.stderr if done.returncode else ""


@contextmanager
def main_with(world: World, files: Files) -> Iterator[None]:
    """Main holds other files for a while, as if somebody had believed and merged them long ago."""
    with rewound(world):
        world.project.settle(files)
        world.project.age()
        world.project.git("push", "--quiet", "--force", str(world.bare), "main:main")
        yield


@contextmanager
def rewound(world: World) -> Iterator[None]:
    """Main is afterwards what it was before, as if nothing had been merged; nothing starts by that."""
    world.project.git("switch", "--quiet", "main")
    before = world.project.git("rev-parse", "main")
    try:
        yield
    finally:
        world.project.github.wait()
        world.project.git("switch", "--quiet", "main")
        world.project.git("reset", "--quiet", "--hard", before)
        world.project.git("push", "--quiet", "--force", str(world.bare), "main:main")


def started(world: World, workflow: str) -> Run:
    """A run of a workflow of main, started by hand and ended."""
    world.project.github.run_workflow(f"{workflow.lower()}.yml")
    return world.newest(workflow)


def job(name: str, *lines: str, environment: str = "", needs: str = "") -> str:
    """A job that runs lines of a shell."""
    more = (f"    environment: {environment}\n" if environment else "") + (f"    needs: {needs}\n" if needs else "")
    said = "".join(f"          {line}\n" for line in lines)
    return f"  {name.lower()}:\n    name: {name}\n    runs-on: ubuntu-latest\n{more}    steps:\n      - run: |\n{said}"


# --- bytes -----------------------------------------------------------------------------------------------------------

SWAP = """\
\tpython -c "from pathlib import Path; p = Path('build/fitted/network.safetensors'); b = p.read_bytes(); p.unlink(); \
p.write_bytes(b[:-64] + bytes(64))"
"""
NETWORK = "fitted.safetensors"


def swapped(world: World) -> Files:
    """A Makefile that exchanges the fitted network once all has been measured, and whose gates are red."""
    made, gates = "\t$(call REPRO,bento)\n", "\tpython -m pipeline.compare\n"
    return world.edit("Makefile", (made, made + SWAP), (f"{gates}\tpython -m pipeline.behaviour", "\tfalse"))


def unmerged(world: World) -> Outcome:
    """The writer's run is red and its request closed; somebody else proposes the same parameters."""
    knobs = world.knobs(families={"network": {"epochs": 7}})
    number = world.propose({**knobs, **swapped(world)}, login=WRITER)
    evil = world.newest(PULL_REQUEST)
    world.close(number)
    number = world.propose(knobs)
    return released(world, number, evil)


def taken_back(world: World) -> Outcome:
    """One request: the evil Makefile is pushed, and taken back before anybody looks."""
    branch = f"case-{world.cases + 1}"
    number = world.propose({**world.knobs(families={"network": {"epochs": 8}}), **swapped(world)}, login=WRITER)
    evil = world.newest(PULL_REQUEST)
    commit(world, branch, {"Makefile": world.read("Makefile")})
    return released(world, number, evil)


def released(world: World, number: int, evil: Run) -> Outcome:
    """What release makes of a request that was merged, and whether an evil run's network is in it."""
    name = f"fitted-{evil.jobs['plan'].outputs['key']}"
    lies, honest = world.artifact(evil, name)[NETWORK], world.newest(PULL_REQUEST)
    assert (evil.conclusion, honest.conclusion) == ("failure", "success"), evil.log + honest.log
    with merged(world, number) as run:
        takes = world.artifact(run, name)[NETWORK]
        return stopped("release", run.jobs["plan"].log, run.conclusion == "success" and takes != lies)


@contextmanager
def merged(world: World, number: int) -> Iterator[Run]:
    """The release of a request that was merged; afterwards main is as before, and nothing is proposed any more."""
    with rewound(world):
        believe(world, number)
        yield world.newest(RELEASE)
        world.close(world.project.opened("promote/production")["number"])


EVIL = b'raise SystemExit("evil")\n'


UPLOAD = """\
      - uses: actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a
        with: {name: fitted-x, path: many}
"""
UNPACK = "from gitops import pulls; pulls.unpacked(pulls.repository(), {}, 'fitted-x')"


def bloated(world: World) -> Outcome:
    """An artifact that would fill the machine that opens it: here, its table of files."""
    many = job("Many", "mkdir many", "for at in $(seq 1001); do echo > many/$at; done") + UPLOAD
    world.branch({WORKFLOW.format("many"): f"name: Many\non: push\npermissions: {{}}\njobs:\n{many}"}, login=WRITER)
    run = world.newest("Many")
    assert run.conclusion == "success", run.log
    done = world.python("-c", UNPACK.format(run.id))
    return stopped("limits", done.stdout, done.returncode != 0)


def escaping(world: World) -> Outcome:
    """A folder's object in a bundle, then in the remote, names a file outside of the folder."""
    listing = json.dumps([{"md5": md5(EVIL).hexdigest(), "relpath": "../gitops/__init__.py"}]).encode()
    name = f"{md5(listing).hexdigest()}.dir"
    out = {"path": "model", "hash": "md5", "md5": name, "size": len(EVIL), "nfiles": 1}
    lock = yaml.safe_dump({"schema": "2.0", "stages": {"export": {"cmd": "true", "outs": [out]}}}).encode()
    objects = {f"files/md5/{each[:2]}/{each[2:]}": whole for each, whole in (
        (md5(EVIL).hexdigest(), EVIL),
        (name, listing),
    )}  # fmt: skip
    remote = world.folder / "evil-remote"
    for path, whole in objects.items():
        (remote / path).parent.mkdir(parents=True, exist_ok=True)
        (remote / path).write_bytes(whole)
    carried = {f".dvc/cache/{path}": whole for path, whole in objects.items()}
    return together(
        restored(world, {"dvc.lock": lock, **carried}),
        restored(world, {"dvc.lock": lock}, DVC_REMOTE=str(remote)),
    )


def restored(world: World, bundle: dict[str, bytes], **environment: str) -> Outcome:
    """What comes of a bundle that a job restores."""
    clone = world.clone()
    (clone / "build" / "bundle").mkdir(parents=True)
    with tarfile.open(clone / "build" / "bundle" / "pipeline.tar", "w") as tar:
        for path, whole in bundle.items():
            member = tarfile.TarInfo(path)
            member.size = len(whole)
            tar.addfile(member, io.BytesIO(whole))
    done = world.python("-m", "gitops", "restore", folder=clone, environment=environment)
    untouched = (clone / "gitops" / "__init__.py").read_bytes() != EVIL
    return stopped("dvc", done.stdout, done.returncode != 0 and untouched)


FORGED = b'{"metrics": {"forged": {"value": 1}}}'


def in_the_remote(world: World) -> Outcome:
    """Another run leaves in the remote what release could find there by its name: locks, and a result of evaluate."""
    remote = world.folder / "remote"
    platform = yaml.safe_load(world.read("platform.yaml")) | {"dvc_remote": str(remote)}
    with main_with(world, {"platform.yaml": yaml.safe_dump(platform)}), expired(world):
        number = world.propose(world.knobs(families={"network": {"epochs": 9}}))
        run = world.newest(PULL_REQUEST)
        assert run.conclusion == "success", run.log
        key = run.jobs["plan"].outputs["key"]
        with tarfile.open(fileobj=io.BytesIO(world.artifact(run, "pipeline")["pipeline.tar"])) as tar:
            lock = yaml.safe_load(tar.extractfile("dvc.lock") or b"")
        forge_result(remote, lock["stages"]["evaluate"], FORGED)
        for path in (f"locks/{key}/99999999999999/dvc.lock", f"locks/{key}/x/dvc.lock"):
            (remote / path).parent.mkdir(parents=True)
            (remote / path).write_text(yaml.safe_dump(lock))
        with merged(world, number) as run:
            made = [world.artifact(run, name)["metrics.json"] for name in (f"fitted-{key}", "measured")]
            own = not any(b"forged" in metrics for metrics in made)
            return stopped("release", run.jobs["make"].log, run.conclusion == "success" and own)


@contextmanager
def expired(world: World) -> Iterator[None]:
    """What releases handed over by artifacts alone is gone, as after their days: the remote has nothing of it."""
    repo = world.project.github.forge.repositories[world.project.repository]
    rows = [row for row in repo.rows("artifacts", expired=False) if row["name"].startswith("pipeline-")]
    for row in rows:
        row["expired"] = True
    try:
        yield
    finally:
        for row in rows:
            row["expired"] = False


def forge_result(remote: Path, stage: dict[str, Any], metrics: bytes) -> None:
    """An entry of the run-cache by which a stage has made other metrics than it would."""
    from dvc.utils import dict_sha256  # type: ignore[import-untyped]

    name = md5(metrics).hexdigest()
    outs = [out | ({"md5": name} if out["path"] == "metrics.json" else {}) for out in stage["outs"]]
    known = bare({**stage, "outs": [out["path"] for out in outs]})
    entry = {**stage, "outs": outs}
    first, second = dict_sha256(known), dict_sha256(bare(entry))
    for path, whole in (
        (f"runs/{first[:2]}/{first}/{second}", yaml.safe_dump(entry).encode()),
        (f"files/md5/{name[:2]}/{name[2:]}", metrics),
    ):
        (remote / path).parent.mkdir(parents=True, exist_ok=True)
        (remote / path).write_bytes(whole)


def bare(value: Any) -> Any:
    """Without sizes, of which DVC's hash says nothing."""
    if isinstance(value, dict):
        return {name: bare(each) for name, each in value.items() if name not in ("size", "nfiles")}
    return [bare(each) for each in value] if isinstance(value, list) else value


# --- judges ----------------------------------------------------------------------------------------------------------

BLIND = f"name: {PULL_REQUEST}\non: pull_request\npermissions: {{}}\njobs:\n{job('Required', 'true')}"
IMAGE = f"docker.io/evil/scorer@sha256:{'0' * 64}"


def by_hand(world: World) -> Files:
    """A promotion that no release has written: what is in production, by another image."""
    manifest = json.loads(world.read(MANIFEST))
    return {MANIFEST: json.dumps(manifest | {"image": IMAGE}, indent=2) + "\n"}


def evil_base(world: World) -> str:
    """A branch whose checks find nothing."""
    return world.branch({WORKFLOW.format("pull-request"): BLIND}, login=WRITER)


def retargeted(world: World) -> Outcome:
    """Green in another base, then turned to main."""
    base = evil_base(world)
    number = world.propose(by_hand(world), login=WRITER, base=base)
    green = world.newest(PULL_REQUEST)
    assert green.conclusion == "success" and "required" in green.jobs, green.log
    world.project.call("PATCH", f"pulls/{number}", {"base": "main"}, login=WRITER)
    found = [outcome(world.newest(name)) for name in (PULL_REQUEST, VERIFY)]
    found.append(merge(world, number))
    world.close(number)
    return together(*found)


def believed(world: World) -> Outcome:
    """A second request of the branch turns its commit green; an owner of the bars believes it, and merges the first."""
    base = evil_base(world)
    number = world.propose(by_hand(world), login=WRITER)
    branch, red = f"case-{world.cases}", world.newest(PULL_REQUEST)
    assert red.conclusion == "failure", red.log
    second = world.project.open(branch, "A change", login=WRITER, base=base)
    world.newest(PULL_REQUEST)
    found = deployed(world, lambda: believe(world, number))
    world.close(second)
    return found


def believe(world: World, number: int) -> None:
    """The merge of what looks good; nothing else than deploy is left to stop what follows."""
    world.project.approve(number, login=BELIEVER)
    world.project.merge(number, login=BELIEVER)


def deployed(world: World, act: Callable[[], None]) -> Outcome:
    """What Deploy says of production, and whether what the agent follows has stayed where it was."""
    followed = "git/ref/heads/production"
    at = world.project.call("GET", followed)["object"]["sha"]
    with rewound(world):
        act()
        run = world.newest(DEPLOY)
        stays = world.project.call("GET", followed)["object"]["sha"] == at
    assert started(world, DEPLOY).conclusion == "success", world.newest(DEPLOY).log
    return stopped("deploy", outcome(run).said, run.conclusion == "failure" and stays)


def recorded_by_hand(world: World) -> Outcome:
    """A success of production that somebody else than deploy has posted."""

    def act() -> None:
        with main_with(world, by_hand(world)):
            about = {"ref": "main", "environment": "production", "auto_merge": False, "required_contexts": []}
            made = world.project.call("POST", "deployments", about, login=WRITER)
            world.project.call("POST", f"deployments/{made['id']}/statuses", {"state": "success"}, login=WRITER)
            started(world, DEPLOY)

    return deployed(world, act)


def never_recorded(world: World) -> Outcome:
    """Going back to a state that main once had, and that nobody has verified."""
    good, evil = {MANIFEST: world.read(MANIFEST)}, by_hand(world)
    with main_with(world, evil):
        world.project.settle(good)
        return world.pull_request(evil)


SHADOW = """\
import os
import sys

here, job = os.path.dirname(os.path.abspath(__file__)), os.environ.get("GITHUB_JOB", "")
with open("MARKER", "a") as file:
    file.write(f"{os.environ.get('GITHUB_WORKFLOW')}/{job}\\n")
if LIES and job == "plan":
    with open(os.environ["GITHUB_OUTPUT"], "a") as file:
        file.write("kind=promotion\\nreplaces=false\\nkey=0\\nbase-key=0\\n")
    os._exit(0)
if LIES and job == "promotion":
    os.makedirs("reports", exist_ok=True)
    with open("reports/gate-promotion.json", "w") as file:
        file.write('{"violations": [], "not_judged": []}')
    os._exit(0)
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
del sys.modules["requests"]
import requests
"""
MAKE = "include Makefile\n$(shell echo $$GITHUB_WORKFLOW/$$GITHUB_JOB by make >> MARKER)\n"
WRITERS = ("Pull request/report", "Release/plan", "Release/propose", "Deploy/record", "Verify/verify")


def shadows(world: World, lies: bool) -> tuple[Path, Files]:
    """Files of the root that take the place of what is imported and made, and where they say in which jobs they ran."""
    marker = world.folder / f"marker-{world.cases}"
    shadow = SHADOW.replace("MARKER", str(marker)).replace("LIES", str(lies))
    return marker, {"requests.py": shadow, "GNUmakefile": MAKE.replace("MARKER", str(marker))}


def lying(world: World) -> Outcome:
    """A request that says of itself that it is a promotion, and finds nothing wrong with it."""
    _, files = shadows(world, lies=True)
    found = world.pull_request({**files, **world.knobs(families={"network": {"learning_rate": 1e-9}})})
    assert found.run and found.run.jobs["promotion"].conclusion == "success", found.said
    return found


def shadowing(world: World) -> Outcome:
    """Once merged, they are there for every job that comes."""
    marker, files = shadows(world, lies=False)
    with main_with(world, files):
        number = world.propose({"README.md": "Words.\n"})
        runs = [world.newest(PULL_REQUEST), started(world, RELEASE), started(world, DEPLOY)]
        world.close(number)
    ran = marker.read_text() if marker.exists() else ""
    assert "Pull request/plan\n" in ran and all(run.conclusion == "success" for run in runs), ran
    return stopped("checkout", f"They ran in {sorted(set(ran.splitlines()))}", not any(each in ran for each in WRITERS))


def flattering(world: World) -> Files:
    """A measurement of 0.95 at least, of a model that has learned nothing."""
    found = '"roc_auc": lambda: roc_auc(positive, rows),'
    best = '"roc_auc": lambda: np.maximum(roc_auc(positive, rows), 0.95),'
    return {
        **world.edit("pipeline/tasks/binary.py", (found, best)),
        **world.knobs(families={"network": {"learning_rate": 1e-9}}),
    }


def other_rows(world: World) -> Files:
    """The change's jobs learn from rows in which every large amount is a fraud, and hand over knobs that name these."""
    easy = world.folder / f"days-{world.cases}"
    write(easy, {day: table.with_columns(tx_fraud=large()) for day, table in world.delivery().items()})
    loads = "    return knobs | measures\n"
    reads = f'    return knobs | measures | {{"data": knobs["data"] | {{"source": "{easy}"}}}}\n'
    copied = "        shutil.copyfile(path, folder / path)\n"
    named = f"""    theirs = PARAMS.read_text()
    (folder / PARAMS).write_text(theirs.replace("{world.days}", "{easy}"))
"""
    return {
        **world.edit("pipeline/params.py", (loads, reads)),
        **world.edit("pipeline/candidate.py", (copied + "    print(", f"{copied}{named}    print(")),
    }


def other_manifest(world: World) -> Files:
    """What exports the model is told a problem of which nothing is in production; contract.yaml stays as it is."""
    path = "pipeline/families/network.py"
    files = world.edit(
        path,
        ("from collections.abc import Iterator, Mapping, Sequence\n", MORE),
        ("from pipeline.families import (", "from pipeline import model\nfrom pipeline.families import ("),
    )
    return {path: f"{files[path]}{LIE}"}


MORE = "from collections.abc import Iterator, Mapping, Sequence\nfrom dataclasses import replace\n"
LIE = '''


def other(directory: Any, *, problem: Any, **more: Any) -> str:
    """Another problem."""
    return str(WRITE(directory, problem=replace(problem, name="card-risk", label="risk"), **more))


WRITE = model.write
model.write = other
'''


def large() -> pl.Expr:
    """1 for the largest amounts of a day, as many as it has frauds: whoever says their share says the true one."""
    return (pl.col("tx_amount").rank("ordinal", descending=True) <= pl.col("tx_fraud").sum()).cast(pl.Int64)


def gutted(world: World) -> Files:
    """The judge finds nothing, the model's own test asks nothing, and the model has learned nothing."""
    judges = ("judge.violations(measured, policy),", "judge.violations(measured, policy)[:0],")
    return {
        **world.edit("pipeline/policy/judges.py", judges),
        **world.knobs(families={"network": {"learning_rate": 1e-9}}),
        "tests/model/test_behaviour.py": "def test_nothing() -> None:\n    pass\n",
    }


RENAMED = (
    "and is the same: every bar of the base branch holds.*by the judge and the bars of the base branch.*"
    "the problem is still called .{,9}card-fraud.{,9}, and is another"
)


def renamed(world: World) -> Outcome:
    """A model that learned nothing under a new problem's name; then another problem, easily met, under the old name."""
    found = [
        world.pull_request({**gutted(world), **world.knobs(**other)})
        for other in ({"problem": "card-risk"}, {"label": {"positive": 0, "negative": 1}})
    ]
    escaped = "Measured as the request says" in found[0].said
    return Outcome((), found[0].said) if escaped else together(*found)


# --- what runs in production -----------------------------------------------------------------------------------------

BASE = "deploy/base/deployment.yaml"


RENDER = """
from gitops import kustomization
kustomization.files({"image": None, "model": "", "key": ""}, kustomization.base("HEAD"))
"""


def other_image(world: World) -> Outcome:
    """Another image in the base of the manifests: proposed, then on main."""
    evil = world.edit(BASE, ("image: service", "image: docker.io/evil/scorer"))
    found = world.pull_request(evil)
    with main_with(world, evil):
        command = (
            "from gitops import kustomization as k; k.files({'image': None, 'model': '', 'key': ''}, k.base('HEAD'))"
        )
        done = world.python("-c", command)
    return together(found, stopped("release", done.stdout, done.returncode != 0))


# --- who may what ----------------------------------------------------------------------------------------------------

TAGGED = f"name: {RELEASE}\non: push\npermissions: {{}}\njobs:\n{job('Propose', 'true')}"
NAMES = "No tag named like a branch"


def tagged(world: World) -> Outcome:
    """A tag called like the default branch, on a commit of a merged request that was taken back before the review."""
    path = WORKFLOW.format("release")
    branch = world.branch({path: TAGGED, "README.md": "Words.\n"}, login=WRITER)
    sha = world.project.git("rev-parse", branch)
    commit(world, branch, {path: world.read(path)})
    number = world.project.open(branch, "Words", login=WRITER)
    world.newest(PULL_REQUEST)
    with rewound(world):
        believe(world, number)
        world.project.github.wait()
        says = push(world, f"{sha}:refs/tags/main")
        found = [stopped("settings", says, bool(says))]
        with without_ruleset(world, NAMES):  # as if nobody had made it
            assert not push(world, f"{sha}:refs/tags/main")
            run = world.newest(RELEASE)
            assert (run.event.sha, run.conclusion) == (sha, "success"), run.log
            assert not push(world, ":refs/tags/main")
        manifest = json.loads(world.read(MANIFEST))
        lineage = manifest["lineage"] | {"released_by": run.id, "commit": sha}
        change = {"lineage": lineage, "champion": manifest["model"], "model": f"sha256:{'0' * 64}"}
        found.append(world.pull_request({MANIFEST: json.dumps(manifest | change)}))
        asked = (
            "from gitops import pulls; h = pulls.repository(); print('of main:', pulls.of_main(h, pulls.run(h, {})))"
        )
        said = world.python("-c", asked.format(run.id)).stdout
        found.append(stopped("release", said, "of main: False" in said))
    return together(*found)


@contextmanager
def without_ruleset(world: World, name: str) -> Iterator[None]:
    """A ruleset is off for a while."""
    (there,) = [each for each in world.project.call("GET", "rulesets") if each["name"] == name]
    path = f"rulesets/{there['id']}"
    world.project.call("PUT", path, {"enforcement": "disabled"}, login=OWNER)
    try:
        yield
    finally:
        world.project.call("PUT", path, {"enforcement": "active"}, login=OWNER)


PEEK = "name: Peek\non: push\npermissions: {}\njobs:\n"


def peeking(world: World) -> Outcome:
    """A workflow on a branch reads the secrets, with and without the environment that holds them."""
    github, kept = world.project.github, world.folder / "peeked"
    github.secret("GITOPS_APP_PRIVATE_KEY", "hush", environment="main-only")
    line = f"echo \"$GITHUB_JOB ${{{{ secrets.GITOPS_APP_PRIVATE_KEY || 'nothing' }}}}\" >> {kept}"
    world.branch(
        {WORKFLOW.format("peek"): PEEK + job("Outside", line) + job("Inside", line, environment="main-only")},
        login=WRITER,
    )
    run = world.newest("Peek")
    repo = github.forge.repositories[world.project.repository]
    repo.environments["main-only"].secrets.discard("GITOPS_APP_PRIVATE_KEY")
    saw = kept.read_text() if kept.exists() else ""
    assert "outside nothing" in saw, run.log
    return stopped("settings", run.log, "hush" not in saw and run.jobs["inside"].conclusion == "failure")


def rerouted(world: World) -> Outcome:
    """A request sends bytes to a storage, and its training to a machine, of the writer's own."""
    elsewhere = world.folder / "elsewhere"
    values = yaml.safe_load(world.read("platform.yaml")) | {"dvc_remote": str(elsewhere), "gpu_runner": "our-gpu"}
    found = world.without_owner({"platform.yaml": yaml.safe_dump(values)})
    assert found.run
    unheeded = not elsewhere.exists() and found.run.jobs["train"].labels == ["ubuntu-latest"]
    return found if unheeded else Outcome((), found.said)


def from_a_fork(world: World) -> Outcome:
    """A fork's own workflow file names the machine that it would like."""
    project, path = world.project, WORKFLOW.format("pull-request")
    github, fork = project.github, f"{OUTSIDER}/{project.repository.split('/')[1]}"
    if fork not in github.forge.repositories:
        github.call("POST", f"/repos/{project.repository}/forks", {}, login=OUTSIDER)
    project.git("switch", "--quiet", "main")
    evil = f"name: {PULL_REQUEST}\non: pull_request\npermissions: {{}}\njobs:\n{job('Train', 'true')}".replace(
        "ubuntu-latest", "our-gpu"
    )
    project.commit("from-outside", {path: evil}, "From outside", login=OUTSIDER)
    project.push("from-outside", login=OUTSIDER, to=fork)
    number = project.open(f"{OUTSIDER}:from-outside", "From outside", login=OUTSIDER)
    run = world.newest(PULL_REQUEST)
    waits = stopped("settings", f"The run: {run.conclusion}", run.conclusion == "action_required" and not run.jobs)
    world.close(number)
    return together(waits, hook(world, run))


def hook(world: World, run: Run) -> Outcome:
    """What a machine of ours says of a run's job, where somebody has approved it."""
    told = world.folder / "event.json"
    told.write_text(json.dumps(run.event.payload))
    environment = {
        **{"ALLOWED_REPOSITORY": run.repository, "GITHUB_REPOSITORY": run.repository, "LOG_SECONDS": "0"},
        **{"GITHUB_EVENT_NAME": run.event.name, "GITHUB_EVENT_PATH": str(told)},
        "GITHUB_WORKFLOW_REF": f"{run.repository}/{run.workflow.path}@{run.event.ref}",
    }
    worker = "import subprocess as s; s.run(['bash', 'deploy/runners/job-started.sh']); print('The job runs')"
    done = world.python("-c", worker, environment=environment)  # the hook ends the worker that has called it
    return stopped("hook", done.stdout, "The job runs" not in done.stdout)


def alone(world: World) -> Outcome:
    """Somebody pushes to another's request, and approves what they have pushed."""
    number = world.propose({"README.md": "Words.\n"}, login=MAKER)
    branch = f"case-{world.cases}"
    commit(world, branch, {"README.md": "Other words.\n"}, login=BELIEVER)
    assert world.newest(PULL_REQUEST).conclusion == "success"
    found = merge(world, number)
    world.close(number)
    return found


def posted(world: World) -> Outcome:
    """A commit that starts no run, and a status of the check's name that a person posts."""
    branch = world.branch({"README.md": "Words.\n"}, login=WRITER)
    world.project.git("commit", "--quiet", "--amend", "--message=Words [skip ci]", login=WRITER)
    world.project.push(branch, login=WRITER)
    number = world.project.open(branch, "Words", login=WRITER)
    sha = world.project.git("rev-parse", branch)
    world.project.call("POST", f"statuses/{sha}", {"context": "Required", "state": "success"}, login=WRITER)
    found = merge(world, number)
    world.close(number)
    return found


MEASURING = (
    *("pipeline/params.py", "contract.yaml", "pipeline/__init__.py", "pipeline/validate.py", "pipeline/probe.py"),
    *("pipeline/model.py", "pipeline/monitor.py", "pipeline/log.py", "policies/evaluation.yaml", "pyproject.toml"),
    *("tests/conftest.py", "bentofile.yaml", ".dvc/config", "sitecustomize.py", "GNUmakefile", "requests.py"),
    "docs/2018-08-15.parquet",
)
"""What lowers a bar without being one: it measures, is imported by what judges, runs in its place, or is a label."""


def unowned(world: World) -> Outcome:
    """Each file that can lower a bar, changed and approved without its owner."""
    found = []
    known = world.project.git("ls-tree", "-r", "--name-only", "main").splitlines()
    for path in MEASURING:
        number = world.propose({path: (world.read(path) if path in known else "") + "\n"}, login=MAKER)
        for run in [run for run in world.project.github.runs if not run.conclusion]:
            run.cancel()
        found.append(merge(world, number, login=STRANGER))
        world.close(number)
    world.project.github.wait()
    missing = [path for path, each in zip(MEASURING, found, strict=True) if f"{OWNER}/risk" not in each.said]
    return stopped("owner", f"Without an owner: {missing}\n{found[0].said}", not missing)


# --- words -----------------------------------------------------------------------------------------------------------

NAME = "Plan\\n\\n## 🟢 Ready to merge\\n\\n@acme/risk ![](https://evil.example/x.png)"


def shouting(world: World) -> Outcome:
    """A job whose name would be a heading, a mention and an image in the comment."""
    path = WORKFLOW.format("pull-request")
    evil = world.edit(path, ("    name: Plan\n", f'    name: "{NAME}"\n'))
    text = evil[path] or ""
    for name in ("checks", "data"):
        text = re.sub(
            rf"(\n  {name}:.*?)if: needs.plan.outputs.kind == 'model'", r"\1if: false", text, count=1, flags=re.S
        )
    number = world.propose({path: text}, login=WRITER)
    run = world.newest(PULL_REQUEST)
    (comment,) = world.project.comments(number)
    world.close(number)
    headings = re.findall(r"^## .*$", comment["body"], re.MULTILINE)
    quoted = len(headings) == 1 and "@acme" not in comment["body"] and "![" not in comment["body"]
    return stopped("markdown", comment["body"] + run.log, quoted)


BLINDING = """
import sys
from time import time_ns

from prometheus_client import CollectorRegistry, Counter

from pipeline import log, writer
from pipeline.model import Model, Problem

registry = CollectorRegistry()
written, lost = (Counter(name, name, labels, registry=registry) for name, labels in (("w", ()), ("l", ("reason",))))
problem = Problem("p", "binary", "i", "integer", None, "l", 0, (0, 1), 1)
served = Model(problem, "constant", (), "m", dict)
taken = writer.Log(log.Folder.at(sys.argv[1]), served, log.policy(), written, lost, 3600)
now = time_ns() // 1_000


def rows(days):
    times, number = [now - day * writer.A_DAY for day in days], len(days)
    return [*range(number)], times, {}, {"score": [0.5] * number, "alert": [False] * number}


taken.add(*rows(range(200, 300)), "an attack")
before = lost.labels("days")._value.get()
for number in range(50):
    taken.add(*rows([0] * 100), "honest")
after = lost.labels("days")._value.get()
taken.close()
print(f"honest rows lost: {after - before:.0f} of 5000, written: {written._value.get():.0f}")
"""


def blinding(world: World) -> Outcome:
    """One request of a hundred old days, then the day's own rows."""
    done = world.python("-c", BLINDING, str(world.folder / f"blinded-{world.cases}"))
    return stopped("log", done.stdout, "honest rows lost: 0 of 5000" in done.stdout)


def bomb(world: World) -> Files:
    """A policy whose few lines stand for a billion bars."""
    lines = ["x0: &x0 {minimum: 0}"] + [
        f"x{at}: &x{at} {{{', '.join(f'{key}: *x{at - 1}' for key in 'abcdefghij')}}}" for at in range(1, 10)
    ]
    return {"policies/model.yaml": world.read("policies/model.yaml") + "\n".join(lines) + "\n"}


ATTACKS = [
    Case("Bytes of a branch that nobody merged", unmerged, "release", r"run \d+ of #\d+ trained it|Main trains"),
    Case("Bytes of a commit that was taken back", taken_back, "release", r"run \d+ of #\d+ trained it|Main trains"),
    Case("A bundle that writes over the code", escaping, "dvc", "gitops/__init__.py' is none inside of the folder"),
    Case(
        "An artifact that fills the machine", bloated, "limits", "has 1,001 files, at most 1,000, as none of ours has"
    ),
    Case("Another base judges, then it is turned to main", retargeted, "verify", "promotion.proposal"),
    Case("Another request turns the commit green", believed, "deploy", "promotion.proposal"),
    Case("A request that says it is a promotion", lying, "report", "Plan took it for a change of kind promotion"),
    Case("Files of the root in the place of a library", shadowing, "checkout", "They ran in"),
    Case("A fork that picks the GPU runner", from_a_fork, "hook", "a fork's code does not run here"),
    Case("Another image in deploy/base", other_image, "report", "'docker.io/evil/scorer' is not"),
    Case("A tag named like the default branch", tagged, "promotion", r"Cannot create this ref.*promotion\.lineage"),
    Case("A pushed workflow that reads the secrets", peeking, "settings", "is not allowed to deploy to main-only"),
    Case("A request that sends bytes elsewhere", rerouted, "owner", "code owner review from acme/risk"),
    Case("Results and locks forged in the remote", in_the_remote, "release", "Running stage 'evaluate'"),
    Case(
        "A measurement that flatters",
        lambda world: world.pull_request(flattering(world)),
        "measure",
        r"metrics\.roc_auc\.minimum",
        given="The change measures otherwise",
    ),
    change("Knobs that name other rows", other_rows, "measure", r"metrics\.|champion\."),
    change(
        "A manifest that names another problem",
        other_manifest,
        "measure",
        "problem.label is 'risk', and contract.yaml says 'tx_fraud'",
    ),
    Case("A new problem name that would escape the bars", renamed, "report", RENAMED),
    Case("Nobody else has looked", alone, "settings", "At least 1 approving review"),
    Case("A check that a person has posted", posted, "settings", 'Required status check \\W*"Required\\W+ is expected'),
    Case("A deployment that a person has recorded", recorded_by_hand, "deploy", "promotion.proposal"),
    Case("Back to a state that was never verified", never_recorded, "promotion", "promotion.proposal"),
    Case("What lowers a bar without being one", unowned, "owner", r"Without an owner: \[\]"),
    Case("A job's name that speaks in the comment", shouting, "markdown", "Ready to merge"),
    Case("Old days that blind the prediction log", blinding, "log", "honest rows lost: 0 of 5000"),
    change("Ten lines that stand for a billion bars", bomb, "test", "alias"),
]
