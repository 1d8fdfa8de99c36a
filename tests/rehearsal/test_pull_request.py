"""The real pull-request.yml, on a small bake: every kind of pull request ends with a report that says the truth.

One forge for all. What main's release made, later pull requests start from, as on GitHub.
"""

import html
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from urllib.error import HTTPError

import pytest
import yaml

from .driver import Run
from .project import ENQUEUE, MERGE_QUEUE, OWNER, Project, rehearsal
from .small import BYTES, small

pytestmark = pytest.mark.slow
BOT = "github-actions[bot]"
TRAINS = "Running stage 'train@network'"
NOTHING = "def test_nothing() -> None:\n    pass\n"
UNIT_TEST = {"tests/test_nothing.py": NOTHING}
"""A change for which every job runs and, as no input of the model is another, nothing is trained."""


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A small bake on the forge, main protected, after main's first release."""
    with rehearsal() as github:
        workflows = ("pull-request.yml", "train.yml", "release.yml")
        project = Project.start(github, small(template, tmp_path_factory.mktemp("small"), *workflows))
        assert project.run().conclusion == "success", project.run().log
        yield project


@pytest.fixture(scope="module")
def first(project: Project) -> tuple[int, Run]:
    """The first pull request: there is no champion."""
    number = project.propose("first", UNIT_TEST, "Test nothing")
    return number, project.run()


@pytest.fixture(scope="module")
def second(project: Project, first: tuple[int, Run]) -> tuple[int, Run]:
    """One of the same inputs, on a GPU, with names that would like to be commands."""
    branch, title = "x$(touch${IFS}pwned)`id`;echo", "::error::${{ github.token }} <img src=x>"
    with project.platform(gpu_runner="our-gpu", gpu_price=2.5):
        number = project.propose(branch, UNIT_TEST | {"$(touch pwned).txt": "hm\n"}, title)
        return number, project.run()


def conclusions(run: Run) -> dict[str, str]:
    """How the jobs ended that a change of the model has; a promotion's is skipped in all of them."""
    assert run.jobs["promotion"].conclusion == "skipped"
    return {name: job.conclusion for name, job in run.jobs.items() if name != "promotion"}


def report(project: Project, number: int) -> str:
    """The one comment of the bot on a pull request, as text."""
    (comment,) = [comment for comment in project.comments(number) if comment["user"]["login"] == BOT]
    return html.unescape(comment["body"])


def heading(text: str) -> str:
    (found,) = re.findall(r"^## (.*)$", text, re.MULTILINE)
    return str(found)


def mergeable(project: Project, number: int) -> bool:
    """Whether GitHub lets bob merge it, without doing so."""
    return bool(project.call("GET", f"pulls/{number}")["mergeable_state"] == "clean")


def test_first_pull_request_goes_through_every_job(project: Project, first: tuple[int, Run]) -> None:
    number, run = first
    assert set(conclusions(run).values()) == {"success"}, run.log
    text = report(project, number)
    assert heading(text) == "🟢 Ready to merge"
    assert "there is no model of this problem in production yet" in text
    for words in ("average precision", "xychart-beta", "kept its contract", "Trained on", "Durations"):
        assert words in text
    assert html.unescape(run.jobs["report"].summary).strip() == text.strip()


def test_no_job_that_runs_the_repository_holds_a_token_that_writes(first: tuple[int, Run]) -> None:
    for name, job in first[1].jobs.items():
        writes = {scope for scope, level in job.permissions.items() if level == "write"}
        assert writes == ({"pull-requests"} if name == "report" else set())


def test_merge_waits_for_the_required_check_and_a_review(project: Project, first: tuple[int, Run]) -> None:
    number, _ = first
    assert not mergeable(project, number)
    project.approve(number)
    assert mergeable(project, number)


def test_words_need_a_plan_and_a_report_alone(project: Project, first: tuple[int, Run]) -> None:
    number = project.propose("words", {"README.md": "Other words.\n", "docs/plan.txt": "A plan.\n"}, "Say it otherwise")
    run = project.run()
    ran = {name for name, conclusion in conclusions(run).items() if conclusion == "success"}
    assert ran == {"plan", "report", "required"}, run.log
    assert heading(report(project, number)) == "🟢 Ready to merge: words alone"
    project.approve(number)
    assert mergeable(project, number)


