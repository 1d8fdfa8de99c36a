"""What the workflows call: `python -m gitops COMMAND`; `--help` lists the commands."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gitops import bytes as handover
from gitops import content

MIXED = "This changes deploy/production/ and other files: a pull request does one or the other; split it in two."


def plan() -> None:
    """Says what the run is for: kind, content key, what it runs on, and the release on main that it can start from."""
    from gitops import facts, platform, problem, pulls

    started = event()
    # Of a pull request the event's base may be older than what the merge that runs was made on.
    base = "HEAD^1" if "pull_request" in started else event_base(started)
    kind = content.kind(content.tree(base), content.tree("HEAD"))
    keys = list(dict.fromkeys([content.key(), content.key(base)]))
    replaces = problem.between(content.contract(base), content.contract("HEAD")).replaces
    output(**{"kind": kind, "key": keys[0], "base-key": keys[-1], "replaces": str(replaces).lower()})
    here = pulls.repository()
    if other := foreign_base(here, started):
        sys.exit(f"::error title=Another base::{other}")
    if kind == "mixed":
        sys.exit(f"::error title=Two things at once::{MIXED}")
    if kind in ("promotion", "words"):
        return  # nothing is made
    if not facts.from_fork(started.get("pull_request")):
        runs_on = platform.at(base)
        output(**{"dvc-remote": runs_on["dvc_remote"], "gpu-runner": runs_on["gpu_runner"]})
    # A release of the same inputs, else of what main holds: DVC repeats only what differs from it.
    for key in keys:
        if run := pulls.released(here, "pipeline", key):
            output(**{"bundle-key": key, "bundle-run": str(run)})
            print(f"Starting from what release run {run} made on main for content key {key}")
            return
    print("No release on main has made anything for these inputs yet")


def report(facts_folder: Path) -> None:
    """Writes the step summary, and the one sticky comment where the token may; exits 1 if a bar of the base is missed.

    It runs on the base's tree: what the change's own judges said is shown, and is not all that counts.
    """
    from gitops import bars, facts, kustomization, problem, pulls
    from gitops import report as pages

    here, started, needs = pulls.repository(), event(), json.loads(os.environ["NEEDS"])
    told = facts.gather(facts_folder, started, needs, pulls.jobs(here, run_id()))
    head = os.environ["GITHUB_SHA"]
    ours, replaces = {}, False
    trees: tuple[content.Tree, content.Tree] = ({}, {})
    if told["jobs"]["plan"] == "success":
        before = pulls.parent(here, head) if "pull_request" in started else event_base(started)
        trees = pulls.files(here, before), pulls.files(here, head)
        contracts = [pulls.text_of(here, commit, content.CONTRACT) for commit in (before, head)]
        change = problem.between(*contracts)
        replaces = change.replaces
        ours = bars.plan(told, content.kind(*trees), replaces, foreign_base(here, started)) | change.gate()
        ours |= kustomization.judge(*trees, lambda path: pulls.text_of(here, head, path))
        told["gates"] = change.gate() | told["gates"] | ours  # what explains the others comes first
        told |= {"problem": change.told(), "words": problem.words(contracts[1])}
        told["champion"] = facts.champion(change.after.identity if change.after else None, told["problems"])
    if told["kind"] == "model":
        kept = {name: (pulls.artifact(here, run_id(), name) or {}).get("digest") for name in facts.MEASURED_BY_MAIN}
        swapped = bars.replaced(needs, kept)
        told["gates"] |= swapped
        ours |= swapped
        theirs = {path: pulls.text_of(here, head, path) for path in bars.files()}
        told["bars"] = [*bars.changes(theirs, replaces), *bars.rulesets(*trees)]
        judged = bars.judge(facts_folder, told["jobs"], theirs if replaces else None)
        if replaces:
            judged |= problem.judge_kept(told["bars"])
        else:
            judged |= bars.judge_beaten(told["bars"], theirs[str(bars.PARAMS)])
        told["gates"] = bars.together(told["gates"], judged)
        ours |= judged
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
    if missed := sum(len(gate["violations"]) for gate in ours.values()):
        sys.exit(f"{missed} bar{'s' * (missed > 1)} of the base branch not met: each is in the report")


def verify(file: Path) -> None:
    """Writes whether a promotion is what it says, for the report; exits 1 where it is not."""
    from gitops import pulls
    from gitops import verify as verification

    here, base = pulls.repository(), event_base(event())
    gate = pulls.persist(lambda: verification.verify(here, "HEAD", base))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(gate, indent=2) + "\n")
    for each in gate["violations"]:
        print("{rule} ({file})\n    found    {value}\n    bar      {bar}\n    next     {next}\n".format(**each))
    if gate["violations"]:
        sys.exit(f"{len(gate['violations'])} things of this promotion are not as they should be, see above")
    print("Every byte is there, and is what was released")


def show_platform(revision: str | None) -> None:
    """Writes what the repository runs on as step outputs, such as `gpu-runner`; prints it where no step takes them."""
    from gitops import platform

    values = platform.at(revision) if revision else platform.here()
    if os.environ.get("GITHUB_OUTPUT"):
        output(**{name.replace("_", "-"): value for name, value in values.items()})
    print(*(f"{name}: {value or 'off'}" for name, value in values.items()), sep="\n")


def plan_release(folder: Path) -> None:
    """Says what there is to release, and whose fitted model to take, which it puts into a folder."""
    from gitops import pulls, release

    here = pulls.repository()
    again, train = (os.environ.get(name) == "true" for name in ("AGAIN", "TRAIN"))
    outputs = pulls.persist(lambda: release.plan(here, again, train, folder))
    output(**outputs)
    does = {"true": "Main trains", "false": "Main takes the fitted model, and makes all else"}[outputs["train"]]
    summary(f"{does if outputs['make'] == 'true' else 'Nothing to release'}: {outputs['why']}")


def propose(written: Path | None) -> None:
    """Opens or refreshes the promotion request, or the one that goes back."""
    from gitops import pulls, release

    here = pulls.repository()
    back, overtaken = os.environ.get("BACK_TO"), os.environ.get("OVERTAKEN") or None
    summary(pulls.persist(lambda: release.go_back(here, back) if back else release.propose(here, written, overtaken)))


def deploy() -> None:
    """Verifies and records what is in production."""
    from gitops import deploy, objects, pulls

    objects.sign()
    here = pulls.repository()
    summary(pulls.persist(lambda: deploy.deploy(here)))


def fetch(folder: Path, champion: bool) -> None:
    """Puts what is in production into a folder, or what the checkout's model is compared with."""
    from gitops import deploy, pulls

    here = pulls.repository()
    get = deploy.fetch_champion if champion else deploy.fetch_production
    print(pulls.persist(lambda: get(here, folder)))


