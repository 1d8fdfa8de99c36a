"""A bake on the forge, and the people who work on it: they push, propose, review and merge."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml

from .driver import Rehearsal, Run

OWNER, NAME = "acme", "card-fraud"
ANSWERS = {"github_owner": OWNER, "team": f"@{OWNER}/ml", "bar_owners": f"@{OWNER}/risk"}
"""Baked with these, CODEOWNERS names teams that the forge knows."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Two forges run side by side, and threads that wait for a core cost more than they bring."""


@contextmanager
def rehearsal() -> Iterator[Rehearsal]:
    """GitHub on this machine, in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="rehearsal-") as folder,  # not pytest's: act takes no space in a path
        Rehearsal(Path(folder), Path(sys.prefix), ONE_THREAD) as github,
    ):
        yield github


MERGE_QUEUE = {
    "type": "merge_queue",
    "parameters": {
        **{"merge_method": "MERGE", "grouping_strategy": "ALLGREEN", "check_response_timeout_minutes": 60},
        **{"max_entries_to_build": 5, "max_entries_to_merge": 5, "min_entries_to_merge": 1},
        "min_entries_to_merge_wait_minutes": 0,
    },
}
"""A rule for a ruleset: the branch has a merge queue."""
ENQUEUE = """mutation($id: ID!) {
  enqueuePullRequest(input: {pullRequestId: $id}) { mergeQueueEntry { position pullRequest { number } } }
}"""


@dataclass
class Project:
    """A repository of the forge, with alice's clone of it; bob reviews."""

    github: Rehearsal
    folder: Path
    repository: str = f"{OWNER}/{NAME}"

    @classmethod
    def start(
        cls,
        github: Rehearsal,
        bake: Path,
        protect: bool = True,
        bots_may_open: bool = False,
        repository: str = f"{OWNER}/{NAME}",
    ) -> "Project":
        """Push a bake's main to a new repository of the forge, then protect it with the bake's own rulesets.

        bots_may_open: Actions may create pull requests, which GitHub does not allow unless it is told to.
        """
        project = cls(github, bake, repository)
        roles = {OWNER: "admin", "alice": "write", "bob": "write", "carol": "write"}
        github.forge.repository(project.repository, private=False, roles=roles)
        github.forge.team(f"{OWNER}/ml", "alice", "bob")
        github.forge.team(f"{OWNER}/risk", "bob", "carol")
        if bots_may_open:
            setting = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True}
            project.call("PUT", "actions/permissions/workflow", setting, login=OWNER)
        project.age()
        project.push("main", login=OWNER)
        if protect:
            for path in sorted((bake / "policies").glob("ruleset*.json")):
                if "-app-" not in path.name:  # those need one
                    ruleset = json.loads(path.read_text().replace("refs/tags/DEFAULT_BRANCH", "refs/tags/main"))
                    github.call("POST", f"/repos/{project.repository}/rulesets", ruleset, login=OWNER)
        return project

    def age(self) -> None:
        """Makes main's tip an hour older: release asks GitHub for a minute whose merge a young commit was."""
        who, date = ("-c", "user.name=alice", "-c", "user.email=alice@example.org"), f"@{int(time.time()) - 3600} +0000"
        command = ["git", *who, "commit", "--quiet", "--amend", "--no-edit", "--allow-empty"]
        subprocess.run(command, cwd=self.folder, check=True, env=os.environ | {"GIT_COMMITTER_DATE": date})

    def git(self, *arguments: str, login: str = "alice") -> str:
        """What git prints in the clone. Raises CalledProcessError."""
        who = ("-c", f"user.name={login}", "-c", f"user.email={login}@example.org")
        return subprocess.run(
            ["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def push(self, branch: str, login: str = "alice", to: str | None = None) -> None:
        """Push a branch as somebody, and let the forge notice; runs that this starts go on."""
        address = self.github.forge.url.replace("//", f"//{login}:{self.github.forge.user(login)}@")
        self.git("push", "--quiet", "--force", f"{address}/{to or self.repository}.git", f"{branch}:{branch}")
        self.github.forge.settle()

    def commit(self, branch: str, files: Mapping[str, str | None], message: str, login: str = "alice") -> None:
        """Commit files (None removes one) on a branch, made from main where it is new."""
        branches = self.git("branch", "--format=%(refname:short)").split()
        self.git("switch", "--quiet", *(() if branch in branches else ("--create",)), branch)
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message={message}", login=login)

    def read(self, name: str) -> str:
        """A file of main."""
        return self.git("show", f"main:{name}") + "\n"

    def edited(self, name: str, *changes: tuple[str, str]) -> str:
        """The same with each text replaced by another; each must be there."""
        text = self.read(name)
        for old, new in changes:
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        return text

    def propose(self, branch: str, files: Mapping[str, str | None], title: str, **more: Any) -> int:
        """Commit on a new branch from main, push it, open a pull request; its number. Runs go on."""
        self.git("switch", "--quiet", "main")
        self.commit(branch, files, title)
        self.push(branch)
        return self.open(branch, title, **more)

    def open(self, branch: str, title: str, login: str = "alice", **more: Any) -> int:
        """Open a pull request of a branch that is pushed; its number."""
        body = {"title": title, "head": branch, "base": "main", **more}
        return int(self.call("POST", "pulls", body, login=login)["number"])

    def approve(self, number: int, login: str = "bob") -> None:
        """Approve a pull request."""
        self.call("POST", f"pulls/{number}/reviews", {"event": "APPROVE"}, login=login)

    def merge(self, number: int, how: str = "merge", login: str = "bob") -> None:
        """Merge a pull request and bring main of the clone up to date. Raises HTTPError where GitHub refuses."""
        self.call("PUT", f"pulls/{number}/merge", {"merge_method": how}, login=login)
        address = self.github.forge.url.replace("//", f"//{login}:{self.github.forge.user(login)}@")
        self.git("switch", "--quiet", "main")
        self.git("pull", "--quiet", "--ff-only", f"{address}/{self.repository}.git", "main")

    def opened(self, branch: str) -> dict[str, Any]:
        """The one open pull request of a branch."""
        (found,) = self.call("GET", f"pulls?head={self.repository.split('/')[0]}:{branch}&state=open")
        return dict(found)

    def call(self, method: str, path: str, body: Any = None, login: str = "alice") -> Any:
        """The forge's answer to a call below the repository."""
        return self.github.call(method, f"/repos/{self.repository}/{path}", body, login=login)

    @contextmanager
    def platform(self, **values: Any) -> Iterator[None]:
        """What the repository runs on, as main's platform.yaml says, for a while."""
        known = yaml.safe_load(self.read("platform.yaml")) or {}
        before = self.settle({"platform.yaml": yaml.safe_dump(known | values)})
        try:
            yield
        finally:
            self.settle(before)

    def settle(self, files: Mapping[str, str | None]) -> dict[str, str | None]:
        """Put files on main past its rules, and start nothing; what was there before."""
        there = str(self.github.forge.repositories[self.repository].git.path)
        self.git("switch", "--quiet", "main")
        self.git("pull", "--quiet", "--ff-only", there, "main")
        known = self.git("ls-tree", "-r", "--name-only", "main").splitlines()
        before = {name: self.read(name) if name in known else None for name in files}
        self.commit("main", files, "Settle")
        self.git("push", "--quiet", there, "main:main")
        return before

    def comments(self, number: int) -> list[dict[str, Any]]:
        """The comments on a pull request."""
        found: list[dict[str, Any]] = self.call("GET", f"issues/{number}/comments")
        return found

    def run(self) -> Run:
        """The newest run of the repository, ended."""
        self.github.wait()
        return [run for run in self.github.runs if run.repository == self.repository][-1]

    def newest(self, workflow: str) -> Run:
        """The newest run of a workflow, ended."""
        self.github.wait()
        return next(run for run in reversed(self.github.runs) if run.workflow.name == workflow)

    def promote(self) -> dict[str, Any]:
        """Bob lets the promotion's checks run, reads it, approves and merges; the pull request."""
        pull = self.opened("promote/production")
        self.newest("Pull request").approve()
        run = self.newest("Pull request")
        assert run.conclusion == "success", run.log
        assert run.jobs["train"].conclusion == "skipped"
        self.approve(pull["number"])
        self.merge(pull["number"])
        assert self.newest("Deploy").conclusion == "success", self.newest("Deploy").log
        return pull

    def asset(self, name: str) -> bytes:
        """A file of the newest release."""
        release, *_ = self.call("GET", "releases")
        (url,) = [asset["url"] for asset in release["assets"] if asset["name"] == name]
        token = f"Bearer {self.github.forge.user('alice')}"
        with urlopen(Request(url, headers={"Authorization": token, "Accept": "application/octet-stream"})) as answer:
            return bytes(answer.read())
