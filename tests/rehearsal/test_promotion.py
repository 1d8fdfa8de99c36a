"""Release, promotion, deploy and rollback on the forge: the same end, whatever fails in between.

`gitops` runs here in a clone of a small repository, after what the jobs before it would have left; the real workflow
files run in test_release.py.
"""

import copy
import hashlib
import html
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import yaml

from tests.baking import TEMPLATE
from tests.turns import turn

from .forge import Forge, Repo, actions

sys.path.insert(0, str(TEMPLATE))
from gitops import content, deploy, facts, ledger, promotion, pulls, release, verified, verify  # noqa: E402
from gitops.content import PRODUCTION  # noqa: E402

NUMBERS = itertools.count(1)
WHOLE = {*verify.TOLD, *(path.name for path in (TEMPLATE / "deploy" / "base").iterdir())}
RUN = ".github/workflows/{}.yml"
DISPATCHED = "name: {}\non:\n  workflow_dispatch:\n"
MAY = dict.fromkeys(("contents", "pull-requests", "issues", "actions", "deployments"), "write")
CONTRACT = (TEMPLATE / "contract.yaml").read_text()
OTHER = CONTRACT.replace("problem: card-fraud", "problem: churn").replace("transaction_id", "client")
FILES = {
    "params.yaml": "seed: 1\n",
    "contract.yaml": CONTRACT,
    "policies/schemas/contract.schema.json": (TEMPLATE / "policies/schemas/contract.schema.json").read_text(),
    "pipeline/train.py": "learn()\n",
    **{f"deploy/base/{path.name}": path.read_text() for path in (TEMPLATE / "deploy" / "base").iterdir()},
    "deploy/production/kustomization.yaml": "replicas: []\n",
    "policies/promotion.yaml": (TEMPLATE / "policies" / "promotion.yaml").read_text(),
    **{RUN.format(name): DISPATCHED.format(name) for name in ("pull-request", "release", "deploy")},
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def archive(files: dict[str, bytes]) -> bytes:
    """A zip, as an artifact is."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return whole.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def model(name: str) -> tuple[bytes, str]:
    """model.tar of a model of that name, and its digest; of the other problem where the name begins with that's."""
    said = yaml.safe_load(OTHER if name.startswith("churn") else CONTRACT)
    problem = {key: said[key] for key in ("task", "id", "time")} | {"name": said["problem"]}
    label = said["label"]
    problem |= {"label": label["column"], "values": [label["negative"], label["positive"]]}
    problem |= {"positive": label["positive"]} | dict.fromkeys(("unit", "lowest", "highest", "interval"))
    about = {"name": name, "problem": problem, "inputs": [{"name": column} for column in said["inputs"]]}
    about |= {"outputs": ["score", "alert"]}
    manifest, whole = json.dumps(about).encode(), io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        member = tarfile.TarInfo("model/manifest.json")
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))
    return whole.getvalue(), f"sha256:{sha256(manifest)}"


def measured(digest: str) -> dict[str, Any]:
    """metrics.json of a model."""
    interval = {"value": 0.7, "low": 0.6, "high": 0.8}
    window: dict[str, Any] = {"source": "simulate", "snapshot": None, "train": ["2018-07-25", "2018-07-31"]}
    window |= {"test": ["2018-08-08", "2018-08-14"], "train_rows": 9, "test_rows": 9, "test_labels": "1 fraud"}
    window |= {"calibration_rows": 2, "unlabelled": 0, "left_out": 0}
    metrics = {"average_precision": interval}
    return {
        "model": {"digest": digest, "bytes": 1, "family": "network", "decides": ""},
        **{"data": window, "metrics": metrics, "baselines": {"linear": metrics}, "slices": []},
        "headline": "average_precision",
        "smaller": ["calibration_error"],
    }


def packed(name: str, taken: bool = True) -> dict[str, bytes]:
    """What `pack` leaves of a model; taken: fitted by a request's run."""
    fitted = {"taken": taken, "why": "as the test says"}
    return {
        **{asset: f"{asset} {name}".encode() for asset in promotion.ASSETS},
        "model.tar": model(name)[0],
        **{"fitted.json": json.dumps(fitted).encode(), "dvc.lock": f"lock: {name}\n".encode()},
    }


def judged(name: str) -> dict[str, bytes]:
    """What main measures of a model, and its gates' verdicts."""
    latency = {"p50": 1, "p95": 2, "p99": 3}
    service = {"bento": sha256(packed(name)["service.bento"]), "ready_seconds": 1, "latency_ms": latency}
    service |= {"contract": 1, "requests": 1, "connections": 1, "errors": 0}
    told = {"metrics": measured(model(name)[1]), "service": service}
    told |= {f"gate-{gate}": {"violations": [], "not_judged": []} for gate in facts.GATES}
    return {f"{file}.json": json.dumps(value).encode() for file, value in told.items()}