def replace() -> None:
    """Puts the contract and the policies of a request that replaces the problem in place, for main to measure by."""
    from gitops import problem, pulls

    here, head = pulls.repository(), os.environ["GITHUB_SHA"]
    print(pulls.persist(lambda: problem.replace(lambda path: pulls.text_of(here, head, path))))


def knobs(folder: Path) -> None:
    """Puts the knobs of the tree into a candidate: those that it was handed over with may name other rows.

    So it does with the contract, which the model is held against. With them come the days that the tree holds.
    """
    from gitops import days, pulls
    from gitops.content import CONTRACT
    from pipeline.params import EVALUATION, PARAMS

    here, head, texts = pulls.repository(), os.environ["GITHUB_SHA"], dict[Path, str]()
    for path in (PARAMS, EVALUATION, Path(CONTRACT)):
        text = pulls.persist(partial(pulls.text_of, here, head, str(path)))
        if text is None:
            sys.exit(f"{path}: is not there in {head}, and a candidate is measured by it; restore it from git")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())
        texts[path] = text
    print(f"{folder}: measured with {PARAMS} and {EVALUATION}, and held against {CONTRACT}, of {head}")
    if said := days.take(texts[PARAMS]):
        print(said)


def summary(sentence: str) -> None:
    """Says it in the log and on the run's page."""
    from gitops.markdown import text

    print(sentence)
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a") as file:
        file.write(text(sentence) + "\n")