def test_a_plan_that_says_words_of_code_is_red(project: Project, first: tuple[int, Run]) -> None:
    """The report finds the kind itself, on the base's tree."""
    lying = project.edited("gitops/content.py", ('return "words" if', 'return "words" if True or'))
    number = project.propose("lying", {"gitops/content.py": lying}, "Only words, honestly")
    run = project.run()
    assert run.jobs["plan"].outputs["kind"] == "words" and conclusions(run)["test"] == "skipped"
    assert conclusions(run)["report"] == conclusions(run)["required"] == "failure", run.log
    text = report(project, number)
    assert "Plan took it for a change of kind words" in text and "model, as the base branch finds" in text
    project.approve(number)
    assert not mergeable(project, number)


def test_the_same_inputs_take_what_was_made_before(
    project: Project, first: tuple[int, Run], second: tuple[int, Run]
) -> None:
    """Same content key as main's release: nothing is trained, and what it made is handed on."""
    number, run = second
    text = report(project, number)
    assert heading(text) == "🟢 Ready to merge", run.log
    assert "was restored, not trained" in text
    assert TRAINS not in run.jobs["train"].log
    digest = re.compile(r"Model <code>(sha256:\w+)")
    assert digest.findall(text) == digest.findall(report(project, first[0]))
    made = {"name": f"pipeline-{run.jobs['plan'].outputs['key']}"}
    artifacts = project.call("GET", f"actions/artifacts?name={made['name']}")["artifacts"]
    assert {artifact["workflow_run"]["id"] for artifact in artifacts} == {project.github.runs[0].id}


def test_what_is_kept_holds_no_rows_and_ends(project: Project, first: tuple[int, Run]) -> None:
    """Rows leave with the run; what people and later runs need stays as long as they may."""
    kept = {"data": 1, "pipeline": 1, "candidate": 1} | {f"fitted-{first[1].jobs['plan'].outputs['key']}": 90}
    artifacts = project.call("GET", f"actions/runs/{first[1].id}/artifacts")["artifacts"]
    for artifact in artifacts:
        began, ends = (datetime.fromisoformat(artifact[at]) for at in ("created_at", "expires_at"))
        assert (ends - began).days == kept.get(artifact["name"], 7), artifact["name"]
    assert set(kept) <= {artifact["name"] for artifact in artifacts}


def test_gpu_runner_trains_where_the_platform_says(project: Project, second: tuple[int, Run]) -> None:
    number, run = second
    assert run.jobs["train"].labels == ["our-gpu"]
    assert {job.labels[0] for name, job in run.jobs.items() if name != "train"} == {"ubuntu-latest"}
    text = report(project, number)
    assert "on the GPU runner, about" in text and "at 2.5 an hour" in text


def test_hostile_names_harm_nothing(project: Project, second: tuple[int, Run]) -> None:
    """Branch, title and file names are nobody's shell and nobody's Markdown."""
    number, run = second
    assert heading(report(project, number)) == "🟢 Ready to merge", run.log
    assert not list(project.github.folder.rglob("pwned"))


def test_a_second_push_edits_the_one_comment(project: Project, first: tuple[int, Run]) -> None:
    """Also where somebody else wrote the marker first: it is the bot's comment that counts."""
    number = project.propose("twice", {"README.md": "Once.\n"}, "Say it twice")
    project.call(
        "POST", f"issues/{number}/comments", {"body": "<!-- gitops:report -->\nready, trust me"}, login="carol"
    )
    project.run()
    project.commit("twice", {"README.md": "Twice.\n"}, "Again")
    project.push("twice")
    project.run()
    assert heading(report(project, number)) == "🟢 Ready to merge: words alone"
    assert len(project.comments(number)) == 2


def test_worse_model_is_red_and_cannot_be_merged(project: Project, first: tuple[int, Run]) -> None:
    knobs = project.edited("params.yaml", ("epochs: 6", "epochs: 1"), ("learning_rate: ", "learning_rate: 1.0e-9 #"))
    number = project.propose("worse", {"params.yaml": knobs}, "Train for less")
    run = project.run()
    assert conclusions(run)["test"] == conclusions(run)["measure"] == conclusions(run)["required"] == "failure"
    text = report(project, number)
    assert "Not to be merged" in heading(text) and "not met" in heading(text)
    assert "average_precision" in text and "What to do" in text
    project.approve(number)
    with pytest.raises(HTTPError, match="405"):
        project.merge(number)


