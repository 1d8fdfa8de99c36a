"""What the workflows call: `python -m gitops plan|restore|bundle|report`."""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitops import bytes as handover
from gitops import content

REFUSED = {
    "promotion": "This changes deploy/production/; promotions are not verified yet: take it out of the pull request.",
    "mixed": "This changes deploy/production/ and other files: a pull request does one or the other; split it in two.",
}


def plan() -> None:
    """Says what the run is for: kind, content key, and the run whose bytes it can start from."""
    from gitops import pulls

    base = event_base(event())
    kind, keys = content.kind(base), list(dict.fromkeys([content.key(), content.key(base)]))
    output(**{"kind": kind, "key": keys[0], "base-key": keys[-1], "bundle-key": "", "bundle-run": ""})
    if kind in REFUSED:
        print(f"::error title=Not a model::{REFUSED[kind]}")
        sys.exit(1)
    if os.environ.get("DVC_REMOTE"):
        return  # what was made before is there
    here = pulls.repository()
    # The same inputs made somewhere before, else what main was made of: DVC repeats only what differs from it.
    for key in keys:
        if run := pulls.bundle(here, key):
            output(**{"bundle-key": key, "bundle-run": str(run)})
            print(f"Starting from what run {run} made for content key {key}")
            return
    print("Nothing was made for these inputs before")


def report(facts_folder: Path) -> None:
    """Writes the step summary, and the one sticky comment where the token may."""
    from gitops import facts, pulls
    from gitops import report as pages

    here, started = pulls.repository(), event()
    told = facts.gather(facts_folder, started, json.loads(os.environ["NEEDS"]), pulls.jobs(here, run_id()))
    whole = pages.render(told)
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a") as summary:
        summary.write(whole)
    number = started.get("pull_request", {}).get("number")
    if number is None:
        print("No pull request to comment on: the report is in the summary")
    elif address := pulls.comment(here, number, pages.cut(whole, told["run"]["url"]), pages.MARKER):
        print(f"The report: {address}")
    else:
        print("::notice::The token may not comment: the report is in the summary")


def event() -> dict[str, Any]:
    """What started the run."""
    started: dict[str, Any] = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text())
    return started


def event_base(started: Mapping[str, Any]) -> str:
    """The commit that the change is made on: a pull request's base, or a merge queue's."""
    base: str = (started.get("pull_request") or {}).get("base", {}).get("sha") or started["merge_group"]["base_sha"]
    if not re.fullmatch(r"[0-9a-f]{40}", base):
        sys.exit(f"The event's base {base!r} is no commit")
    return base


def run_id() -> int:
    """The number of this run."""
    return int(os.environ["GITHUB_RUN_ID"])


def output(**values: str) -> None:
    """Hands values to later steps and jobs; none of ours has a line break in it."""
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m gitops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("plan", help="what the run is for, and whose bytes it can start from")
    restore = commands.add_parser("restore", help="put in place what an earlier job or run handed over")
    bundle = commands.add_parser("bundle", help="hand over what the pipeline made")
    restore.add_argument("keys", nargs="*", help="content keys to look for in the DVC remote, the first one found")
    bundle.add_argument("key", nargs="?", help="the content key, where the DVC remote takes it too")
    commands.add_parser("report", help="the step summary and the comment").add_argument("facts", type=Path)
    arguments = parser.parse_args()
    match arguments.command:
        case "plan":
            plan()
        case "restore":
            output(key=handover.restore(arguments.keys) or "")
        case "bundle":
            handover.bundle(arguments.key)
        case "report":
            report(arguments.facts)


if __name__ == "__main__":
    main()
