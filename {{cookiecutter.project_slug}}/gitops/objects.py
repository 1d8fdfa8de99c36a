"""Git's objects that this clone lacks, and the tree that a merge would leave. Nothing of them is checked out."""

import base64
import os
import subprocess
import tempfile
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from gitops.content import git


class Merged(NamedTuple):
    """The tree that a merge would leave, and the paths that both sides changed: they are in it as the head has them."""

    tree: str
    conflicts: list[str]


def sign(environment: MutableMapping[str, str] = os.environ) -> None:
    """Has git ask with the workflow's token, for what a partial clone lacks too; no file and no command shows it."""
    basic = base64.b64encode(f"x-access-token:{environment['GITHUB_TOKEN']}".encode()).decode()
    environment["GIT_CONFIG_COUNT"] = "1"
    environment["GIT_CONFIG_KEY_0"] = f"http.{environment['GITHUB_SERVER_URL']}/.extraheader"
    environment["GIT_CONFIG_VALUE_0"] = f"AUTHORIZATION: basic {basic}"


def fetched(ref: str) -> str:
    """The commit that a ref of the remote points at, which the clone has then. Raises CalledProcessError."""
    git("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "origin", ref)
    return git("rev-parse", "--verify", "FETCH_HEAD^{commit}")


def merged(base: str, head: str) -> Merged:
    """The merge of a head into a base, by whole files: what both sides changed is a conflict, whatever git would mend.

    Raises CalledProcessError where they have no history in common.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GIT_INDEX_FILE": f"{folder}/index"}
        parents = [*git("merge-base", "--all", base, head).split(), base, head]
        staged(environment, "read-tree", "-i", "-m", "--aggressive", "--no-sparse-checkout", *parents)
        conflicts: dict[str, str] = {}
        for line in staged(environment, "ls-files", "--unmerged", "-z").split("\0")[:-1]:
            about, _, path = line.partition("\t")
            mode, name, stage = about.split()
            conflicts[path] = f"{mode} {name}" if stage == "3" else conflicts.get(path, f"0 {'0' * 40}")
        lines = "".join(f"{about}\t{path}\0" for path, about in conflicts.items())
        staged(environment, "update-index", "-z", "--index-info", content=lines)
        return Merged(staged(environment, "write-tree").strip(), sorted(conflicts))


def staged(environment: Mapping[str, str], *arguments: str, content: str = "") -> str:
    """What git prints, with an index of its own. Raises CalledProcessError."""
    command, given = ["git", *arguments], content.encode(errors="surrogateescape")
    done = subprocess.run(command, check=True, input=given, stdout=subprocess.PIPE, env=environment)
    return done.stdout.decode(errors="surrogateescape")
