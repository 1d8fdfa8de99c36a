"""Whether merging a pull request leaves production as a release of main made it: told by main's own files.

What the request's own files find, and every job that runs them, counts nowhere here. Its commits are fetched as git's
objects, and nothing of them is checked out or run.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gitops import content, facts, objects, pulls, verify
from gitops.content import PRODUCTION, git
from gitops.markdown import text
from gitops.pulls import Repository

CHECK = "Verified"
OURS = ("gitops", "pipeline", "policies")  # what judges, which has to be main's

Json = Mapping[str, Any]


class Elsewhere(SystemExit):
    """The request goes into another branch than the default one: its commit gets no check."""


class Verdict(NamedTuple):
    """Of a request's head, at the time that it was looked at: what kind of change it is, and what is wrong."""

    number: int
    head: str
    kind: str
    wrong: list[Json]

    @property
    def title(self) -> str:
        """The verdict in a line."""
        if self.wrong:
            return f"{len(self.wrong)} thing{'s' * (len(self.wrong) > 1)} not as they should be"
        if self.kind == "promotion":
            return "Every byte is there, and is what was released"
        return "Nothing of production changes"


def request(number: int) -> None:
    """Judges a request and says so; by an App as a check of the commit that was judged. Exits 1 where it is bad."""
    if os.environ.get("GITHUB_ACTIONS"):
        objects.sign()
        here = pulls.repository()
    else:
        from gitops import doctor

        here = doctor.repository()
        refuse_other_files(here)
    try:
        verdict = pulls.persist(lambda: judged(here, number))
    except Elsewhere as elsewhere:
        page(f"## 🔴 {text(elsewhere)}")
        raise
    for each in verdict.wrong:  # a path may hold a line break, and what Actions takes for a command of a step
        flat = {name: " ".join(str(value).split()) for name, value in each.items()}
        print("{rule} ({file})\n    found    {value}\n    bar      {bar}\n    next     {next}\n".format(**flat))
    page(*said(verdict), *(() if post(verdict) else NO_APP))
    line = f"#{number} at {verdict.head[:12]}, {verdict.kind}: {verdict.title}"
    sys.exit(line) if verdict.wrong else print(line)


def refuse_other_files(here: Repository) -> None:
    """Exits where a clone is not at the default branch's tip, or its files that judge are changed."""
    branch = here.default_branch
    if objects.fetched(f"refs/heads/{branch}") != git("rev-parse", "HEAD"):
        sys.exit(f"Only the files of {branch}'s tip can judge: `git switch {branch} && git pull`, then run this again")
    if changed := git("status", "--porcelain", "--", *OURS):
        sys.exit(f"Only the files of {branch}'s tip can judge; `git stash` what is changed here:\n{changed}")


def judged(here: Repository, number: int) -> Verdict:
    """The verdict on what merging a request into the commit that is checked out would leave."""
    pull = pulls.ask(here, "GET", f"pulls/{number}")
    if (into := pull["base"]["ref"]) != here.default_branch:
        only = f"only what goes into {here.default_branch} is verified; change its base"
        raise Elsewhere(f"#{number} goes into another branch, {into!r}: {only}")
    head = objects.fetched(f"refs/pull/{number}/head")
    merge = objects.merged("HEAD", head)
    kind = content.kind(content.tree("HEAD"), content.tree(merge.tree))
    return Verdict(number, head, kind, list(wrong(here, kind, merge)))


def wrong(here: Repository, kind: str, merge: objects.Merged) -> Iterator[Json]:
    """Each thing that is wrong with what a merge would leave in production."""
    if kind == "mixed":
        found, split = "changed together with other files", "split the request in two"
        yield verify.violation("mixed", PRODUCTION, found, "one or the other in a request", split)
    for path in merge.conflicts:
        if path.startswith(PRODUCTION):
            found, take = (
                f"changed here and on {here.default_branch}",
                f"take {here.default_branch}'s, or {verify.AGAIN}",
            )
            yield verify.violation("merge", path, found, "changed on one side", take)
    if kind == "promotion":
        yield from verify.violations(here, merge.tree, "HEAD")


# --- what is said ----------------------------------------------------------------------------------------------------


NO_APP = (
    "\nNo App is set up (`app_client_id` in platform.yaml), so this is no check that a rule can require: before you"
    " merge a promotion, look at this run, or run `make verify PR=NUMBER` in a clone of your own."
    " `make doctor` says how to make an App.",
)


def said(verdict: Verdict) -> Iterator[str]:
    """The verdict as Markdown."""
    yield f"## {'🔴' if verdict.wrong else '🟢'} {verdict.title}\n"
    yield f"Of merging #{verdict.number} at {text(verdict.head)}, a change of kind {text(verdict.kind)}.\n"
    for each in verdict.wrong:
        rule, file, value, bar, next_ = (text(each[key]) for key in ("rule", "file", "value", "bar", "next"))
        yield f"- {rule} in {file}: {value}, expected {bar}. What to do: {next_}"


def page(*lines: str) -> None:
    """Writes the step's summary, where there is a step."""
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(file).open("a") as summary:
            summary.write("\n".join(lines) + "\n")


def post(verdict: Verdict) -> bool:
    """Posts the check on the commit that was judged, by the App's token; False where there is none."""
    if not (token := os.environ.get("CHECKS_TOKEN")):
        return False
    app = pulls.repository(os.environ | {"GITHUB_TOKEN": token})
    output = {"title": verdict.title, "summary": "\n".join(said(verdict))[:60_000]}
    made = {"name": CHECK, "head_sha": verdict.head, "details_url": facts.run_url(), "output": output}
    conclusion = "failure" if verdict.wrong else "success"
    pulls.persist(
        lambda: pulls.ask(app, "POST", "check-runs", {**made, "status": "completed", "conclusion": conclusion})
    )
    return True
