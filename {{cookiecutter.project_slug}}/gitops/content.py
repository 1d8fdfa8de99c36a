"""What a commit is made of: the content key of its model, and which kind of change it is. Asks git alone."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping

READ = (
    "bentofile.yaml",
    "dvc.yaml",
    "params.yaml",
    "pipeline",
    "policies/log.yaml",
    "requirements.txt",
    "requirements-service.txt",
)
"""What the pipeline reads: with the data snapshot, which stands in params.yaml, all that a model follows from."""

PRODUCTION = "deploy/production/"


def key(revision: str = "HEAD") -> str:
    """The content key: equal for a merge commit, its squash or rebase, and after an unrelated merge."""
    listing = git("ls-tree", "-r", "--full-tree", revision, "--", *READ)
    return hashlib.sha256(listing.encode()).hexdigest()[:32]


def kind(base: str, head: str = "HEAD") -> str:
    """`model`, `promotion` where only production is touched, or `mixed`, which no pull request may be."""
    paths = git("diff", "--name-only", "--no-renames", "-z", f"{base}...{head}").split("\0")
    production = {path.startswith(PRODUCTION) for path in paths if path}
    return "mixed" if len(production) == 2 else "promotion" if True in production else "model"


def text(revision: str, path: str) -> str:
    """A file as a revision has it, to its last byte."""
    command = ["git", "show", f"{revision}:{path}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()


def tree_with(files: Mapping[str, str | None]) -> str:
    """The name of the tree of HEAD with `files` in place (None removes one); the clone holds it, no branch does."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GIT_INDEX_FILE": f"{folder}/index"}

        def staged(*arguments: str, content: str = "") -> str:
            command = ["git", *arguments]
            done = subprocess.run(command, check=True, input=content.encode(), stdout=subprocess.PIPE, env=environment)
            return done.stdout.decode().strip()

        staged("read-tree", "HEAD")
        for path, content in files.items():
            if content is None:
                staged("update-index", "--force-remove", path)
            else:
                name = staged("hash-object", "-w", "--no-filters", "--stdin", content=content)
                staged("update-index", "--add", "--cacheinfo", f"100644,{name},{path}")
        return staged("write-tree")


def git(*arguments: str) -> str:
    """What git prints, without the end of its last line. Raises CalledProcessError with git's own words on stderr."""
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.removesuffix("\n")
