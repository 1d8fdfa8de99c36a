"""What a commit is made of: the content key of its model, and which kind of change it is. Asks git alone."""

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping

READ = (
    "bentofile.yaml",
    "contract.yaml",
    "deploy/base",
    "dvc.yaml",
    "params.yaml",
    "pipeline",
    "policies/evaluation.yaml",
    "policies/log.yaml",
    "requirements-service.txt",
    "requirements-train.txt",
)
"""What the pipeline reads: with the data snapshot, which stands in params.yaml, all that a model follows from.

And how it is run: a change of deploy/base reaches production by a promotion, as every other does.
"""

PRODUCTION = "deploy/production/"
CONTRACT = "contract.yaml"
WORDS = re.compile(
    r"""
    (?!(?:\.dvc|\.github|deploy|notebooks|tests|pipeline)/) [^\x00-\x1f\x7f]+\.md
    | docs/ [^\x00-\x1f\x7f]+\.(?:adoc|gif|jpe?g|md|pdf|png|rst|svg|txt|webp)
    | (?:COPYING|LICEN[CS]E|NOTICE) (?:\.md|\.txt)?
    """,
    re.VERBOSE,
)
"""Paths of words. By their ending, as DVC reads any dvc.yaml, in docs/ too; nothing runs, measures or ships them."""
FILE, LINK, COMMIT = "100644", "120000", "160000"  # git's modes; a commit is a submodule's

Tree = Mapping[str, tuple[str, str]]  # mode and blob of each file, by its path


def key(revision: str = "HEAD") -> str:
    """The content key: equal for a merge commit, its squash or rebase, and after an unrelated merge."""
    listing = git("ls-tree", "-r", "-z", "--full-tree", revision, "--", *READ)
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()[:32]


def kind(base: Tree, head: Tree) -> str:
    """`model`; `promotion` where only production is touched; `words`; or `mixed`, which no pull request may be."""
    paths = {path for path in base.keys() | head.keys() if base.get(path) != head.get(path)}
    production = {path.startswith(PRODUCTION) for path in paths}
    if len(production) == 2:
        return "mixed"
    if True in production:
        return "promotion"
    return "words" if paths and plain(base, head) and all(is_words(path, head.get(path)) for path in paths) else "model"


def ground(tree: Tree) -> str | None:
    """A hash over all that could run, measure or be learned from; None where a link or a submodule could hide some.

    It leaves out words, and what is in production: a run is believed for trees of the same ground alone.
    """
    if not tree or any(mode in (LINK, COMMIT) for mode, _ in tree.values()):
        return None
    kept = sorted(
        f"{mode} {blob} {path}"
        for path, (mode, blob) in tree.items()
        if not path.startswith(PRODUCTION) and not is_words(path, (mode, blob))
    )
    return hashlib.sha256("\0".join(kept).encode(errors="surrogateescape")).hexdigest()


def contract(revision: str) -> str | None:
    """A revision's contract.yaml; None where it has none."""
    return text(revision, CONTRACT) if git("ls-tree", revision, "--", CONTRACT) else None


def is_words(path: str, now: tuple[str, str] | None) -> bool:
    """Whether a changed file is words: by its name, and a plain file where it is still there."""
    return (now is None or now[0] == FILE) and WORDS.fullmatch(path) is not None


def plain(*trees: Tree) -> bool:
    """Whether no tree has a link: by one, words could be what is run."""
    return not any(mode == LINK for tree in trees for mode, _ in tree.values())


def tree(revision: str) -> Tree:
    """Every file of a revision."""
    listed = (line.partition("\t") for line in git("ls-tree", "-r", "-z", "--full-tree", revision).split("\0") if line)
    return {path: (about.split()[0], about.split()[2]) for about, _, path in listed}


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
    """What git prints, without the end of its last line. Raises CalledProcessError with git's own words on stderr.

    Ask what a person's configuration does not change: `rev-list` and not `log`, and paths with -z.
    """
    said = subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE).stdout
    return said.decode(errors="surrogateescape").removesuffix("\n")