@dataclass
class World:
    """A repository on the forge, a clone of its main, and what people and workflows do there."""

    forge: Forge
    repo: Repo
    clone: Path
    patch: pytest.MonkeyPatch
    saved: dict[str, Any] = field(default_factory=dict)
    main: str = "main"  # the default branch

    # What people do

    def commit(self, branch: str, files: dict[str, str | None], message: str = "Change", date: str = "") -> str:
        """A commit on a branch, straight into the repository, now or on a date."""
        git, person = self.repo.git, self.forge.identity("alice") | ({"date": date} if date else {})
        parent = git.resolve(f"refs/heads/{branch}") or git.resolve(f"refs/heads/{self.main}")
        changes = [
            {"path": path, "mode": "100644", "sha": None if text is None else git.blob(text.encode())}
            for path, text in files.items()
        ]
        made = git.commit(git.tree_with(parent, changes), [parent] if parent else [], message, person, person)
        if git.resolve(f"refs/heads/{branch}"):
            self.call("PATCH", f"git/refs/heads/{branch}", {"sha": made})
        elif parent:
            self.call("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": made})
        else:
            git.update(f"refs/heads/{branch}", made)
        if branch == self.main:
            self.pull()
        return made

    def pull(self) -> None:
        """Brings the clone to main's tip."""
        if not self.clone.exists():
            git = ("git", "clone", "--quiet", str(self.repo.git.path), str(self.clone))
            subprocess.run(git, check=True, capture_output=True)
        for command in (("fetch", "--quiet", "origin"), ("reset", "--quiet", "--hard", f"origin/{self.main}")):
            subprocess.run(["git", *command], cwd=self.clone, check=True, capture_output=True)

    def call(self, method: str, path: str, body: Any = None, login: str = "alice") -> Any:
        address = f"{self.forge.api_url}/repos/{self.repo.name}/{path}"
        answer = requests.request(method, address, json=body, headers={"Authorization": f"Bearer ghp_{login}"})
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def request(self, branch: str, login: str = "alice") -> int:
        """Opens a pull request of a branch."""
        return int(self.call("POST", "pulls", {"title": branch, "head": branch, "base": self.main}, login)["number"])

    def approve(self, number: int, login: str = "bob") -> None:
        self.call("POST", f"pulls/{number}/reviews", {"event": "APPROVE"}, login)

    def merge(self, number: int, method: str = "merge") -> None:
        self.call("PUT", f"pulls/{number}/merge", {"merge_method": method})
        self.pull()

    def close(self, number: int) -> None:
        self.call("PATCH", f"pulls/{number}", {"state": "closed"})

    def change(self, name: str, *, method: str = "merge", branch: str = "", **ran: Any) -> int:
        """A pull request that changes the inputs, trained by its run, merged; its number. `name` is the model's too."""
        branch = branch or f"change-{next(NUMBERS)}"
        contract = OTHER if name.startswith("churn") else CONTRACT
        self.commit(branch, {"params.yaml": f"model: {name}\n", "contract.yaml": contract})
        if method == "rebase":
            self.commit(branch, {"pipeline/train.py": f"learn({name!r})\n"})
        number = self.request(branch)
        self.train(number, name, **ran)
        self.approve(number)
        self.merge(number, method)
        return number

    def revert(self, number: int) -> int:
        """GitHub's Revert button on a merged pull request; the number of the one that it opens."""
        merged = self.call("GET", f"pulls/{number}")["merge_commit_sha"]
        paths = self.repo.git("diff", "--name-only", f"{merged}^1", merged).split()
        before = {path: self.text(f"{merged}^1", path) for path in paths}
        branch = f"revert-{number}"
        self.commit(branch, before, f"Revert #{number}")
        return self.request(branch)

    def text(self, revision: str, path: str) -> str | None:
        found = self.repo.git.tree(revision, path=path)
        return self.repo.git.read(found[0]["sha"]).decode() if found else None

    # What workflows do

    def run(self, file: str, sha: str = "", branch: str = "", event: str = "push", **more: Any) -> int:
        """A run of a workflow, by default of the tip of main."""
        sha, branch = sha or self.repo.git.resolve(f"refs/heads/{self.main}") or "", branch or self.main
        about = {"path": RUN.format(file), "event": event, "sha": sha, "branch": branch, "actor": "alice"}
        number = int(self.forge.start_run(self.repo.name, **{**about, **more})["id"])
        self.patch.setenv("GITHUB_RUN_ID", str(number))
        return number

    def keep(self, run: int, name: str, files: dict[str, bytes]) -> None:
        """Leaves an artifact of a run."""
        with self.forge.lock:
            actions.upload_artifact(self.forge, self.repo, run, name, archive(files), overwrite=True)

    def train(self, number: int, name: str, key: str = "", times: tuple[str, ...] = (), **more: Any) -> list[int]:
        """The runs of a pull request's workflow, one for each model that they made."""
        head = self.call("GET", f"pulls/{number}")["head"]
        made = []
        for trained in times or (name,):
            run = self.run("pull-request", head["sha"], head["ref"], "pull_request", **more)
            key = key or self.key(head["sha"])
            reported = json.dumps(measured(model(trained)[1])).encode()
            fitted = {"fitted.safetensors": trained.encode(), "metrics.json": reported, "scores.parquet": b""}
            self.keep(run, f"fitted-{key}", fitted)
            made.append(run)
        return made

    def key(self, revision: str) -> str:
        """The content key of a commit that the clone need not have."""
        return sha256((self.repo.git("ls-tree", "-r", "-z", revision, "--", *content.READ)).encode())[:32]

    def plan(self, again: bool = False) -> dict[str, str]:
        """What release.yml would do."""
        here = pulls.repository()
        folder = self.clone.parent / f"fitted-{next(NUMBERS)}"
        return dict(pulls.persist(lambda: release.plan(here, again, train=False, folder=folder)))

    def release(self, name: str = "one", again: bool = False) -> str:
        """A whole run of release.yml; what it did."""
        run = self.run("release")
        asked = self.plan(again)
        if asked["make"] == "false":
            return self.propose(None, asked["why"] if asked["overtaken"] == "true" else None)
        return self.propose(self.write(name, run, asked))

    def write(self, name: str, run: int, asked: dict[str, str]) -> Path:
        """What the jobs before the proposal leave: the bytes, and the files that are proposed."""
        folder, taken = self.clone.parent / f"release-{next(NUMBERS)}", asked["train"] == "false"
        for place, files in (("packed", packed(name, taken)), ("measured", judged(name))):
            (folder / place).mkdir(parents=True)
            for path, whole in files.items():
                (folder / place / path).write_bytes(whole)
        self.patch.setenv("TRAINED_BY", asked["run"])
        here, into = pulls.repository(), folder / "written"
        pulls.persist(lambda: release.write(here, folder / "packed", folder / "measured", into))
        self.keep(run, f"release-{asked['key']}", packed(name))
        self.keep(
            run, f"promotion-{asked['key']}", {path.name: path.read_bytes() for path in (into / "production").iterdir()}
        )
        return into

    def propose(self, written: Path | None, overtaken: str | None = None) -> str:
        here = pulls.repository()
        return str(pulls.persist(lambda: release.propose(here, written, overtaken)))

    def go_back(self, wanted: str) -> str:
        self.run("release", event="workflow_dispatch")
        here = pulls.repository()
        return str(pulls.persist(lambda: release.go_back(here, wanted)))

    def deploy(self) -> str:
        self.run("deploy")
        here = pulls.repository()
        return str(pulls.persist(lambda: deploy.deploy(here)))

    def verify(self, number: int) -> list[str]:
        """The rules that a promotion breaks, as its merge with main would be judged."""
        subprocess.run(["git", "fetch", "--quiet", "origin", f"refs/pull/{number}/merge"], cwd=self.clone, check=True)
        here = pulls.repository()
        found = pulls.persist(lambda: verify.verify(here, "FETCH_HEAD", "HEAD"))["violations"]
        return sorted({f"{each['rule'].removeprefix('promotion.')} {each['file']}" for each in found})

    def judge(self, number: int) -> tuple[str, list[str]]:
        """The kind of a request, and the rules that it breaks, as main's own files find them."""
        here = pulls.repository()
        verdict = pulls.persist(lambda: verified.judged(here, number))
        assert verdict.head == self.call("GET", f"pulls/{number}")["head"]["sha"]
        return verdict.kind, sorted(
            {f"{each['rule'].removeprefix('promotion.')} {each['file']}" for each in verdict.wrong}
        )

    def promote(self, name: str, **change: Any) -> int:
        """A change, released, approved, merged and recorded; the promotion's number."""
        self.change(name, **change)
        self.release(name)
        number = self.promotion["number"]
        self.approve(number)
        self.merge(number)
        self.deploy()
        return int(number)

    # What there is to see

    def open(self, branch: str) -> list[dict[str, Any]]:
        return list(self.call("GET", f"pulls?head=acme:{branch}&state=open"))

    @property
    def promotion(self) -> dict[str, Any]:
        """The one open promotion request."""
        (request,) = self.open(promotion.BRANCH)
        return dict(request)

    @property
    def issues(self) -> list[dict[str, Any]]:
        return [each for each in self.call("GET", "issues?direction=asc") if "pull_request" not in each]

    @property
    def followed(self) -> str | None:
        """The commit whose production the GitOps agent runs."""
        return self.repo.git.resolve("refs/heads/production")

    @property
    def production(self) -> str | None:
        """The model that main has in production."""
        manifest = self.text(self.main, ledger.MANIFEST)
        return json.loads(manifest)["model"] if manifest else None

    def writes(self, since: int) -> list[str]:
        """The calls that change something."""
        made = [call for call in self.forge.calls[since:] if call.method != "GET" and call.actor.endswith("[bot]")]
        return [f"{call.method} {call.path}" for call in made]

    def state(self) -> Any:
        """All that people see, without times, runs and commits."""
        git, tables = self.repo.git, self.repo.tables
        seen = {
            "issues": [
                {
                    **{name: row[name] for name in ("number", "title", "body", "state")},
                    "labels": sorted(label["name"] for label in row["labels"]),
                    "said": [each["body"] for each in self.repo.rows("comments", issue_url=row["url"])],
                    "reviews": [
                        each["state"]
                        for each in tables["reviews"].values()
                        if each["pull_request_url"].endswith(f"/pulls/{row['number']}")
                    ],
                    **{name: tables["pulls"].get(row["number"], {}).get(name) for name in ("merged", "auto_merge")},
                }
                for row in tables["issues"].values()
            ],
            "branches": {
                ref: {each["path"]: git.read(each["sha"]).decode() for each in git.tree(ref, "-r")}
                for ref in git.refs("refs/heads")
            },
            "tags": sorted(git.refs("refs/tags")),
            "releases": [
                [
                    row["tag_name"],
                    row["draft"],
                    row["body"],
                    sorted((each["name"], each["digest"]) for each in row["assets"]),
                ]
                for row in tables["releases"].values()
            ],
            "deployments": [
                [
                    row["environment"],
                    row["description"],
                    [each["state"] for each in self.repo.rows("deployment_statuses", deployment_url=row["url"])],
                ]
                for row in tables["deployments"].values()
            ],
            "started": sorted({each.payload["workflow"] for each in self.forge.events if self.dispatched(each)}),
        }
        text = json.dumps(seen, sort_keys=True).replace(self.repo.name, "the/bank")
        text = re.sub(r"\b[0-9a-f]{40}\b", "COMMIT", text)
        return json.loads(
            re.sub(r'((?:trained|released)_by\\*": |runs/|by \[run )\d+', r"\1RUN", text).replace("RUN", "0")
        )

    def dispatched(self, event: Any) -> bool:
        return bool(event.name == "workflow_dispatch" and event.repository == self.repo.name)

    # The same again

    def save(self) -> None:
        """Keeps all of this repository, for `restore`."""
        kept = ["tables", "bytes", "numbers", "pushers", "auto_merges", "uploaded", "workflow_permissions"]
        kept += ["immutable_releases", "spent_tags"]
        self.saved = {name: self.same(getattr(self.repo, name)) for name in kept}
        self.saved |= {"refs": self.repo.git.refs(), "info": dict(self.repo.info)}

    def same(self, value: Any) -> Any:
        """A copy, in which the repository itself is the same still."""
        return copy.deepcopy(value, {id(self.repo.info): self.repo.info})

    def restore(self) -> None:
        git, refs = self.repo.git, self.saved["refs"]
        self.repo.info.update(self.saved["info"])
        for name in self.saved.keys() - {"refs", "info"}:
            setattr(self.repo, name, self.same(self.saved[name]))
        lines = [f"delete {ref}" for ref in git.refs() if ref not in refs]
        lines += [f"update {ref} {sha}" for ref, sha in refs.items()]
        git("update-ref", "--stdin", stdin="\n".join(lines).encode() + b"\n")
        self.forge.events = [each for each in self.forge.events if each.repository != self.repo.name]
        self.forge.faults.clear()
        self.pull()


Start = Callable[..., World]


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with Forge(tmp_path_factory.mktemp("forge")) as forge:
        for name in ("alice", "bob", "eve"):
            forge.user(name)
        forge.team("acme/risk", "bob")
        yield forge


STAGES: dict[str, Callable[[World], object]] = {
    "new": lambda world: None,
    "changed": lambda world: world.change("one"),
    "proposed": lambda world: (world.change("one"), world.release("one")),
    "promoted": lambda world: world.promote("one"),
    "promoted twice": lambda world: (world.promote("one"), world.promote("two")),
}


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    """Those of earlier tests, to start from."""
    return {}