def test_bad_data_stops_before_training(project: Project, first: tuple[int, Run]) -> None:
    bars = project.edited("policies/data.yaml", ("minimum: 10_000", "minimum: 10_000_000"))
    number = project.propose("strict", {"policies/data.yaml": bars}, "Ask for more rows")
    run = project.run()
    assert conclusions(run) | {"checks": "", "report": ""} == {
        **{"plan": "success", "checks": "", "data": "failure", "train": "skipped", "test": "skipped"},
        **{"measure": "skipped", "report": "", "required": "failure"},
    }
    assert "rows.minimum" in report(project, number)


def test_draft_says_that_it_is_one(project: Project, first: tuple[int, Run]) -> None:
    number = project.propose("draft", {"README.md": "Not yet.\n"}, "Draft", draft=True)
    project.run()
    assert "draft" in heading(report(project, number))


def test_change_of_production_is_refused_with_a_sentence(project: Project, first: tuple[int, Run]) -> None:
    number = project.propose("ship", {"deploy/production/manifest.json": "{}\n", "NOTES.md": "\n"}, "Ship it too")
    run = project.run()
    assert conclusions(run)["plan"] == conclusions(run)["required"] == "failure"
    assert {conclusions(run)[name] for name in ("checks", "data", "train")} == {"skipped"}
    text = report(project, number)
    assert "changes `deploy/production/`" in heading(text)
    assert "split it in two" in text


def test_fork_gets_no_write_access_and_its_report_in_the_summary(project: Project, first: tuple[int, Run]) -> None:
    github = project.github
    github.call("POST", f"/repos/{project.repository}/forks", {}, login="eve")
    project.git("switch", "--quiet", "main")
    project.commit("from-a-fork", UNIT_TEST, "Test nothing from outside", login="eve")
    project.push("from-a-fork", login="eve", to="eve/card-fraud")
    with project.platform(gpu_runner="our-gpu"):
        number = project.open("eve:from-a-fork", "From outside", login="eve")
        run = project.run()
    assert run.jobs["report"].conclusion == "success", run.log
    assert project.comments(number) == []
    text = html.unescape(run.jobs["report"].summary)
    assert heading(text) == "🟢 Ready to merge"
    assert "From a fork: no GPU, no secret" in text
    assert run.jobs["train"].labels == ["ubuntu-latest"]
    assert all(level == "read" for job in run.jobs.values() for level in job.permissions.values())


def test_rerun_of_failed_jobs_keeps_what_passed(project: Project, first: tuple[int, Run]) -> None:
    """The forge fails the first report; its re-run alone makes the pull request good."""
    fault = project.github.forge.fault(r"POST /repos/.*/issues/\d+/comments", status=502)
    number = project.propose("again", {"README.md": "Again.\n"}, "Try again")
    run = project.run()
    assert fault.hits
    assert conclusions(run)["report"] == conclusions(run)["required"] == "failure"
    run.rerun_failed()
    project.github.wait()
    assert conclusions(run)["report"] == conclusions(run)["required"] == "success"
    assert heading(report(project, number)) == "🟢 Ready to merge: words alone"


def test_newer_push_cancels_the_older_run(project: Project, first: tuple[int, Run]) -> None:
    github = project.github
    number = project.propose("hurry", UNIT_TEST, "Hurry")
    project.commit("hurry", {**dict.fromkeys(UNIT_TEST), "README.md": "Words alone.\n"}, "Say it in words")
    project.push("hurry")
    project.run()
    older, newer = github.runs[-2:]
    assert older.conclusion == "cancelled"
    assert newer.conclusion == "success"
    assert heading(report(project, number)) == "🟢 Ready to merge: words alone"


def test_cancelled_run_says_so(project: Project, first: tuple[int, Run]) -> None:
    number = project.propose("stop", UNIT_TEST, "Stop")
    run = project.github.runs[-1]
    until = time.monotonic() + 300
    while not run.jobs["data"].conclusion and time.monotonic() < until:
        time.sleep(0.05)
    run.cancel()
    project.github.wait()
    assert "Cancelled" in heading(report(project, number))
    assert run.jobs["required"].conclusion != "success"


