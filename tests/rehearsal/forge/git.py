"""A bare repository, and what GitHub does to one: refs, trees, merges, squashes and rebases, all by git itself."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NOBODY = "0" * 40
ISOLATED = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "TZ": "UTC"}
CONFIG = """
[http]
\treceivepack = true
[receive]
\thideRefs = refs/pull
[uploadpack]
\tallowAnySHA1InWant = true
\tallowFilter = true
[core]
\tquotePath = false
[gc]
\tauto = 0
"""
# The forge names the refs that its rules keep from this push and why, those that nobody may force, and says who may not
# touch workflows; one hook, in every repository, refuses such pushes as GitHub does.
HOOK = r"""#!/bin/sh
deleted=0000000000000000000000000000000000000000
refuse() {
  echo "error: GH013: Repository rule violations found for $1." >&2
  echo "- $2" >&2
  exit 1
}
why=$(printf '%s\n' "$FORGE_REFUSED" | sed -n "s|^$1 ||p")
[ -z "$why" ] || refuse "$1" "$why"
case " $FORGE_FAST_FORWARD_ONLY " in *" $1 "*)
  [ "$3" = $deleted ] || git merge-base --is-ancestor "$2" "$3" || refuse "$1" "Cannot force-push to this branch"
esac
if [ -n "$FORGE_NO_WORKFLOWS" ] && [ "$3" != $deleted ] && ! git diff --quiet "HEAD...$3" -- .github/workflows; then
  echo "refusing to allow a GitHub App to create or update workflow without \`workflows\` permission" >&2
  exit 1