@pytest.fixture
def start(
    forge: Forge, worlds: dict[str, World], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Start:
    """A repository at some stage, and the commands run in a clone of it with a workflow's token."""

    def at(stage: str = "new", actions_may_create: bool = True, main: str = "main", **asked: Any) -> World:
        forge.faults.clear()
        known = str((stage, actions_may_create, main, asked))
        world = worlds.get(known) or fresh(forge, tmp_path_factory.mktemp("bank"), monkeypatch, asked, main)
        world.patch = monkeypatch
        world.repo.workflow_permissions["can_approve_pull_request_reviews"] = actions_may_create
        environment = {
            **{"GITHUB_API_URL": forge.api_url, "GITHUB_SERVER_URL": forge.url, "GITHUB_RUN_ID": "7"},
            **{"GITHUB_GRAPHQL_URL": f"{forge.url}/api/graphql", "GITHUB_REPOSITORY": world.repo.name},
            **{"GITHUB_TOKEN": forge.token(world.repo.name, MAY), "GITOPS_BOT": ""},
            **{"IMAGE": "", "DVC_REMOTE": "", "TRAINED_BY": ""},
            "GITHUB_STEP_SUMMARY": str(tmp_path_factory.mktemp("run") / "summary.md"),
        }
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr(pulls, "time", SimpleNamespace(sleep=lambda seconds: None))
        monkeypatch.chdir(world.clone)
        if known in worlds:
            world.restore()
        else:
            STAGES[stage](world)
            world.save()
            worlds[known] = world
        return world

    return at


def fresh(forge: Forge, folder: Path, patch: pytest.MonkeyPatch, asked: dict[str, Any], main: str) -> World:
    """A repository with its first commit, and a clone."""
    name = f"acme/bank-{next(NUMBERS)}"
    roles = {"alice": "admin", "bob": "write", "eve": "read"}
    repo = forge.repository(name, private=False, roles=roles, default_branch=main)
    repo.git("symbolic-ref", "HEAD", f"refs/heads/{main}")
    world = World(forge, repo, folder / "clone", patch, main=main)
    world.commit(main, {**FILES, **policy(**asked)})
    return world


def policy(**asked: Any) -> dict[str, str]:
    """policies/promotion.yaml with some of its answers changed."""
    whole = yaml.safe_load(FILES["policies/promotion.yaml"])
    return {"policies/promotion.yaml": yaml.safe_dump(whole | asked)}


# --- the way of a model ----------------------------------------------------------------------------------------------


def test_first_model_ever_goes_the_same_way(start: Start) -> None:
    world = start()
    number = world.change("one")
    assert "trained it" in world.plan()["why"]
    assert "Proposed" in world.release("one")
    request = world.promotion
    assert request["title"] == f"Promote model {model('one')[1][7:19]}"
    assert [label["name"] for label in request["labels"]] == ["promotion"]
    assert (
        f"/pull/{number}), approved by" in request["body"]
        and "no model of this problem was in production" in request["body"]
    )
    changed = {each["filename"] for each in world.call("GET", f"pulls/{request['number']}/files")}
    assert changed == {f"deploy/production/{name}" for name in WHOLE}
    assert world.verify(request["number"]) == []
    world.approve(request["number"])
    world.merge(request["number"])
    assert world.deploy().startswith("Recorded model-")
    assert world.production == model("one")[1]
    assert world.issues == []


def test_nothing_to_release_is_said_and_changes_nothing(start: Start) -> None:
    world = start("promoted")
    world.commit("main", {"README.md": "hello\n"})
    before, since = world.state(), len(world.forge.calls)
    assert world.plan()["why"] == "it is in production already"
    assert world.release() == "Nothing to release"
    assert world.state() == before and world.writes(since) == []


# --- whose bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_what_the_pull_request_trained_is_restored(start: Start, method: str) -> None:
    world = start()
    number = world.change("one", method=method)
    world.commit("main", {"README.md": "an unrelated commit\n"})
    (run,) = world.repo.rows("runs", path=RUN.format("pull-request"))
    plan = world.plan()
    assert [plan[name] for name in ("make", "train", "run", "sha256")] == [
        *("true", "false", str(run["id"]), sha256(b"one"))
    ]
    world.release("one")
    assert json.loads(world.text(promotion.BRANCH, ledger.MANIFEST) or "")["lineage"] == {
        **{"commit": world.repo.git.resolve("main"), "pull_request": number, "approved_by": ["bob"]},
        **{"trained_by": run["id"], "released_by": released(world)},
    }


def released(world: World) -> int:
    """The newest run of release.yml."""
    return int(world.repo.rows("runs", path=RUN.format("release"))[-1]["id"])


def test_what_a_fork_trained_is_never_taken(start: Start) -> None:
    world = start()
    fork = world.forge.repository(f"eve/bank-{next(NUMBERS)}", private=False, parent=world.repo.info)
    fork.git("fetch", "--quiet", str(world.repo.git.path.resolve()), "+refs/heads/*:refs/heads/*")
    main = fork.git.resolve("main")
    person = world.forge.identity("eve")
    tree = fork.git.tree_with(main, [{"path": "params.yaml", "mode": "100644", "sha": fork.git.blob(b"seed: 2\n")}])
    head = fork.git.commit(tree, [str(main)], "Change", person, person)
    fork.git.update("refs/heads/better", head)
    number = int(world.call("POST", "pulls", {"title": "x", "head": "eve:better", "base": "main"}, "eve")["number"])
    about = {"head_repository": fork.info, "head_repository_id": fork.info["id"]}
    world.train(number, "one", **about)
    world.merge(number)
    plan = world.plan()
    assert (plan["make"], plan["train"], plan["run"]) == ("true", "true", "")
    assert "fork" in plan["why"]


def test_two_results_for_the_same_inputs_mean_to_train(start: Start) -> None:
    world = start()
    world.change("one", times=("one", "two"))
    assert world.plan()["train"] == "true" and "different models" in world.plan()["why"]
    world.change("three", times=("three", "three"))
    assert world.plan()["train"] == "false"


def test_expired_bytes_mean_to_train(start: Start) -> None:
    world = start("changed")
    for row in world.repo.rows("artifacts"):
        row["expired"] = True
    assert world.plan()["train"] == "true" and "no run" in world.plan()["why"]


def test_what_was_pushed_past_pull_requests_is_trained(start: Start) -> None:
    world = start()
    world.commit("main", {"params.yaml": "seed: 2\n"})
    assert world.plan()["train"] == "true"


# --- the proposal ----------------------------------------------------------------------------------------------------


def test_the_same_state_twice_changes_nothing(start: Start) -> None:
    world = start("proposed")
    before, since = world.state(), len(world.forge.calls)
    for _ in range(2):
        assert "Proposed" in world.release("one")
    assert "proposed already" in world.plan()["why"]
    assert world.state() == before and world.writes(since) == []


def test_a_branch_that_holds_no_manifest_any_more_is_proposed_anew(start: Start) -> None:
    for text in ("no JSON", "[]", "{}"):
        world, number = proposed(start)
        world.commit(promotion.BRANCH, {ledger.MANIFEST: text})
        assert "Proposed" in world.release("one") and world.verify(number) == []


def test_another_model_refreshes_the_one_request_and_takes_approvals_back(start: Start) -> None:
    world = start("proposed")
    number = world.promotion["number"]
    world.approve(number)
    world.change("two")
    world.release("two")
    assert world.promotion["number"] == number
    assert model("two")[1] in world.promotion["body"].replace("&#58;", ":")
    assert [each["state"] for each in world.call("GET", f"pulls/{number}/reviews")] == ["DISMISSED"]
    assert world.verify(number) == []


def test_update_branch_keeps_the_approval(start: Start) -> None:
    world = start("proposed")
    number = world.promotion["number"]
    world.approve(number)
    world.commit("main", {"README.md": "hello\n"})
    world.call("PUT", f"pulls/{number}/update-branch")
    since = len(world.forge.calls)
    world.release("one")
    assert world.writes(since) == []
    assert [each["state"] for each in world.call("GET", f"pulls/{number}/reviews")] == ["APPROVED"]
    assert world.verify(number) == []
    world.merge(number)
    assert "Recorded" in world.deploy()


def test_an_older_run_never_overwrites_a_newer_proposal(start: Start) -> None:
    world = start("changed")
    run = world.run("release")
    older = world.write("one", run, world.plan())
    old = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    world.change("two")
    world.release("two")
    before, since = world.state(), len(world.forge.calls)
    subprocess.run(["git", "reset", "--quiet", "--hard", old], check=True)
    assert "moved on" in world.propose(older)
    assert world.state() == before and world.writes(since) == []


@pytest.mark.parametrize(("standing", "call"), [(True, 4), (True, 6), (True, 8), (False, 5), (False, 6)])
def test_a_newer_run_in_between_any_calls_wins(start: Start, standing: bool, call: int) -> None:
    """The newer run ends while the older one is between two calls; whatever was read before is stale."""
    world = start()
    if standing:
        world.change("zero")
        world.release("zero")
    world.change("one")
    run = world.run("release")
    older = world.write("one", run, world.plan())
    there = world.clone

    def newer() -> None:
        world.forge.faults.clear()
        world.clone = there.parent / "newer"
        world.pull()
        world.patch.chdir(world.clone)
        world.change("two")
        world.release("two")
        world.clone = there
        world.patch.chdir(there)

    world.forge.fault("", after=call, hook=newer)
    world.propose(older)
    world.pull()
    assert model("two")[1] in (world.text(promotion.BRANCH, ledger.MANIFEST) or "")
    world.release("two")  # words cannot be compared and swapped: the next run by the clock has the last one
    assert model("two")[1][7:19] in world.promotion["title"]
    assert world.verify(world.promotion["number"]) == []


def test_people_who_closed_a_promotion_are_heeded(start: Start) -> None:
    world = start("proposed")
    world.close(world.promotion["number"])
    before = world.state()
    assert "people closed" in world.plan()["why"] and world.release("one") == "Nothing to release"
    assert world.state() == before and world.open(promotion.BRANCH) == []
    assert "Proposed" in world.release("one", again=True)
    assert world.verify(world.promotion["number"]) == []


def test_a_closed_promotion_says_nothing_about_the_next_model(start: Start) -> None:
    world = start("proposed")
    world.close(world.promotion["number"])
    world.change("two")
    fault = world.forge.fault("^POST .*/pulls$", drop=True, times=None)
    with pytest.raises(requests.RequestException):
        world.release("two")
    assert fault.hits
    world.forge.faults.clear()
    assert "Proposed" in world.release("two") and model("two")[1][7:19] in world.promotion["title"]


def test_what_main_took_back_is_not_proposed_any_more(start: Start) -> None:
    """Main goes back to what is in production while a promotion is open: the promotion is closed, with a comment."""
    world = start("promoted")
    number = world.change("two")
    world.release("two")
    request = world.promotion["number"]
    back = world.revert(number)
    world.train(back, "one")
    world.merge(back)
    for _ in range(2):
        world.release()
    assert world.open(promotion.BRANCH) == []
    (comment,) = world.call("GET", f"issues/{request}/comments")
    assert "in production already" in comment["body"]
    world.change("two", branch="once-more")
    assert "Proposed" in world.release("two"), "a bot closed it: nobody has to be heeded"


def test_the_apps_closing_is_not_peoples(start: Start) -> None:
    """The job that plans has no token of the App, and does not know its name."""
    world = start("proposed")
    number = world.promotion["number"]
    world.close(number)
    world.repo.row("issues", number)["closed_by"] = world.forge.account("acme-gitops[bot]")
    assert "Proposed" in world.release("one")


def test_other_inputs_that_made_the_bytes_in_production_propose_nothing(start: Start) -> None:
    world = start("promoted")
    world.change("two")
    world.release("two")
    world.change("three")
    assert "the very bytes" in world.release("one")
    assert world.open(promotion.BRANCH) == []


def rebased(world: World, files: dict[str, str | None]) -> None:
    """A change of deploy/base, with the very model that is in production, merged."""
    branch = f"base-{next(NUMBERS)}"
    world.commit(branch, {f"deploy/base/{name}": text for name, text in files.items()})
    number = world.request(branch)
    world.train(number, "one")
    world.approve(number)
    world.merge(number)


def test_a_change_of_the_base_reaches_production_by_a_promotion_that_shows_it(start: Start) -> None:
    world = start("promoted")
    world.commit("main", {"README.md": "hello\n"})
    assert world.plan()["make"] == "false"
    slower = FILES["deploy/base/deployment.yaml"].replace(
        "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 99"
    )
    listed = FILES["deploy/base/kustomization.yaml"].replace("  - disruption.yaml\n", "")
    rebased(world, {"deployment.yaml": slower, "kustomization.yaml": listed, "disruption.yaml": None})
    assert "terminationGracePeriodSeconds: 45" in (world.text("main", PRODUCTION + "deployment.yaml") or "")
    assert "Proposed" in world.release("one")
    request = world.promotion
    changed = {each["filename"]: each for each in world.call("GET", f"pulls/{request['number']}/files")}
    assert "+      terminationGracePeriodSeconds: 99" in changed[PRODUCTION + "deployment.yaml"]["patch"]
    assert changed[PRODUCTION + "disruption.yaml"]["status"] == "removed"
    assert world.verify(request["number"]) == []
    world.approve(request["number"])
    world.merge(request["number"])
    assert "Recorded" in world.deploy() and world.release("one") == "Nothing to release"
    world.change("two")
    assert "the very bytes" in world.release("one")


def test_a_base_that_runs_another_image_is_not_proposed(start: Start) -> None:
    world = start("promoted")
    before = world.text("main", PRODUCTION + "deployment.yaml")
    evil = FILES["deploy/base/deployment.yaml"].replace("image: service", "image: docker.io/evil/scorer")
    rebased(world, {"deployment.yaml": evil})
    with pytest.raises(SystemExit, match=r"deploy/base/deployment\.yaml.*'docker\.io/evil/scorer' is not `service`"):
        world.release("one")
    assert world.open(promotion.BRANCH) == [] and world.text("main", PRODUCTION + "deployment.yaml") == before


def test_what_failed_its_gates_is_not_proposed(start: Start) -> None:
    world = start("changed")
    run, asked = world.run("release"), world.plan()
    folder = world.write("one", run, asked).parent
    said = dict.fromkeys(("rule", "file", "value", "bar", "next"), "x")
    places = folder / "packed", folder / "measured", folder / "again"
    (places[1] / "gate-model.json").write_text(json.dumps({"violations": [said], "not_judged": []}))
    with pytest.raises(SystemExit, match="1 bars are not met"):
        release.write(pulls.repository(), *places)
    (places[1] / "gate-model.json").write_text(json.dumps({"violations": [], "not_judged": []}))
    (world.clone / "contract.yaml").write_text(CONTRACT.replace("positive: 1, negative: 0", "positive: 0, negative: 1"))
    with pytest.raises(SystemExit, match=r"positive is 1, and contract\.yaml says 0\. Find"):
        release.write(pulls.repository(), *places)
    (places[1] / "gate-model.json").unlink()
    with pytest.raises(SystemExit, match="lacks"):
        release.write(pulls.repository(), *places)


# --- what Actions may not --------------------------------------------------------------------------------------------


def test_another_problem_is_proposed_against_nothing_and_the_first_can_come_back(start: Start) -> None:
    """What bots had open for the one that it replaces is closed; callers are told what they have to change."""
    world = start("promoted")
    world.commit("retrain/production", {"params.yaml": "model: later\n"})
    old = [world.request("retrain/production")]
    world.change("two")
    world.release("two")
    old.append(world.promotion["number"])
    world.change("churn")
    world.release("churn")
    for number in old:
        assert world.call("GET", f"pulls/{number}")["state"] == "closed"
        (said,) = world.call("GET", f"issues/{number}/comments")
        assert "another problem now, churn" in said["body"]
    request = world.promotion
    said = html.unescape(request["body"])
    assert "card-fraud</code> becomes <code>churn" in said and "Callers break" in said
    assert "| answer | <code>transaction_id</code> | <code>client</code> |" in said
    assert "no model of this problem was in production" in said
    assert world.verify(request["number"]) == []
    world.approve(request["number"])
    world.merge(request["number"])
    assert world.deploy().startswith("Recorded model-") and world.production == model("churn")[1]

    world.change("three")
    world.release("three")
    request = world.promotion
    assert f"Compared with <code>{model('one')[1]}" in html.unescape(request["body"])
    assert "Callers break" in request["body"] and world.verify(request["number"]) == []
    folder = world.clone.parent / "champion"
    assert deploy.fetch_champion(pulls.repository(), folder).endswith(ledger.tag(json.loads(manifest(world, "one"))))
    assert digest(folder) == model("one")[1] and world.production == model("churn")[1]


def manifest(world: World, name: str) -> str:
    """The manifest that put a model into production."""
    entry = ledger.find(ledger.entries(), model(name)[1])
    assert entry is not None
    return content.text(entry.commit, ledger.MANIFEST)


def digest(folder: Path) -> str:
    """That of the model in a folder."""
    return f"sha256:{sha256((folder / 'model' / 'manifest.json').read_bytes())}"


def test_where_actions_may_not_create_one_issue_has_the_link(start: Start) -> None:
    world = start(actions_may_create=False)
    world.change("one")
    world.release("one")
    (issue,) = world.issues
    assert f"compare/main...{promotion.BRANCH}" in issue["body"] and world.open(promotion.BRANCH) == []
    before, since = world.state(), len(world.forge.calls)
    world.release("one")
    assert world.state() == before
    assert world.writes(since) == [f"POST /repos/{world.repo.name}/pulls"], "the setting may be another by now"
    number = world.request(promotion.BRANCH)
    tip = world.repo.git.resolve(promotion.BRANCH)
    world.release("one")
    assert world.issues == [] and world.promotion["number"] == number
    assert world.promotion["title"].startswith("Promote model") and "Evidence" in world.promotion["body"]
    assert world.repo.git.resolve(promotion.BRANCH) == tip, "what people look at is not made again"
    assert world.verify(number) == []


# --- what is verified ------------------------------------------------------------------------------------------------


def proposed(start: Start) -> tuple[World, int]:
    world = start("proposed")
    return world, int(world.promotion["number"])


def edited(world: World, change: Callable[[dict[str, Any]], object]) -> dict[str, str | None]:
    """The proposed manifest with a change by hand."""
    manifest = json.loads(world.text(promotion.BRANCH, ledger.MANIFEST) or "")
    change(manifest)
    return {ledger.MANIFEST: json.dumps(manifest)}


def other_run(file: str, **more: Any) -> Callable[[World], dict[str, str | None]]:
    """A manifest that names another run, which has left all that a release leaves."""

    def change(world: World) -> dict[str, str | None]:
        kept = {row["name"]: row["id"] for row in world.repo.rows("artifacts")}
        run = world.run(file, **more)
        files = edited(world, lambda manifest: manifest["lineage"].update(released_by=run))
        for name, number in kept.items():
            with zipfile.ZipFile(io.BytesIO(world.repo.bytes[number])) as made:
                inside = {member: made.read(member) for member in made.namelist()}
            text = files[ledger.MANIFEST]
            assert text
            world.keep(run, name, inside | ({"manifest.json": text.encode()} if name.startswith("promotion") else {}))
        return files

    return change


def off_line(world: World) -> dict[str, str | None]:
    """A release of a commit that was merged and never was main's tip: a tag there with main's name is all it takes."""
    commit = world.call("GET", "pulls?state=closed")[-1]["head"]["sha"]
    assert pulls.in_history(commit) and content.key(commit) == content.key()
    files = other_run("release", sha=commit)(world)
    manifest = json.loads(files[ledger.MANIFEST] or "")
    manifest["lineage"]["commit"] = commit
    written = {path.name: path.read_bytes() for path in Path("deploy/production").iterdir()}
    text = json.dumps(manifest)
    world.keep(
        manifest["lineage"]["released_by"], f"promotion-{manifest['key']}", written | {"manifest.json": text.encode()}
    )
    return {ledger.MANIFEST: text}


def overwritten(name: str, world: World) -> dict[str, str | None]:
    return {PRODUCTION + name: "changed\n"}


Edit = Callable[[World], dict[str, str | None]]
EDITS: dict[str, tuple[Edit, str]] = {
    **{
        name: (partial(overwritten, name), f"proposal {PRODUCTION}{name}")
        for name in sorted(WHOLE)
        if name != "manifest.json"
    },
    "a file removed": (lambda world: {"deploy/production/dvc.lock": None}, "proposal deploy/production/dvc.lock"),
    "a file more": (lambda world: {"deploy/production/é.yaml": "x"}, "proposal deploy/production/é.yaml"),
    "no manifest": (lambda world: {ledger.MANIFEST: None}, "manifest manifest.json"),
    "no JSON": (lambda world: {ledger.MANIFEST: "{"}, "manifest manifest.json"),
    "no object": (lambda world: {ledger.MANIFEST: "[1]"}, "manifest manifest.json"),
    "a key more": (lambda world: edited(world, lambda manifest: manifest.update(x=1)), "manifest manifest.json"),
    "another digest": (
        lambda world: edited(world, lambda manifest: manifest.update(model="sha256:" + "0" * 64)),
        f"proposal {ledger.MANIFEST}",
    ),
    "another image": (
        lambda world: edited(world, lambda manifest: manifest.update(image="evil.example/x@sha256:" + "0" * 64)),
        f"proposal {ledger.MANIFEST}",
    ),
    "another key": (lambda world: edited(world, lambda manifest: manifest.update(key="0" * 32)), "key manifest.json"),
    "another sha256": (
        lambda world: edited(world, lambda manifest: manifest["files"]["model.tar"].update(sha256="0" * 64)),
        "bytes model.tar",
    ),
    "no such run": (
        lambda world: edited(world, lambda manifest: manifest["lineage"].update(released_by=10**9)),
        "lineage manifest.json",
    ),
    "a run of another workflow": (other_run("pull-request"), "lineage manifest.json"),
    "a run of another branch": (other_run("release", branch="evil"), "lineage manifest.json"),
    "no run": (
        lambda world: edited(world, lambda manifest: manifest["lineage"].update(released_by=0)),
        "manifest manifest.json",
    ),
    "a run that a pull request started": (other_run("release", event="pull_request"), "lineage manifest.json"),
    "a run of a tag with main's name": (off_line, "lineage manifest.json"),
    "a run of another commit than it says": (
        lambda world: edited(world, lambda manifest: manifest["lineage"].update(commit="0" * 40)),
        "lineage manifest.json",
    ),
    "a run of another event's fork": (
        other_run("release", head_repository={"id": 1}, head_repository_id=1),
        "lineage manifest.json",
    ),
    "a run of a deleted fork": (other_run("release", head_repository=None), "lineage manifest.json"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_hands_have_touched_is_named(start: Start, edit: str) -> None:
    world, number = proposed(start)
    change, expected = EDITS[edit]
    world.commit(promotion.BRANCH, change(world))
    assert expected in world.verify(number)


def test_a_file_that_has_become_a_program_is_named(start: Start) -> None:
    world, number = proposed(start)
    git, tip = world.repo.git, world.repo.git.resolve(promotion.BRANCH)
    path = "deploy/production/kustomization.yaml"
    entry = {"path": path, "mode": "100755", "sha": git.tree(str(tip), path=path)[0]["sha"]}
    person = world.forge.identity("alice")
    made = git.commit(git.tree_with(tip, [entry]), [str(tip)], "x", person, person)
    world.call("PATCH", f"git/refs/heads/{promotion.BRANCH}", {"sha": made})
    assert f"file {path}" in world.verify(number)


LINKS = {
    "a link": ("deploy/production/more.yaml", "120000", "../base/deployment.yaml"),
    "a link in a file's place": ("deploy/production/deployment.yaml", "120000", "../base/deployment.yaml"),
    "a submodule": ("deploy/production/more", "160000", ""),
    "the folder a link": ("deploy/production", "120000", "base"),
    "the folder a submodule": ("deploy/production", "160000", ""),
}


@pytest.mark.parametrize("link", LINKS)
def test_what_is_no_plain_file_is_named(start: Start, link: str) -> None:
    """The agent would read something else than the promotion shows."""
    world, number = proposed(start)
    git, tip = world.repo.git, str(world.repo.git.resolve(promotion.BRANCH))
    path, mode, target = LINKS[link]
    gone = [{"path": each["path"], "mode": "", "sha": None} for each in git.tree(tip, "-r", path=path)]
    entry = {"path": path, "mode": mode, "sha": git.blob(target.encode()) if target else tip}
    person = world.forge.identity("alice")
    made = git.commit(git.tree_with(git.tree_with(tip, gone), [entry]), [tip], "x", person, person)
    world.call("PATCH", f"git/refs/heads/{promotion.BRANCH}", {"sha": made})
    shown = path if path != "deploy/production" else "deploy/production/"
    assert world.verify(number) == [f"file {shown}"]
    kind, wrong = world.judge(number)
    assert wrong and kind == ("promotion" if shown == path else "mixed")


def test_manifests_that_the_manifest_does_not_make_are_named(start: Start) -> None:
    """A release whose own files rendered something else, such as another image, wrote exactly what is proposed."""
    world, number = proposed(start)
    path = PRODUCTION + "deployment.yaml"
    text = (world.text(promotion.BRANCH, path) or "").replace("replicas: 0", "replicas: 2")
    listed = world.repo.git.tree(promotion.BRANCH, "-r", path=PRODUCTION)
    written = {each["path"].removeprefix(PRODUCTION): world.repo.git.read(each["sha"]) for each in listed}
    world.keep(released(world), f"promotion-{content.key()}", written | {"deployment.yaml": text.encode()})
    world.commit(promotion.BRANCH, {path: text})
    assert world.verify(number) == [f"rendered {path}"]


@pytest.mark.parametrize("what", ["expired", "gone"])
def test_missing_bytes_are_named(start: Start, what: str) -> None:
    world, number = proposed(start)
    for row in world.repo.rows("artifacts"):
        row["expired"] = True
        if what == "gone":
            del world.repo.tables["artifacts"][row["id"]]
    assert world.verify(number) == [
        *(f"bytes {name}" for name in sorted(promotion.ASSETS)),
        "proposal deploy/production/",
    ]


@pytest.mark.parametrize("asset", promotion.ASSETS)
def test_wrong_bytes_are_named(start: Start, asset: str) -> None:
    world, number = proposed(start)
    world.keep(released(world), f"release-{content.key()}", packed("one") | {asset: b"other"})
    assert f"bytes {asset}" in world.verify(number)


def test_a_model_that_is_not_the_one_it_names_is_named(start: Start) -> None:
    """Its bytes are as promised, and another model: whoever writes releases could not have made it by mistake."""
    world = start("changed")
    run, asked = world.run("release"), world.plan()
    tar = model("two")[0]
    into = world.write("one", run, asked)
    manifest = json.loads((into / "production" / "manifest.json").read_text())
    manifest["files"]["model.tar"] = {"sha256": sha256(tar), "bytes": len(tar)}
    (into / "production" / "manifest.json").write_text(json.dumps(manifest))
    world.keep(run, f"release-{asked['key']}", packed("one") | {"model.tar": tar})
    world.keep(run, f"promotion-{asked['key']}", contents(into / "production"))
    world.propose(into)
    assert world.verify(world.promotion["number"]) == ["digest model.tar"]


def test_another_champion_since_is_named_and_compared_with_again(start: Start) -> None:
    world = start("promoted")
    first = world.repo.git.resolve("main")
    world.promote("two")
    world.change("three")
    world.release("three")
    number = world.promotion["number"]
    assert world.verify(number) == []
    digest = model("one")[1]
    world.go_back(digest)
    (back,) = world.open(promotion.BACK)
    world.merge(back["number"])
    assert world.production == digest and first
    rules = world.verify(number) if world.call("GET", f"pulls/{number}")["mergeable"] else ["champion manifest.json"]
    assert "champion manifest.json" in rules
    world.release("three")
    assert world.verify(world.promotion["number"]) == []
    manifest = json.loads(world.text(promotion.BRANCH, ledger.MANIFEST) or "")
    assert manifest["champion"] == digest


# --- what main's own files say of a request --------------------------------------------------------------------------


def test_a_request_is_told_by_main_what_it_does_to_production(start: Start) -> None:
    world, number = proposed(start)
    world.commit("words", {"README.md": "hello\n"})
    world.commit("main", {"docs/way.md": "a way\n"})
    assert world.judge(world.request("words")) == ("words", [])
    world.commit("inputs", {"params.yaml": "seed: 3\n"})
    assert world.judge(world.request("inputs")) == ("model", [])
    assert world.judge(number) == ("promotion", [])
    world.commit(promotion.BRANCH, {"requests.py": "import os\n"})
    assert world.judge(number) == ("mixed", ["mixed deploy/production/"])


def test_a_request_into_another_branch_is_refused_until_it_goes_into_main(start: Start) -> None:
    world = start("promoted")
    world.commit("evil-base", {"gitops/verify.py": "def verify(*_): return {'violations': [], 'not_judged': []}\n"})
    world.commit("evil", {ledger.MANIFEST: "{}"})
    asked = {"title": "x", "head": "evil", "base": "evil-base"}
    number = int(world.call("POST", "pulls", asked)["number"])
    with pytest.raises(verified.Elsewhere, match="'evil-base': only what goes into main is verified"):
        world.judge(number)
    world.call("PATCH", f"pulls/{number}", {"base": "main"})
    assert world.judge(number) == ("promotion", ["manifest manifest.json"])


def test_production_that_both_sides_changed_is_no_promotion_that_somebody_saw(start: Start) -> None:
    world = start("promoted")
    tag = ledger.tag(ledger.entries()[0].manifest)
    world.change("two")
    world.release("two")
    number, path = world.promotion["number"], PRODUCTION + "metrics.json"
    assert world.judge(number) == ("promotion", [])
    world.commit("main", {path: (world.text("main", path) or "") + "\n"})
    kind, wrong = world.judge(number)
    assert kind == "promotion" and f"merge {path}" in wrong and tag


def test_an_owner_verifies_in_a_clone_at_mains_tip_and_nowhere_else(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    world, number = proposed(start)
    world.patch.setenv("GITHUB_TOKEN", "ghp_alice")
    for variable in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "CHECKS_TOKEN"):
        world.patch.delenv(variable, raising=False)
    verified.request(number)
    assert "promotion: Every byte is there, and is what was released" in capsys.readouterr().out
    Path("policies/promotion.yaml").write_text("mode: on-merge\n")
    with pytest.raises(SystemExit, match="policies/promotion.yaml"):
        verified.request(number)
    subprocess.run(["git", "switch", "--quiet", "--force-create", "mine", "HEAD^"], check=True)
    with pytest.raises(SystemExit, match="git switch main && git pull"):
        verified.request(number)
    world.pull()
    subprocess.run(["git", "reset", "--quiet", "--hard", "origin/main"], check=True)
    world.commit(promotion.BRANCH, {PRODUCTION + "dvc.lock": "x\n"})
    with pytest.raises(SystemExit, match="1 thing not as"):
        verified.request(number)
    assert "proposal (deploy/production/dvc.lock)" in capsys.readouterr().out.replace("promotion.", "")


# --- the bot merges --------------------------------------------------------------------------------------------------


def test_on_merge_the_bot_merges_and_starts_deploy(start: Start) -> None:
    world = start("changed", mode="on-merge")
    assert "Merged" in world.release("one")
    world.pull()
    assert world.production == model("one")[1] and world.open(promotion.BRANCH) == []
    assert world.state()["started"] == [RUN.format("deploy")]
    assert "Recorded" in world.deploy(), "nobody has to approve it"
    world.release("one")
    assert world.issues == []


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}])
def test_on_merge_a_lost_answer_still_starts_deploy(start: Start, fault: dict[str, Any]) -> None:
    world = start("changed", mode="on-merge")
    world.forge.fault("^PUT .*/merge$", effect=True, **fault)
    assert "Merged" in world.release("one")
    assert world.state()["started"] == [RUN.format("deploy")]