def test_a_title_starts_nothing_and_another_base_everything(project: Project, first: tuple[int, Run]) -> None:
    """Judges of another base do not count here; a title that is edited leaves the check of the commit as it is."""
    project.git("switch", "--quiet", "main")
    project.git("branch", "--force", "elsewhere", "main")
    project.push("elsewhere")
    number = project.propose("retargeted", {"README.md": "Words.\n"}, "To elsewhere", base="elsewhere")
    run = project.run()
    assert conclusions(run)["plan"] == conclusions(run)["required"] == "failure"
    assert "change its base to &#39;main&#39;" in run.jobs["report"].summary or "change its base" in run.log
    project.call("PATCH", f"pulls/{number}", {"title": "Into main"})
    edited = project.run()
    assert edited is not run and edited.jobs["required"].name != "Required"
    assert {job.conclusion for name, job in edited.jobs.items() if name != "required"} == {"skipped"}
    project.approve(number)
    assert not mergeable(project, number)
    project.call("PATCH", f"pulls/{number}", {"base": "main"})
    assert project.run().conclusion == "success", project.run().log
    assert heading(report(project, number)) == "🟢 Ready to merge: words alone"


# --- the judge and the bars of the base decide, those of the change where they are stricter --------------------------

GREEN = dict.fromkeys(("plan", "checks", "data", "train", "test", "measure", "report", "required"), "success")
RED = GREEN | dict.fromkeys(("measure", "report", "required"), "failure")


def judged(project: Project, name: str, files: Mapping[str, str | None]) -> tuple[Run, str]:
    """The run of a pull request, and what it reports."""
    project.propose(name, files, f"Change {name}")
    run = project.run()
    return run, html.unescape(run.jobs["report"].summary)


def test_bars_that_move_and_are_met_are_green_and_listed(project: Project, first: tuple[int, Run]) -> None:
    """One that is stricter and holds; a case of behaviour that goes, which is tried all the same."""
    bars = project.edited("policies/model.yaml", ("roc_auc: {minimum: 0.7}", "roc_auc: {minimum: 0.71}"))
    cases = yaml.safe_load(project.read("policies/behaviour.yaml"))
    gone = cases["invariance"].pop()["case"]
    files = {"policies/model.yaml": bars, "policies/behaviour.yaml": yaml.safe_dump(cases)}
    run, text = judged(project, "stricter", files)
    assert conclusions(run) == GREEN, run.log
    assert "🟢 Ready to merge" in text
    moved = text.partition("### Bars that change")[2]
    assert "metrics.roc_auc.minimum" in moved and "stricter" in moved
    assert gone in moved and "removed" in moved


def test_a_stricter_bar_that_does_not_hold_is_red(project: Project, first: tuple[int, Run]) -> None:
    bars = project.edited("policies/model.yaml", ("roc_auc: {minimum: 0.7}", "roc_auc: {minimum: 0.999}"))
    run, text = judged(project, "too-strict", {"policies/model.yaml": bars})
    assert conclusions(run)["test"] == conclusions(run)["required"] == "failure", run.log
    assert conclusions(run)["report"] == "success"  # the bars of the base are met
    assert "at least 0.999" in text


def test_a_loosened_bar_does_not_pass_the_model_it_is_for(project: Project, first: tuple[int, Run]) -> None:
    bars = project.edited("policies/model.yaml", (f"bytes: {BYTES}", f"bytes: {10 * BYTES}"))
    knobs = project.edited("params.yaml", ("- 32\n", "- 256\n"))
    run, text = judged(project, "looser", {"policies/model.yaml": bars, "params.yaml": knobs})
    assert conclusions(run) == RED, run.log
    assert "1 bar is not met" in text
    assert f"at most {BYTES:,}, by the judge and the bars of the base branch" in text
    assert str(10 * BYTES) in text.partition("### Bars that change")[2]


def test_another_image_in_the_base_is_red(project: Project, first: tuple[int, Run]) -> None:
    path = "deploy/base/deployment.yaml"
    other = project.edited(path, ("image: service", "image: docker.io/evil/scorer"))
    run, text = judged(project, "image", {path: other})
    assert conclusions(run) == GREEN | {"report": "failure", "required": "failure"}, run.log
    assert f"deploy in {path}: the image 'docker.io/evil/scorer' is not" in re.sub("</?code>", "", text)


