"""What a commit is made of: the content key of its model, and which kind of change it is. Asks git alone."""

import hashlib
import subprocess

READ = ("bentofile.yaml", "dvc.yaml", "params.yaml", "pipeline", "requirements.txt", "requirements-service.txt")
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


def git(*arguments: str) -> str:
    """What git prints, without the end of its last line. Raises CalledProcessError with git's own words on stderr."""
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.removesuffix("\n")