def test_on_merge_an_app_needs_no_dispatch(start: Start) -> None:
    world = start("changed", mode="on-merge")
    app = world.forge.app(f"gitops-{next(NUMBERS)}", {name.replace("-", "_"): level for name, level in MAY.items()})
    token = requests.post(
        f"{world.forge.api_url}/app/installations/{app.installation_id}/access_tokens",
        headers={"Authorization": f"Bearer {as_app(app)}"},
    ).json()["token"]
    with world.patch.context() as patch:
        patch.setenv("GITHUB_TOKEN", token)
        patch.setenv("GITOPS_BOT", f"{app.slug}[bot]")
        assert "Merged" in world.release("one")
    assert world.state()["started"] == []
    world.pull()
    assert "Recorded" in world.deploy(), "the job that deploys does not know the App's name"


def as_app(app: Any) -> str:
    import time

    import jwt

    now = int(time.time())
    return str(jwt.encode({"iat": now - 10, "exp": now + 60, "iss": app.client_id}, app.private_key, "RS256"))


@pytest.mark.parametrize("allowed", [True, False])
def test_on_merge_a_rule_that_forbids_it_leaves_it_to_people(start: Start, allowed: bool) -> None:
    world = start("changed", mode="on-merge")
    world.repo.info["allow_auto_merge"] = allowed
    world.call("POST", "rulesets", json.loads((TEMPLATE / "policies" / "ruleset.json").read_text()))
    said = world.release("one")
    assert ("it merges once" in said) is allowed and "required" in said
    assert bool(world.promotion["auto_merge"]) is allowed
    before = world.state()
    world.release("one")
    assert world.state() == before