def test_a_change_to_the_judge_does_not_judge_itself(project: Project, first: tuple[int, Run]) -> None:
    """All of its own jobs are green: the model learned nothing, the judge finds nothing, the tests ask nothing."""
    judge = project.edited(
        "pipeline/policy/judges.py", ("judge.violations(measured, policy),", "judge.violations(measured, policy)[:0],")
    )
    knobs = project.edited("params.yaml", ("learning_rate: 0.006", "learning_rate: 1.0e-9"))
    files = {
        "pipeline/policy/judges.py": judge,
        "params.yaml": knobs,
        "tests/test_policy.py": NOTHING,
        "tests/example/model/test_behaviour.py": NOTHING,
    }
    run, text = judged(project, "gutted", files)
    assert conclusions(run) == RED, run.log
    assert "Not to be merged" in text
    assert "metrics.average_precision.minimum" in text and "base branch" in text


def test_a_measurement_that_flatters_is_not_what_counts(project: Project, first: tuple[int, Run]) -> None:
    """The change's own jobs find a model as good as they like; main's code measures it, and both are shown."""
    flattering = project.edited(
        "pipeline/tasks/binary.py",
        ("lambda: roc_auc(positive, rows),", "lambda: np.maximum(roc_auc(positive, rows), 0.95),"),
    )
    knobs = project.edited("params.yaml", ("learning_rate: 0.006", "learning_rate: 1.0e-9"))
    bars = re.sub(
        r"(average_precision|recall_at_precision_90|entity_precision_100): {minimum: [\d.]+}",
        r"\1: {minimum: 0}",
        project.read("policies/model.yaml"),
    )
    run, text = judged(
        project,
        "flattering",
        {"pipeline/tasks/binary.py": flattering, "params.yaml": knobs, "policies/model.yaml": bars},
    )
    assert conclusions(run)["measure"] == conclusions(run)["required"] == "failure", run.log
    assert "metrics.roc_auc.minimum" in text and "The change measures otherwise" in text
    assert re.search(r"\| roc auc \| 0\.\d+ \| 0\.95", text, re.IGNORECASE)


def test_another_name_alone_escapes_no_bar(project: Project, first: tuple[int, Run]) -> None:
    """Nor does another identity under the old name."""
    contract = project.read("contract.yaml")
    bars = project.edited("policies/model.yaml", ("roc_auc: {minimum: 0.7}", "roc_auc: {minimum: 0}"))
    knobs = project.edited("params.yaml", ("learning_rate: 0.006", "learning_rate: 1.0e-9"))
    files = {"contract.yaml": contract.replace("problem: card-fraud", "problem: churn"), "params.yaml": knobs}
    run, text = judged(project, "renamed", files | {"policies/model.yaml": bars})
    assert conclusions(run)["measure"] == "failure", run.log
    assert "The problem has another name" in text and "This replaces the problem" not in text
    assert "metrics.roc_auc.minimum" in text


# --- a queue ---------------------------------------------------------------------------------------------------------


def test_a_merge_queue_checks_the_merge_and_takes_it(project: Project, first: tuple[int, Run]) -> None:
    """The group has no pull request to comment on: its report is in the summary alone. Last, as it moves main."""
    everything = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
    ruleset = {"name": "Queue", "enforcement": "active", "conditions": everything, "rules": [MERGE_QUEUE]}
    project.call("POST", "rulesets", ruleset, login=OWNER)
    number, _ = first
    project.approve(number)
    with pytest.raises(HTTPError, match="405"):
        project.merge(number)
    pull = project.call("GET", f"pulls/{number}")
    project.github.call("POST", "/graphql", {"query": ENQUEUE, "variables": {"id": pull["node_id"]}}, login="bob")
    project.github.wait()
    run = next(run for run in reversed(project.github.runs) if run.event.name == "merge_group")
    assert run.conclusion == "success", run.log
    assert heading(html.unescape(run.jobs["report"].summary)) == "🟢 Ready to merge"
    merged = project.call("GET", f"pulls/{number}")
    assert merged["merged"] and merged["merge_commit_sha"] == run.event.sha
    assert len(project.comments(number)) == 1


def test_the_bake_is_that_of_a_user(template: Path) -> None:
    """Nothing in `gitops` or in a workflow knows that it is rehearsed."""
    folder = template / "{{cookiecutter.project_slug}}"
    for path in [*(folder / "gitops").rglob("*"), *(folder / ".github").rglob("*")]:
        if path.is_file():
            assert not re.search(r"rehears|\bforge\b|nektos|\bACT\b|127\.0\.0\.1", path.read_text()), path