def foreign_base(here: Any, started: Mapping[str, Any]) -> str | None:
    """What to say where a change is not made on the default branch, whose judges alone count; None where it is."""
    pull, queue = started.get("pull_request"), started.get("merge_group") or {}
    base = pull["base"]["ref"] if pull else queue["base_ref"].removeprefix("refs/heads/")
    if base == here.default_branch:
        return None
    return (
        f"This is to be merged into {base!r}, and the checks are those of {here.default_branch!r}: change its base to "
        f"{here.default_branch!r}, or merge it there without them."
    )


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

    def command(name: str, said: str, *paths: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=said)
        for path in paths:
            made.add_argument(path, type=Path)
        return made

    command("plan", "what a pull request's run is for, and what it can start from")
    command("restore", "put in place what an earlier job, or a release on main, handed over")
    bundle = command("bundle", "hand over what the pipeline made", "file")
    bundle.add_argument("--without-rows", action="store_true", help="for what is kept for longer than the run")
    command("report", "the step summary and the comment", "facts")
    command("verify", "whether a promotion is what it says", "gate")
    platform = command("platform", "what the repository runs on, as step outputs")
    platform.add_argument(
        "revision", nargs="?", help="the commit whose platform.yaml counts; else the working folder's"
    )
    command("plan-release", "what main has to release, and whose fitted model to take", "folder")
    command("pack", "collect what is to be released", "folder")
    command(
        "promotion", "write the files of the promotion of what was made and measured", "packed", "measured", "folder"
    )
    propose = command("release", "open or refresh the promotion request, or with BACK_TO the one that goes back")
    propose.add_argument("written", nargs="?", type=Path, help="the files that `promotion` wrote")
    request = command("verify-request", "whether what a pull request would leave in production is what was released")
    request.add_argument("number", type=int)
    command("deploy", "verify and record what is in production")
    command("fetch-production", "put what is in production into a folder", "folder")
    command("fetch-champion", "put what the checkout's model is compared with into a folder", "folder")
    command("replace", "measure by the contract and the policies of a request that replaces the problem")
    command("knobs", "measure a candidate with the knobs of the tree, whatever was handed over", "folder")
    command("drift", "open, refresh or close what a drift check asks for", "facts")
    command("doctor", "what of GitHub is not set up, and the command that mends it")
    setup = command("setup", "set up what the token may")
    setup.add_argument("--team", type=int, choices=(1, 2), help="how many work here: 1, or 2 and more")
    asked = parser.parse_args()
    try:
        run(asked)
    except Exception as error:
        if said := sentence(error):
            sys.exit(said)
        raise


def sentence(error: Exception) -> str | None:
    """What to say of a fault that lies outside of this repository; None where it is a mistake of ours."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{shlex.join(map(str, error.cmd))}` failed, for the reason that it gives above"
    from gitops import pulls
    from pipeline.params import unwritable

    if isinstance(error, pulls.GitHubException | pulls.requests.RequestException):
        return f"GitHub: {error}"
    return unwritable(error)


def run(asked: argparse.Namespace) -> None:
    """One command; each imports only what it needs."""
    match asked.command:
        case "plan":
            plan()
        case "restore":
            handover.restore()
        case "bundle":
            handover.bundle(asked.file, rows=not asked.without_rows)
        case "report":
            report(asked.facts)
        case "verify":
            verify(asked.gate)
        case "platform":
            show_platform(asked.revision)
        case "plan-release":
            plan_release(asked.folder)
        case "pack":
            handover.pack(asked.folder)
        case "promotion":
            from gitops import pulls, release

            here = pulls.repository()
            pulls.persist(lambda: release.write(here, asked.packed, asked.measured, asked.folder))
        case "release":
            propose(asked.written)
        case "verify-request":
            from gitops import verified

            verified.request(asked.number)
        case "deploy":
            deploy()
        case "fetch-production" | "fetch-champion":
            fetch(asked.folder, asked.command == "fetch-champion")
        case "replace":
            replace()
        case "knobs":
            knobs(asked.folder)
        case "drift":
            from gitops import retrain

            retrain.drift(asked.facts)
        case "doctor":
            from gitops import doctor

            doctor.doctor()
        case "setup":
            from gitops import doctor

            doctor.setup(asked.team)


if __name__ == "__main__":
    main()