def beside(world: World, text: str, *onto: str) -> None:
    """Somebody forces a commit onto the branch: what the bot proposes, and another text of one thing more."""
    tip = world.promotion["head"]["sha"]
    changed = {"path": "pipeline/train.py", "mode": "100644", "type": "blob", "content": text}
    tree = world.call("POST", "git/trees", {"base_tree": tip, "tree": [changed]})["sha"]
    sha = world.call("POST", "git/commits", {"message": "x", "tree": tree, "parents": onto})["sha"]
    world.call("PATCH", f"git/refs/heads/{promotion.BRANCH}", {"sha": sha, "force": True})


def test_what_somebody_pushes_beside_a_promotion_is_taken_out(start: Start) -> None:
    world, number = proposed(start)
    beside(world, "evil()\n", world.repo.git.resolve("main") or "")
    assert world.judge(number)[0] == "mixed"
    assert "Proposed" in world.release("one") and world.judge(number) == ("promotion", [])


@pytest.mark.parametrize("earlier", [False, True], ids=["beside it", "as main had it earlier"])
def test_on_merge_nothing_is_merged_that_somebody_pushed(start: Start, earlier: bool) -> None:
    world = start(mode="on-merge")
    git = world.repo.git
    before = git.resolve("main") or ""
    old = world.text("main", "pipeline/train.py") or ""
    world.commit("main", {"pipeline/train.py": "learn_more()\n"})
    world.pull()
    world.change("one")
    world.forge.fault("PUT .*/merge$", status=405, body={"message": "a check is expected"}, times=1)
    assert "Proposed" in world.release("one")
    tip = git.resolve("main") or ""
    beside(world, *((old, before, tip) if earlier else ("evil()\n", tip)))
    assert "Merged" in world.release("one")
    assert world.text("main", "pipeline/train.py") == "learn_more()\n" and world.production == model("one")[1]


def test_on_merge_nothing_is_merged_that_is_not_verified(start: Start) -> None:
    world = start("changed", mode="on-merge")
    run, asked = world.run("release"), world.plan()
    written = world.write("one", run, asked)
    world.keep(run, f"release-{asked['key']}", packed("two"))
    with pytest.raises(SystemExit, match="promotion.bytes in model.tar"):
        world.propose(written)
    assert world.production is None


# --- going back ------------------------------------------------------------------------------------------------------


def test_a_revert_goes_back_without_any_run(start: Start) -> None:
    world = start("promoted")
    number = world.promote("two")
    for row in list(world.repo.rows("artifacts")) + list(world.repo.rows("runs")):
        world.repo.tables["artifacts"].pop(row["id"], None)
        world.repo.tables["runs"].pop(row["id"], None)
    back = world.revert(number)
    assert world.verify(back) == []
    world.approve(back)
    world.merge(back)
    assert "Recorded" in world.deploy() and world.production == model("one")[1]
    assert "rolled back" in world.plan()["why"] and world.release() == "Nothing to release"