fi
"""
FIELDS = ("%H", "%T", "%P", "%an", "%ae", "%ad", "%cn", "%ce", "%cd", "%B")


def pushed(content: bytes) -> Iterable[tuple[str, str | None]]:
    """What a push asks for: each ref and what it is to point at, None where it is to go."""
    at = 0
    while size := int(content[at : at + 4] or b"0", 16):
        line = content[at + 4 : at + size].partition(b"\0")[0].decode().rstrip("\n")
        if not line.startswith("shallow "):  # where the history of the pushing clone ends
            _, new, ref = line.split(" ", 2)
            yield ref, None if new == NOBODY else new
        at += size


class GitError(Exception):
    """What git said on its error stream."""


class Git:
    """One bare repository; `git("rev-parse", "main")` runs a command in it and returns what it printed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            run(path.parent, "init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(path))
            with (path / "config").open("a") as config:
                config.write(CONFIG)
            (path / "hooks").mkdir()
            (path / "hooks/update").write_text(HOOK)
            (path / "hooks/update").chmod(0o755)

    def __call__(self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
        """Raises GitError with what git said."""
        return run(self.path, *arguments, stdin=stdin, env=env).decode(errors="replace").rstrip("\n")

    def refs(self, prefix: str = "") -> dict[str, str]:
        """Full names of refs to the sha each points at."""
        lines = self("for-each-ref", "--format=%(refname) %(objectname)", *([prefix] if prefix else [])).splitlines()
        return dict(line.split() for line in lines)

    def resolve(self, name: str) -> str | None:
        """The commit that a branch, a tag, a full ref or a sha names."""
        for spec in (name,) if name.startswith("refs/") else (f"refs/heads/{name}", f"refs/tags/{name}", name):
            try:
                return self("rev-parse", "--quiet", "--verify", "--end-of-options", spec + "^{commit}")
            except GitError:
                continue
        return None

    def is_ancestor(self, old: str, new: str) -> bool:
        try:
            self("merge-base", "--is-ancestor", old, new)
        except GitError:
            return False
        return True

    def changes_workflows(self, new: str) -> bool:
        """Whether a commit differs in its workflows from where it left the default branch."""
        return bool(self("diff", "--name-only", f"HEAD...{new}", "--", ".github/workflows"))

    def update(self, ref: str, new: str | None) -> None:
        """Point a ref at a commit; None deletes it."""
        if new:
            self("update-ref", ref, new)
        else:
            self("update-ref", "-d", ref)

    def commits(self, span: str, *options: str) -> list[Json]:
        """sha, tree, parents, author, committer and message of each commit of a span, newest first."""
        form = "%x1f".join(FIELDS) + "%x1e"
        text = self("log", f"--format={form}", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", *options, span, "--")
        return [describe(record.lstrip("\n").split("\x1f")) for record in text.split("\x1e")[:-1]]

    def commit(
        self, tree: str, parents: Iterable[str], message: str, author: Mapping[str, str], committer: Mapping[str, str]
    ) -> str:
        """author, committer: name, email and, if not now, date."""
        env = {
            f"GIT_{role}_{key.upper()}": str(value)
            for role, person in (("AUTHOR", author), ("COMMITTER", committer))
            for key, value in person.items()
        }
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self("commit-tree", tree, *flags, stdin=message.encode(), env=env)

    def merged_tree(self, ours: str, theirs: str) -> str | None:
        """The tree of their merge, None where they conflict or share no history."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_DIR": str(self.path.resolve()), "GIT_WORK_TREE": scratch, "GIT_INDEX_FILE": f"{scratch}/.index"}
            try:
                bases = self("merge-base", "--all", ours, theirs).split()
                self("read-tree", ours, env=env)
                self("merge-recursive", *bases, "--", ours, theirs, env=env)
                return self("write-tree", env=env)
            except GitError:
                return None

    def rebased(self, base: str, head: str, committer: Mapping[str, str]) -> str | None:
        """The commits of base..head on top of base, None where one conflicts."""
        tip = base
        for change in reversed(self.commits(f"{base}..{head}", "--no-merges")):
            # A stand-in for the tip whose parent is the change's own, so that the merge's base is that parent.
            tip_tree = self("rev-parse", tip + "^{tree}")
            stand_in = self.commit(tip_tree, change["parents"], "", committer, committer)
            tree = self.merged_tree(stand_in, change["sha"])
            if tree is None:
                return None
            if tree != tip_tree:
                tip = self.commit(tree, [tip], change["message"], change["author"], committer)
        return tip

    def blob(self, content: bytes) -> str:
        return self("hash-object", "-w", "--stdin", stdin=content)

    def read(self, sha: str) -> bytes:
        return run(self.path, "cat-file", "blob", sha)

    def tree(self, tree: str, *options: str, path: str = "") -> list[Json]:
        """path, mode, type, sha and size of each entry, or of the one at a path."""
        entries = []
        for line in self("ls-tree", "--long", "-z", *options, tree, *([path] if path else [])).split("\0"):
            if line:
                (mode, kind, sha, size), path = line.partition("\t")[0].split(), line.partition("\t")[2]
                entry: Json = {"path": path, "mode": mode, "type": kind, "sha": sha}
                entries.append(entry if size == "-" else entry | {"size": int(size)})
        return entries

    def tree_with(self, base: str | None, changes: Iterable[Json]) -> str:
        """A tree: the base's with changes {path, mode, sha}; sha None removes."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self("read-tree", *([base] if base else ["--empty"]), env=env)
            lines = "".join(
                f"{change['mode']} {change['sha']}\t{change['path']}\0"
                if change["sha"]
                else f"0 {NOBODY}\t{change['path']}\0"
                for change in changes
            )
            self("update-index", "-z", "--index-info", stdin=lines.encode(), env=env)
            return self("write-tree", env=env)

    def files(self, old: str, new: str) -> list[Json]:
        """sha, filename, status, additions, deletions, changes and patch of each file that differs."""
        text = self("diff", "--raw", "--numstat", "--patch", "--full-index", "--no-abbrev", "-M", old, new)
        head, *patches = re.split(r"^diff --git .*\n", text, flags=re.M)
        raw = [line for line in head.splitlines() if line.startswith(":")]
        counts = [line for line in head.splitlines() if line[:1].isdigit() or line.startswith("-")]
        return [changed(*each) for each in zip(raw, counts, patches, strict=True)]


def run(path: Path, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
    done = subprocess.run(
        ["git", *arguments], cwd=path, input=stdin or b"", capture_output=True, env={**ISOLATED, **(env or {})}
    )
    if done.returncode:
        raise GitError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def describe(fields: list[str]) -> Json:
    sha, tree, parents, *people, message = fields
    author, committer = (dict(zip(("name", "email", "date"), each, strict=True)) for each in (people[:3], people[3:]))
    return {
        "sha": sha,
        "tree": tree,
        "parents": parents.split(),
        "author": author,
        "committer": committer,
        "message": message.strip("\n"),
    }


def changed(raw: str, count: str, patch: str) -> Json:
    header, *names = raw.split("\t")
    _, _, before, after, status = header.split()
    added, deleted = (int(number) if number.isdigit() else 0 for number in count.split("\t")[:2])
    renamed = {"previous_filename": names[0]} if status[0] == "R" else {}
    return {
        "sha": before if status == "D" else after,
        "filename": names[-1],
        "status": {"A": "added", "D": "removed", "R": "renamed"}.get(status[0], "modified"),
        "additions": added,
        "deletions": deleted,
        "changes": added + deleted,
        **renamed,
        **({"patch": patch[patch.index("@@") :].rstrip("\n")} if "@@" in patch else {}),
    }
