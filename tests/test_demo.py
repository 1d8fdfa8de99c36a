"""The demo's page shows pull requests as they are, asks nobody for anything, and nothing that it quotes can do harm."""

import re
import shutil
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import baking, demo, problems
from tests.problems import churn
from tests.rehearsal import page
from tests.stories import STORIES, Story, Worked

REPORT = """<!-- gitops:report -->
## 🟢 Ready to merge

| | this model |
| --- | --- |
| roc auc | **0.9** |

Branch <code>x&#60;script&#62;&#42;</code>, [the run](https://forge/run/1)

<details><summary>show</summary>

inside

</details>

```mermaid
xychart-beta
    title "Training loss"
    x-axis "epoch" [1, 2]
    y-axis "loss" 0 --> 1
    line [0.2, 0.1]
```
"""


def pull(**changed: Any) -> dict[str, Any]:
    """What is seen of an open pull request, with `changed` in place."""
    side = {"ref": "main", "sha": "1" * 40}
    return {
        "pull": {
            **{"number": 7, "title": "<img src=x> & more", "merged": False, "state": "open", "commits": 1},
            **{"body": "Why: <script>alert(1)</script>"},
            **{"user": {"login": "alice"}, "base": side, "head": side | {"ref": "<b>branch</b>"}},
        },
        "files": [{"filename": "params.yaml", "additions": 1, "deletions": 1, "patch": "@@ -1 +1 @@\n-a: 1\n+a: <2>"}],
        "checks": [check("Test", "failure", 70), check("Measure", "skipped", 0)],
        "comments": [{"user": {"login": "github-actions[bot]"}, "body": REPORT}],
        "reviews": [{"user": {"login": "bob"}, "state": "APPROVED"}],
        "refusal": 'Repository rule violations found\n\nRequired status check "Required" is failing.\n\n',
        **changed,
    }


def check(name: str, conclusion: str, seconds: int) -> dict[str, Any]:
    began, ended = "2026-01-01T00:00:00Z", f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"
    return {"name": name, "conclusion": conclusion, "started_at": began, "completed_at": ended}


START = date(2018, 8, 15)
EVENTS = [
    page.Event(START, "deploy.yml records <b>model</b>", 7, "deploy"),
    page.Event(START + timedelta(weeks=1), "The world changes", mark="change"),
    page.Event(START + timedelta(weeks=1), "drift.yml: drifted", mark="drifted"),
]


def week(number: int, model: str, value: float) -> dict[str, Any]:
    """A line of traffic.py's."""
    first = START + timedelta(weeks=number)
    days = [{"day": str(first + timedelta(days=day)), "value": value or None} for day in range(7)]
    return {"first": str(first), "models": [model], "days": days, "value": value, "low": value, "high": value + 0.1}


@pytest.fixture(scope="module")
def html() -> str:
    weeks = [week(0, "sha256:aaaaaaaaaaaaaa", 0.7), week(1, "sha256:bbbbbbbbbbbbbb", 0.0)]
    links = {"the model": "card-fraud/reports/index.html", "the ledger": "#ledger"}
    entry = {"commit": "c" * 40, "model": "sha256:" + "d" * 64, "until": "2018-08-14", "subject": "<i>Merge</i>"}
    return page.render(
        "The loop", [page.shape(pull())], links, EVENTS, page.plot(weeks, 0.45, EVENTS, "Accuracy of a week"), [entry]
    )


def test_page_says_what_github_said(html: str) -> None:
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    for said in ("#7", "1 of 2 checks failed", "Test 70 s", "Measure skipped", "bob approved these changes", "alice"):
        assert said in words
    assert "Required status check &#34;Required&#34; is failing." in words
    assert '<div class="removed">-a: 1</div>' in html
    assert '<div class="added">+a: &lt;2&gt;</div>' in html


def test_report_is_drawn(html: str) -> None:
    assert "<td><strong>0.9</strong></td>" in html
    assert "<details><summary>show</summary>" in html
    assert "gitops:report" not in html
    assert html.count("data:image/svg+xml;base64,") == 2  # in light and in dark
    assert 'alt="Training loss"' in html


def test_page_asks_nobody_for_anything(html: str) -> None:
    assert not re.search(r"""(src|href|srcset)=["'](?!data:image/svg|card-fraud/|#)|url\(|@import|<script""", html)


def test_what_is_quoted_stays_words(html: str) -> None:
    assert "<img src=x>" not in html and "&lt;img src=x&gt; &amp; more" in html
    assert "<b>branch</b>" not in html
    assert "<code>x&lt;script&gt;*</code>" in html
    assert "<script>" not in html and "<i>Merge" not in html and "<b>model" not in html


def test_story_is_told_and_charted(html: str) -> None:
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
    assert "2018-08-22 drift.yml: drifted" in words
    assert 'href="#pull-7"' in html and 'id="pull-7"' in html
    assert "dddddddddddd" in words


def test_red_is_of_the_story_only_where_a_request_was_refused() -> None:
    refused, merged = (page.render("", [page.shape(each)], {}) for each in (pull(), pull(refusal="")))
    assert demo.amiss(refused) == []
    assert demo.amiss(merged) == ["1 of 2 checks failed", "✗"]
    assert demo.amiss(merged.replace("🟢 Ready", "❌ Not ready"))[-1] == "Not ready to merge"


@pytest.mark.parametrize(("look", "said"), [("bad", "cannot be judged"), ("quiet", "is not judged yet")])
def test_report_of_the_model_has_to_be_judged(look: str, said: str, bake: Path) -> None:
    html = (bake / "pipeline" / "page.html").read_text()
    assert '<li class="[[ gate.look ]]">[[ gate.said ]]</li>' in html  # where this looks for it
    assert demo.amiss(f'<li class="{look}">policies/model.yaml {said}</li>') == [f"policies/model.yaml {said}"]