def test_the_first_promotion_can_be_reverted(start: Start) -> None:
    world = start()
    back = world.revert(world.promote("one"))
    assert world.verify(back) == []
    world.approve(back)
    world.merge(back)
    assert world.production is None
    assert "emptied" in world.deploy() and world.issues == []
    assert "rolled back" in world.plan()["why"]
    world.change("two")
    assert "Proposed" in world.release("two") and world.verify(world.promotion["number"]) == []


def test_a_dispatch_promotes_an_earlier_entry(start: Start) -> None:
    world = start("promoted")
    tag = ledger.tag(ledger.entries()[0].manifest)
    world.promote("two")
    world.promote("three")
    for _ in range(2):
        world.go_back(tag)
    (request,) = world.open(promotion.BACK)
    assert "back" in request["title"] and "Nothing is trained" in request["body"]
    assert world.verify(request["number"]) == []
    world.approve(request["number"])
    world.merge(request["number"])
    assert "Recorded" in world.deploy() and world.production == model("one")[1]
    assert world.go_back(tag) == f"{tag} is in production now"
    assert "rolled back" in world.plan()["why"]
    assert "Proposed" in world.release("three", again=True)
    assert world.verify(world.promotion["number"]) == []
    world.change("four")
    assert "Proposed" in world.release("four")


def test_a_dispatch_of_what_never_was_names_what_was(start: Start) -> None:
    world = start("promoted")
    with pytest.raises(SystemExit, match=model("one")[1]):
        world.go_back("sha256:" + "0" * 64)


def test_on_merge_a_dispatch_is_all_that_going_back_takes(start: Start) -> None:
    world = start(mode="on-merge")
    for name in ("one", "two"):
        world.change(name)
        world.release(name)
        world.pull()
        world.deploy()
    assert "Merged" in world.go_back(model("one")[1])
    world.pull()
    assert "Recorded" in world.deploy() and world.production == model("one")[1]


def test_a_state_that_was_merged_past_the_checks_is_none_to_go_back_to(start: Start) -> None:
    """Main had it, and nothing has verified it: neither its place in history counts, nor what others say of it."""
    world, path = start("promoted"), PRODUCTION + "deployment.yaml"
    good = world.text("main", path)
    world.commit("main", {path: "image: docker.io/evil/x\n"})
    forged(world, "a person")
    world.commit("main", {path: good})
    world.commit("back", {path: "image: docker.io/evil/x\n"})
    kind, wrong = world.judge(world.request("back"))
    assert kind == "promotion" and {f"proposal {path}", f"rendered {path}"} <= {*wrong}


def forged(world: World, by: str) -> None:
    """Says, by somebody who is not deploy.yml, that main's tip was deployed."""
    tip, login = world.repo.git.resolve("main"), "bob"
    if by == "a workflow of a branch":
        login = "workflow"
        world.forge.tokens["ghp_workflow"] = world.forge.tokens[
            world.forge.token(world.repo.name, {"deployments": "write"})
        ]
    asked: dict[str, Any] = {"ref": tip, "environment": "production", "auto_merge": False, "required_contexts": []}
    made = world.call("POST", "deployments", asked, login)
    world.call("POST", f"deployments/{made['id']}/statuses", {"state": "success"}, login)


# --- deploy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["a person", "a workflow of a branch"])
def test_a_promotion_by_hand_that_was_merged_never_reaches_the_agent(start: Start, by: str) -> None:
    """The alarm is raised whatever others say of it, and the branch that the agent follows stays where it was."""
    world = start("promoted")
    good = world.followed
    assert good == world.repo.git.resolve("main")
    manifest = json.loads(world.text("main", ledger.MANIFEST) or "") | {"image": f"docker.io/evil/x@sha256:{'0' * 64}"}
    world.commit("evil", {ledger.MANIFEST: json.dumps(manifest)})
    number = world.request("evil")
    world.approve(number)
    world.merge(number)
    forged(world, by)
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"promotion\.\w+ in "):
            world.deploy()
    assert world.followed == good
    (issue,) = world.issues
    assert "still runs the last verified state" in issue["body"] and str(good) in issue["body"]
    back = world.revert(number)
    assert world.judge(back) == ("promotion", [])
    world.approve(back)
    world.merge(back)
    assert "Recorded" in world.deploy() and world.issues == []
    assert world.followed == world.repo.git.resolve("main")


def test_the_agent_follows_what_was_verified_and_only_forward(start: Start) -> None:
    world = start("promoted")
    first = world.followed
    number = world.promote("two")
    second = world.followed
    assert second == world.repo.git.resolve("main") != first
    world.commit("main", {"README.md": "hello\n"})
    assert "recorded already" in world.deploy() and world.followed == second
    back = world.revert(number)
    world.approve(back)
    world.merge(back)
    fault = world.forge.fault("^PATCH .*/git/refs/heads/production$", drop=True, times=None)
    with pytest.raises(requests.RequestException):
        world.deploy()
    assert fault.hits and world.followed == second
    world.forge.faults.clear()
    assert "Recorded" in world.deploy() and world.followed == world.repo.git.resolve("main")


def test_a_branch_that_somebody_else_moved_raises_the_alarm(start: Start) -> None:
    world = start("promoted")
    elsewhere = world.commit("elsewhere", {PRODUCTION + "deployment.yaml": "image: evil\n"})
    world.call("PATCH", "git/refs/heads/production", {"sha": elsewhere})
    with pytest.raises(SystemExit, match=f"branch production: at {elsewhere}"):
        world.deploy()
    (issue,) = world.issues
    assert "delete the branch" in html.unescape(issue["body"]) and "still runs" not in issue["body"]
    world.call("DELETE", "git/refs/heads/production")
    assert "Recorded" in world.deploy() and world.issues == []
    assert world.followed == world.repo.git.resolve("main")


def test_an_app_moves_the_branch_where_there_is_one(start: Start) -> None:
    world = start("proposed")
    world.approve(world.promotion["number"])
    world.merge(world.promotion["number"])
    world.patch.setenv("FOLLOWED_TOKEN", world.forge.token(world.repo.name, {"contents": "write"}))
    world.patch.setenv("GITHUB_TOKEN", world.forge.token(world.repo.name, MAY))
    since = len(world.forge.calls)
    assert "Recorded" in world.deploy()
    assert f"POST /repos/{world.repo.name}/git/refs" in world.writes(since)


def test_deploy_records_once(start: Start) -> None:
    world = start("promoted")
    (release,) = world.call("GET", "releases")
    assert sorted(each["name"] for each in release["assets"]) == sorted(promotion.ASSETS)
    assert world.repo.git.resolve(release["tag_name"]) == world.repo.git.resolve("main")
    (deployment,) = world.call("GET", "deployments")
    (status,) = world.call("GET", f"deployments/{deployment['id']}/statuses")
    assert status["state"] == "success" and status["environment_url"].endswith(release["tag_name"])
    before, since = world.state(), len(world.forge.calls)
    assert "recorded already" in world.deploy()
    assert world.state() == before and world.writes(since) == []


def test_broken_uploads_are_repaired(start: Start) -> None:
    world = start("proposed")
    world.approve(world.promotion["number"])
    world.merge(world.promotion["number"])
    world.forge.fault("^POST .*/deployments$", times=None, drop=True)
    with pytest.raises(requests.RequestException):
        world.deploy()
    world.forge.faults.clear()
    (release,) = world.repo.rows("releases")
    release["assets"][1]["state"] = "starter"
    del release["assets"][0]
    assert "Recorded" in world.deploy()
    (release,) = world.repo.rows("releases")
    assert {each["name"]: each["digest"] for each in release["assets"]} == {
        name: f"sha256:{sha256(packed('one')[name])}" for name in promotion.ASSETS
    }


def test_a_rebase_that_loses_what_was_refreshed_is_refused(start: Start) -> None:
    """A rebase leaves out merge commits, such as a refreshed branch has: an earlier proposal would go live."""
    world = start("proposed")
    world.change("two")
    world.release("two")
    number = world.promotion["number"]
    world.approve(number)
    world.call("PUT", f"pulls/{number}/merge", {"merge_method": "rebase"}, login="bob")
    world.pull()
    if world.production == model("two")[1]:
        assert "Recorded" in world.deploy()
    else:
        with pytest.raises(SystemExit, match="promotion.merge"):
            world.deploy()


def test_an_unapproved_digest_is_refused_with_one_issue(start: Start) -> None:
    """Merged past the rules, with the approval of an earlier digest."""
    world = start()
    world.promote("zero")
    world.change("one")
    world.release("one")
    number = world.promotion["number"]
    world.approve(number)
    world.change("two")
    fault = world.forge.fault("^PUT .*/dismissals", status=403, times=None)
    with pytest.raises(pulls.GitHubException):
        world.release("two")
    assert fault.hits
    world.forge.faults.clear()
    world.merge(number)
    for _ in range(2):
        with pytest.raises(SystemExit, match="0 approvals of it, 1 of this request"):
            world.deploy()
    (issue,) = world.issues
    assert "approvals of it" in issue["body"] and "Revert" in issue["body"]
    back = world.revert(number)
    world.approve(back)
    world.merge(back)
    assert "Recorded" in world.deploy() and world.issues == []


def test_the_approval_of_somebody_who_may_not_write_does_not_count(start: Start) -> None:
    world, number = proposed(start)
    world.approve(number, "eve")
    world.merge(number)
    with pytest.raises(SystemExit, match="0 approvals of it"):
        world.deploy()


PUSHED: dict[str, dict[str, str | None]] = {
    "a lie": {ledger.MANIFEST: "{}"},
    "no JSON": {ledger.MANIFEST: "no JSON"},
    "no object": {ledger.MANIFEST: "[]"},
    "a hand": {"deploy/production/kustomization.yaml": "images: []\n", ledger.MANIFEST: "\n{}"},
    "nothing": {ledger.MANIFEST: None},
}


@pytest.mark.parametrize("pushed", PUSHED)
def test_what_is_pushed_past_requests_is_refused_and_nothing_stops_for_ever(start: Start, pushed: str) -> None:
    world = start("promoted")
    world.commit("main", PUSHED[pushed])
    for _ in range(2):
        with pytest.raises(SystemExit):
            world.deploy()
    (issue,) = world.issues
    assert "not what was verified" in issue["title"]
    assert len(world.repo.rows("deployments")) == 1
    world.release()
    world.go_back(model("one")[1])
    (back,) = world.open(promotion.BACK)
    assert world.verify(back["number"]) == []
    world.approve(back["number"])
    world.merge(back["number"])
    assert "Recorded" in world.deploy() and world.issues == []
    assert world.release("one") == "Nothing to release"


def test_a_change_of_production_without_its_manifest_is_refused(start: Start) -> None:
    """The agent applies the folder, not the manifest."""
    world = start("promoted")
    world.commit("main", {"deploy/production/kustomization.yaml": "images: []\n"})
    with pytest.raises(SystemExit):
        world.deploy()
    assert len(world.issues) == 1


def test_nothing_in_production_is_nothing_to_deploy(start: Start) -> None:
    world = start()
    since = len(world.forge.calls)
    assert "Nothing" in world.deploy() and world.writes(since) == []


def test_what_is_in_production_is_fetched(start: Start, tmp_path: Path) -> None:
    world = start()
    here = pulls.repository()
    assert "Nothing" in deploy.fetch_production(here, tmp_path / "got")
    assert not (tmp_path / "got").exists()
    world.promote("one")
    assert ledger.tag(ledger.manifest()) in deploy.fetch_production(here, tmp_path / "got")
    assert json.loads((tmp_path / "got" / "model" / "manifest.json").read_text())["name"] == "one"
    for row in world.repo.rows("releases")[0]["assets"]:
        world.repo.bytes[row["id"]] = b"other"
    with pytest.raises(SystemExit, match="sha256"):
        deploy.fetch_production(here, tmp_path / "again")


# --- GitHub as it comes ----------------------------------------------------------------------------------------------


def merged(start: Start, **options: Any) -> World:
    """A promotion that is approved and merged, and not deployed."""
    world = start("proposed", **options)
    world.approve(world.promotion["number"])
    world.merge(world.promotion["number"])
    return world


def test_a_release_is_published_last_and_stays_as_it_is(start: Start) -> None:
    world = merged(start)
    world.repo.immutable_releases = True
    since = len(world.forge.calls)
    assert "Recorded" in world.deploy()
    made = [call.removeprefix(f"POST /repos/{world.repo.name}/") for call in world.writes(since)]
    assert [call.split()[0] for call in made if "releases" in call] == ["releases", *["POST"] * 4, "PATCH"]
    (release,) = world.repo.rows("releases")
    assert (release["immutable"], release["draft"], len(release["assets"])) == (True, False, len(promotion.ASSETS))
    assert world.repo.git.resolve(f"refs/tags/{release['tag_name']}") == world.repo.git.resolve("main")


def test_a_draft_that_a_broken_run_left_is_found_and_filled(start: Start) -> None:
    """Somebody's words, bytes and asset in it are not published; a second draft goes."""
    world = merged(start)
    world.repo.immutable_releases = True
    world.forge.fault("^POST /api/uploads", drop=True, times=None, after=1)
    with pytest.raises(requests.RequestException):
        world.deploy()
    world.forge.faults.clear()
    (draft,) = world.repo.rows("releases")
    assert draft["draft"] and world.repo.git.refs("refs/tags") == {}
    world.call("POST", "releases", {"tag_name": draft["tag_name"], "draft": True})
    world.call("PATCH", f"releases/{draft['id']}", {"body": "x", "target_commitish": "main~1"})
    draft["assets"][0]["digest"] = f"sha256:{sha256(b'other')}"
    draft["assets"].append(draft["assets"][0] | {"id": 1, "name": "more"})
    world.repo.tables["assets"][1] = draft["assets"][1]
    assert "Recorded" in world.deploy()
    (release,) = world.repo.rows("releases")
    assert release["id"] == draft["id"] and "# Model card" in release["body"]
    assert {each["name"]: each["digest"] for each in release["assets"]} == {
        name: f"sha256:{sha256(packed('one')[name])}" for name in promotion.ASSETS
    }
    assert world.repo.git.resolve(f"refs/tags/{release['tag_name']}") == world.repo.git.resolve("main")


def test_an_immutable_release_without_its_bytes_is_named(start: Start) -> None:
    world = merged(start)
    world.repo.immutable_releases = True
    world.call("POST", "releases", {"tag_name": ledger.tag(ledger.manifest() or {})})
    with pytest.raises(SystemExit, match="is immutable and was published without model.tar"):
        world.deploy()
    assert world.repo.rows("deployments") == []


def waits(world: World) -> list[float]:
    """What is waited for from now on."""
    waited: list[float] = []
    world.patch.setattr(pulls, "time", SimpleNamespace(sleep=waited.append))
    return waited


def test_a_merge_that_github_does_not_know_yet_is_asked_for_again(start: Start) -> None:
    world = merged(start)
    waited = waits(world)
    world.forge.fault("GET .*/commits/[0-9a-f]+/pulls$", status=200, body=[], times=4)
    assert "Recorded" in world.deploy() and waited == [1, 2, 4, 8]


def test_another_request_with_the_same_commits_stops_no_deployment(start: Start) -> None:
    """GitHub takes it for merged too, by the same commit; nobody has approved it."""
    world = start("proposed")
    number = world.promotion["number"]
    world.repo.git("update-ref", "refs/heads/aside", promotion.BRANCH)
    other = world.call("POST", "pulls", {"title": "aside", "head": "aside", "base": "main"})["number"]
    world.approve(number)
    world.merge(number)
    both = [world.call("GET", f"pulls/{each}") for each in (other, number)]
    assert {each["merge_commit_sha"] for each in both} == {world.repo.git.resolve("main")}
    world.forge.fault("GET .*/commits/[0-9a-f]+/pulls$", status=200, body=both)
    assert "Recorded" in world.deploy()


def test_what_was_pushed_past_pull_requests_is_waited_for_while_it_is_young(start: Start) -> None:
    world = start()
    waited = waits(world)
    pushed = [world.commit("main", {"README.md": str(date)}, date=date) for date in ("2018-04-01T12:00:00Z", "")]
    assert pulls.merged_from(pulls.repository(), pushed[0]) is None and waited == []
    assert pulls.merged_from(pulls.repository(), pushed[1]) is None and sum(waited) == 63


def test_only_a_merge_brings_commits_to_main(start: Start) -> None:
    """Not what lay behind a merge commit, and not what was pushed onto a promotion."""
    world = start()
    here, git = pulls.repository(), world.repo.git
    for branch in ("topic", promotion.BRANCH):
        evil = world.commit(branch, {"pipeline/train.py": "evil()\n"})
        head = world.commit(branch, {"pipeline/train.py": "learn()\n", f"{branch}.md": "words\n"})
        world.merge(world.request(branch))
        assert pulls.merged_from(here, evil) is None and pulls.merged_from(here, head) is None
        assert pulls.in_history(evil) and not pulls.first_parent(evil)
    for method in ("squash", "rebase"):
        then = "2018-04-01T12:00:00Z"  # another second than that of the merge: else a rebase makes the same commits
        theirs = [world.commit(method, {f"{name}.md": "words\n"}, date=then) for name in (method, f"more-{method}")]
        number, before = world.request(method), git.resolve("main")
        world.merge(number, method)
        new = git("rev-list", "--first-parent", f"{before}..main").split()
        found = [pulls.merged_from(here, sha) for sha in new]
        assert [each and each["number"] for each in found] == [number] * len(new)
        assert len(new) == (2 if method == "rebase" else 1) and not any(map(pulls.first_parent, theirs))


def test_whose_run_is_of_main(start: Start) -> None:
    world = start()
    here, git = pulls.repository(), world.repo.git
    evil = world.commit("topic", {RUN.format("release"): "on: push # evil\n"})
    world.commit("topic", {RUN.format("release"): FILES[RUN.format("release")], "README.md": "words\n"})
    world.merge(world.request("topic"))
    tip = git.resolve("main") or ""
    queue, checks = "gh-readonly-queue/main/pr-1", "pull-request"
    other: Any = {"head_repository": {"id": 1}, "head_repository_id": 1}

    def of_main(file: str, sha: str = tip, branch: str = "main", event: str = "push", **more: Any) -> bool:
        run = pulls.run(here, world.run(file, sha, branch, event, **more))
        assert run
        return pulls.of_main(here, run)

    assert pulls.run(here, 10**9) is None
    assert all(of_main("release", event=event) for event in ("push", "schedule", "workflow_dispatch"))
    assert of_main("release", path=f"{RUN.format('release')}@refs/heads/main")
    assert of_main(checks, branch=queue, event="merge_group")
    assert not of_main("release", evil), "a tag named main on a commit that was taken back"
    assert not of_main("release", event="pull_request") and not of_main("release", branch="topic")
    assert not of_main(checks, event="pull_request") and not of_main(checks, evil, queue, "merge_group")
    assert not of_main("release", event="merge_group") and not of_main("deploy")
    assert not of_main("release", **other) and not of_main("release", head_repository=None)


def test_whether_a_branch_had_one_request_and_one_base(start: Start) -> None:
    world = start()
    here = pulls.repository()

    def opened(branch: str, base: str = "main") -> Any:
        return world.call("POST", "pulls", {"title": branch, "head": branch, "base": base})

    for branch in ("one", "two", "three"):
        world.commit(branch, {f"{branch}.md": "words\n"})
    one, two = opened("one"), opened("two")
    assert pulls.alone(here, one) and not pulls.base_changed(here, one["number"])
    second = opened("two", "one")
    world.close(second["number"])
    assert not pulls.alone(here, two), "a second request, whose base judges"
    for base in ("one", "main"):
        world.call("PATCH", f"pulls/{two['number']}", {"base": base})
    assert pulls.base_changed(here, two["number"]) and not pulls.base_changed(here, one["number"])
    world.close(two["number"])
    world.forge.clock = lambda: datetime.now(UTC) + timedelta(minutes=5)
    third = opened("two")
    assert not pulls.alone(here, third), "a run of the second may start only now"
    world.close(third["number"])
    world.forge.clock = lambda: datetime.now(UTC) + timedelta(hours=7)
    fourth = opened("two")
    assert pulls.alone(here, fourth), "a standing branch, whose earlier requests are closed"
    world.close(fourth["number"])
    assert pulls.alone(here, opened("two")), "closed and opened again, into the same base"
    three = opened("three")
    assert not pulls.alone(here, three | {"head": three["head"] | {"repo": None}})
    assert not pulls.alone(here, three | {"head": three["head"] | {"repo": {"id": 1}}})


def test_whether_a_commit_is_in_a_head_that_is_not_here(start: Start) -> None:
    world = start()
    here, main = pulls.repository(), world.repo.git.resolve("main") or ""
    head = world.commit("topic", {"README.md": "words\n"})
    assert pulls.contains(here, main, head) and pulls.contains(here, head, head)
    world.commit("main", {"other.md": "words\n"})
    assert not pulls.contains(here, world.repo.git.resolve("main") or "", head)
    assert not pulls.contains(here, "0" * 40, head)


def test_artifacts_are_those_of_our_runs(start: Start) -> None:
    world = start()
    here = pulls.repository()
    runs = [world.run("release") for _ in range(4)]
    for run in runs:
        world.keep(run, "network", {})
    rows = world.repo.rows("artifacts")
    rows[0]["expired"], rows[1]["workflow_run"] = True, None
    world.keep(world.run("release", head_repository_id=1), "network", {})
    assert [each["workflow_run"]["id"] for each in pulls.artifacts(here, "network")] == [runs[3], runs[2]]