def test_chart_has_what_was_measured_where_it_belongs() -> None:
    chart = page.plot([week(0, "first", 1.0), week(1, "second", 0.0)], 0.5, EVENTS, "")
    first, second = chart["weeks"]
    assert (first["y"], second["y"]) == (chart["top"], chart["bottom"])
    assert chart["bar"] == (0.5, (chart["top"] + chart["bottom"]) / 2)
    assert (first["model"], second["model"]) == (0, 1)
    assert (len(first["days"]), len(second["days"])) == (7, 0)  # a day with one label has no average precision
    deploy, change, drifted = chart["marks"]
    assert deploy["x"] == first["x"] and change["x"] == drifted["x"] == second["x"]
    assert change["y"] < drifted["y"]  # one above the other, not one on the other


@pytest.mark.parametrize(
    "written",
    [
        "<script>alert(1)</script>",
        "a <script>alert(1)</script>",
        "<details onclick=x>",
        "<!-- -- ><script> -->x<script>",
        "[x](javascript:alert(1))",
        "![<script>](https://elsewhere/x.png)",
        "```mermaid\n```\n<iframe>",
        "<code onmouseover=x>",
    ],
)
def test_markup_that_no_report_writes_is_shown_as_words(written: str) -> None:
    shown = page.markdown(written)
    assert not re.search(r"<(?!/?(p|details|summary|code|pre|picture|source|img)\b)|onclick=x>|<[^>]*https:", shown)
    assert not re.search(r"<[^>&]* on\w+=", shown)


def test_changed_words_have_to_be_there_once(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("epochs: 2\nrows: 2\n")
    assert baking.changed(tmp_path, {"params.yaml": {"epochs: 2": "epochs: 16"}}) == {
        "params.yaml": "epochs: 16\nrows: 2\n"
    }
    for words in ("epochs: 3", ": 2"):
        with pytest.raises(ValueError, match="not once"):
            baking.changed(tmp_path, {"params.yaml": {words: ""}})


def test_demo_changes_words_that_a_bake_has(bake: Path) -> None:
    story = STORIES["card-fraud"]
    for words in (story.small, story.quick):
        assert baking.changed(bake, words).keys() == words.keys()


def test_demo_changes_words_that_an_adopted_table_has(bake: Path, tmp_path: Path) -> None:
    adopted = Path(shutil.copytree(bake, tmp_path / "bake", symlinks=True))
    churn.put(adopted, tmp_path / "days")
    for words in (STORIES["churn"].small, STORIES["churn"].quick):
        assert baking.changed(adopted, words).keys() == words.keys()


@pytest.mark.parametrize(
    "story", [story for story in STORIES.values() if isinstance(story, Worked)], ids=lambda story: story.problem
)
def test_story_of_a_worked_problem_begins_where_its_data_end_and_lasts_until_it_is_learned(story: Worked) -> None:
    folder = problems.FOLDER / story.problem
    split = yaml.safe_load((folder / "policies" / "evaluation.yaml").read_text())["split"]
    bars = yaml.safe_load((folder / "policies" / "drift.yaml").read_text())
    delay = problems.contract(story.problem)["label"]["delay"]
    assert baking.changed(folder, story.quick).keys() == story.quick.keys()
    assert story.start == problems.until(story.problem) + timedelta(days=1)
    assert story.change == story.start + timedelta(weeks=story.weeks.healthy)
    learned = split["train"] + delay + split["test"] + delay  # labels of both are waited for
    assert 7 * (story.weeks.changed + story.weeks.learning) >= learned
    assert 7 * min(story.weeks.healthy, story.weeks.recovered) >= delay + bars["window"]["minimum_days"]
    assert "minimum" in bars["live"]["metrics"][story.metric] and story.clock == bool(bars["retrain"].get("every"))


@pytest.mark.parametrize(
    ("author", "stays"),
    [
        ("alice@example.org", False),
        ("1+me@users.noreply.github.com", True),
    ],
)
def test_work_of_somebody_is_moved_aside(author: str, stays: bool, tmp_path: Path) -> None:
    repository = tmp_path / "card-fraud"
    git = ["git", "-c", "user.name=x", "-c", f"user.email={author}"]
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    for message in ("Bake", "Change"):
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", message], cwd=repository, check=True)
    demo.clear(repository)
    assert not repository.exists()
    assert bool(list(tmp_path.iterdir())) is stays


def test_uncommitted_work_is_moved_aside(tmp_path: Path) -> None:
    repository = tmp_path / "card-fraud"
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    (repository / "mine").write_text("")
    demo.clear(repository)
    assert [folder.name.startswith("card-fraud-") for folder in tmp_path.iterdir()] == [True]


@pytest.mark.parametrize(
    ("error", "said"),
    [(RuntimeError("the bank is closed"), "the bank is closed"), (KeyboardInterrupt(), "interrupted")],
)
def test_failure_ends_with_a_sentence_and_the_log(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(_: Story) -> None:
        raise error

    monkeypatch.setattr(demo, "DEMO", tmp_path)
    monkeypatch.setattr(demo, "FACTS", tmp_path / "demo.json")
    monkeypatch.setattr(demo, "LOG", tmp_path / "demo.log")
    monkeypatch.setattr(demo, "tell", told)
    with pytest.raises(SystemExit) as ended:
        demo.main()
    assert f"The demo stopped: {said}\n" in str(ended.value)
    assert str(ended.value).endswith(str(tmp_path / "demo.log"))
    assert "Traceback" in (tmp_path / "demo.log").read_text()