def test_only_mains_runs_are_believed_and_for_their_own_inputs(start: Start) -> None:
    """Who may write can leave a thousand artifacts of any name, and a token may ask a thousand times an hour."""
    world = start()
    here, key = pulls.repository(), content.key()
    before = world.run("release", world.repo.git.resolve("main") or "")
    world.keep(before, f"network-{key}", {})
    head = world.commit("topic", {"README.md": "words\n"})
    for _ in range(3):
        world.keep(world.run("release", head, "main"), f"network-{key}", {})
        world.keep(world.run("release", world.repo.git.resolve("main") or "", "topic"), f"network-{key}", {})
    world.commit("main", {"params.yaml": "model: evil\n"})
    world.pull()
    world.keep(world.run("release"), f"network-{key}", {})  # by code that will be reverted
    since = len(world.forge.calls)
    assert pulls.released(here, "network", key) == before
    assert len(world.forge.calls) == since + 2
    assert pulls.released(here, "network", content.key()) is None


def test_the_loop_runs_where_accounts_are_gone(start: Start) -> None:
    """Who opened the change, commented and reviewed; a run's actor; the run of an artifact."""
    world = start()
    world.forge.user("gone")
    world.repo.roles["gone"] = "write"
    world.commit("topic", {"params.yaml": "model: one\n"})
    number = world.request("topic", "gone")
    world.train(number, "one")
    world.call("POST", f"issues/{number}/comments", {"body": "x"}, "gone")
    world.approve(number)
    world.merge(number)
    world.forge.forget("gone")
    world.keep(world.run("release"), f"pipeline-{content.key()}", {})
    world.repo.rows("artifacts")[-1]["workflow_run"] = None
    world.release("one")
    request = world.promotion["number"]
    world.forge.user("gone")
    world.repo.roles["gone"] = "write"
    world.approve(request, "gone")
    world.call("POST", f"issues/{request}/comments", {"body": "x"}, "gone")
    world.call("POST", "deployments", {"ref": "main"}, "gone")
    world.forge.forget("gone")
    world.repo.row("issues", request)["user"] = None
    world.approve(request)
    assert world.release("one").startswith("Proposed")
    assert pulls.artifacts(pulls.repository(), f"fitted-{content.key()}")
    world.merge(request)
    assert "Recorded" in world.deploy()


def test_the_merge_of_a_gone_account_is_no_bots(start: Start) -> None:
    world = start("changed", mode="on-merge")
    world.commit("main", {**policy(mode="review")})
    world.release("one")
    number = world.promotion["number"]
    world.repo.row("issues", number)["user"] = None
    world.merge(number)
    world.commit("main", {**policy(mode="on-merge")})
    with pytest.raises(SystemExit, match="0 approvals"):
        world.deploy()


def summary() -> str:
    return Path(os.environ["GITHUB_STEP_SUMMARY"]).read_text()


def test_where_issues_are_off_the_run_says_what_they_would(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Comments on requests go on: what is closed says why."""
    world = start("promoted")
    world.repo.info["has_issues"] = False
    world.change("two")
    world.release("two")
    number = world.promotion["number"]
    world.propose(None, "it was rolled back")
    assert "rolled back" in world.call("GET", f"issues/{number}/comments")[0]["body"]
    world.commit("main", {PRODUCTION + "kustomization.yaml": "images: []\n"})
    world.forge.fault("^POST .*/issues$", status=502)
    for _ in range(2):
        with pytest.raises(SystemExit, match="approvals"):
            world.deploy()
    assert summary().count("## Production is not what was verified and approved") == 2, "each run's is its own"
    assert "Issues are switched off" in capsys.readouterr().out


def test_where_nobody_may_open_requests_or_issues_the_run_has_the_link(start: Start) -> None:
    world = start("changed", actions_may_create=False)
    world.repo.info["has_issues"] = False
    said = world.release("one")
    assert f"compare/main...{promotion.BRANCH}" in summary() and f"/actions/runs/{released(world)} asks" in said


def test_another_default_branch_goes_the_same_way(start: Start) -> None:
    world = start(main="trunk")
    number = world.change("one")
    assert "trained it" in world.plan()["why"] and "Proposed" in world.release("one")
    request = world.promotion
    assert request["base"]["ref"] == "trunk" and f"/pull/{number}), approved by" in request["body"]
    assert world.verify(request["number"]) == []
    world.approve(request["number"])
    world.merge(request["number"])
    assert world.deploy().startswith("Recorded model-") and world.production == model("one")[1]
    run = pulls.run(pulls.repository(), released(world))
    assert run and pulls.of_main(pulls.repository(), run)
    world.promote("two")
    world.go_back(model("one")[1])
    (back,) = world.open(promotion.BACK)
    assert back["base"]["ref"] == "trunk" and world.verify(back["number"]) == []
    world.patch.setenv("GITOPS_BOT", "")
    started = len(world.forge.events)
    release.start_deploy(pulls.repository())
    assert world.forge.events[started].ref == "refs/heads/trunk"


# --- whatever fails --------------------------------------------------------------------------------------------------


def written(world: World, name: str) -> Path:
    return world.write(name, world.run("release"), world.plan())


def refreshing(world: World) -> Path:
    world.approve(world.promotion["number"])
    world.change("two")
    return written(world, "two")


def approved(world: World) -> None:
    world.approve(world.promotion["number"])
    world.merge(world.promotion["number"])
    world.run("deploy")
    pulls.issue(pulls.repository(), deploy.WRONG, "Not what was approved", "x")


Scenario = tuple[dict[str, Any], Callable[[World], Any], Callable[[World, Any], Any], str]
"""The world, what comes before, what is done and may be broken, and the model that a run by the clock would release."""

SCENARIOS: dict[str, Scenario] = {
    "proposing": ({"stage": "changed"}, lambda world: written(world, "one"), World.propose, "one"),
    "refreshing": ({"stage": "proposed"}, refreshing, World.propose, "two"),
    "may not create": (
        {"stage": "changed", "actions_may_create": False},
        lambda world: written(world, "one"),
        World.propose,
        "one",
    ),
    "merging": ({"stage": "changed", "mode": "on-merge"}, lambda world: written(world, "one"), World.propose, ""),
    "closing": (
        {"stage": "proposed"},
        lambda world: None,
        lambda world, _: world.propose(None, "it was rolled back"),
        "",
    ),
    "going back": (
        {"stage": "promoted twice"},
        lambda world: model("one")[1],
        lambda world, wanted: world.go_back(wanted),
        "",
    ),
    "deploying": ({"stage": "proposed"}, approved, lambda world, _: world.deploy(), ""),
    "refusing": (
        {"stage": "promoted"},
        lambda world: world.commit("main", {PRODUCTION + "kustomization.yaml": "images: []\n"}),
        lambda world, _: refused(world),
        "",
    ),
}
FAULTS: dict[str, dict[str, Any]] = {
    "5xx": {"status": 502},
    "5xx that took effect": {"status": 500, "effect": True},
    "cut off": {"drop": True},
    "cut off and took effect": {"drop": True, "effect": True},
    "secondary limit": {"status": 403, "retry_after": 3},
    "429": {"status": 429, "retry_after": 3},
    "primary limit": {"rate_limit": True, "retry_after": 5},
    "409": {"status": 409},
    "422": {"status": 422},
}


def refused(world: World) -> None:
    with pytest.raises(SystemExit, match="approvals"):
        world.deploy()


@dataclass
class Scene:
    """A scenario up to where things may break: how it ends, and what it calls."""

    world: World
    given: Any
    act: Callable[[World, Any], Any]
    later: str
    ended: Any
    calls: list[str]

    def play(self) -> None:
        self.act(self.world, self.given)

    def end(self) -> Any:
        self.world.pull()
        return self.world.state()


def scene(start: Start, name: str) -> Scene:
    options, prepare, act, later = SCENARIOS[name]
    world = start(**options)
    made = Scene(world, prepare(world), act, later, None, [])
    kept, world.saved = world.saved, {}
    world.save()
    before = len(world.forge.calls)
    made.play()
    made.calls = [f"{call.method} {call.path}" for call in world.forge.calls[before:]]
    made.ended = made.end()
    world.restore()
    made.world = copy.copy(world)  # with what was saved here; the fixture's own goes back to its stage
    world.saved = kept
    return made


def test_each_call_fails_once(start: Start) -> None:
    """Every call of every scenario fails the first time, each with another fault; below, each with all."""
    for name in SCENARIOS:
        broken(scene(start, name), 0)


@pytest.mark.slow
@pytest.mark.parametrize("shift", turn(range(1, len(FAULTS)), 4))
@pytest.mark.parametrize("name", ["refreshing", "merging", "deploying"])
def test_each_call_fails_in_each_way(start: Start, name: str, shift: int) -> None:
    broken(scene(start, name), shift)


def broken(scene: Scene, shift: int) -> None:
    """Plays a scene whose calls fail the first time that they are made, and holds its end against the good one."""
    scene.world.patch.setattr(pulls, "TRIES", 100)
    scene.world.restore()
    distinct = list(dict.fromkeys(scene.calls))
    for index, call in enumerate(distinct):
        fault = list(FAULTS.values())[(index + shift) % len(FAULTS)]
        address = re.sub(r"/\d+", r"/\\d+", re.escape(call))
        scene.world.forge.fault(f"^{address}$", **fault)
    struck = scene.world.forge.faults[:]
    scene.play()
    scene.world.forge.faults.clear()
    assert sum(fault.hits > 0 for fault in struck) > len(distinct) / 2
    assert scene.end() == scene.ended


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_anywhere_and_started_again_it_ends_the_same(start: Start, name: str) -> None:
    """At the calls whose turn it is: by the same run again, or where it can be by the next one of the clock."""
    made = scene(start, name)
    clocks = (False, True) if made.later else (False,)
    for call, effect, clock in turn([*itertools.product(range(len(made.calls)), (False, True), clocks)], 9):
        made.world.restore()
        die(made, call, effect)
        if clock:
            made.world.release(made.later)
        else:
            made.play()
        assert made.end() == made.ended, (made.calls[call], effect, clock)


def die(scene: Scene, call: int, effect: bool) -> None:
    """Have the scene's run killed at a call: with one try its first fault is its end."""
    fault = scene.world.forge.fault("", drop=True, effect=effect, after=call)
    with scene.world.patch.context() as patch, pytest.raises((requests.RequestException, pulls.GitHubException)):
        patch.setattr(pulls, "TRIES", 1)
        scene.play()
    assert fault.hits == call + 1
    scene.world.forge.faults.clear()


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_at_once_end_as_one(start: Start, name: str) -> None:
    made = scene(start, name)
    made.world.restore()
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(made.play) for _ in range(2)]:
            each.result()
    ended, wanted = made.end(), made.ended
    for spare in ended["issues"][len(wanted["issues"]) :]:  # opened in the same instant: closed again, and says why
        assert spare["state"] == "closed"
        assert any("The same as #" in words for words in spare["said"])
    ended["issues"] = ended["issues"][: len(wanted["issues"])]
    for state in (
        ended,
        wanted,
    ):  # a second deployment of the same commit is the last to be seen; its run does not harm
        state["deployments"] = state["deployments"] and state["deployments"][-1][:2]
    assert ended == wanted
