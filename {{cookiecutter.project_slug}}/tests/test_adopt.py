"""`make adopt` as a whole, on small tables in a repository of its own: what it writes, and when it writes nothing."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from signal import SIGHUP, SIGTERM, Signals
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import contract, ingest, params, personal, rows, validate
from pipeline.adopt import __main__ as adopt
from pipeline.adopt import giveaway, write
from pipeline.params import BadInput
from pipeline.policy import check
from pipeline.policy.bars import load
from pipeline.policy.data import judge_data
from tests import spoiled, tables

STAGES = "stages: {ingest: {deps: [pipeline/rows.py, pipeline/simulate.py, x.py], params: [data, simulate, x]}}\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with an example, in which nothing is changed; the folder that the tests work in."""
    folder = tmp_path / "repository"
    folder.mkdir()
    tables.write_policies(folder)
    tables.write_knobs(folder, tables.knobs(data={"source": "simulate"}))
    others = {
        "dvc.yaml": STAGES,
        ".gitignore": "/build/\n",
        "pipeline/simulate.py": "",
        "pipeline/features.py": "",
        "pipeline/rows.py": "",
        "tests/example/test_it.py": "",
        "tests/test_all.py": "",
    }
    for name, text in others.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    commit()
    return folder


def commit() -> None:
    """Commit all there is."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=x"], check=True)


def tree() -> dict[str, bytes]:
    """All files but git's own."""
    paths = (path for path in Path().rglob("*") if path.is_file() and path.parts[0] != ".git")
    return {str(path): path.read_bytes() for path in paths}


def subscribers(number: int = 600) -> pl.DataFrame:
    """Rows of strangers, all of it text: blanks in numbers, booleans in words, no time."""
    draw = np.random.default_rng(0)
    tenure, yearly = draw.integers(0, 60, number), draw.random(number) < 0.5
    left = draw.random(number) < np.where(yearly, 0.1, 0.5)
    return pl.DataFrame(
        {
            "customerID": [f"c-{row:04}" for row in draw.permutation(number)],
            "plan": np.where(yearly, "yearly", "monthly"),
            "partner": np.where(draw.random(number) < 0.5, "Yes", "No"),
            "tenure": tenure.astype(str),
            "paid": [f"{20.5 * month:.2f}" if month else " " for month in tenure],
            "country": "CH",
            "Churn": np.where(left, "Yes", "No"),
        }
    )


def orders(days: int = 30, a_day: int = 20, known: int | None = None) -> pl.DataFrame:
    """Rows of a shop, so many a day; labels of the first `known` days alone, where that is said."""
    draw = np.random.default_rng(1)
    at = [datetime(2024, 1, 1, 8) + timedelta(days=row // a_day, minutes=row % a_day) for row in range(40 * a_day)]
    cost = draw.gamma(2, 20, len(at)).round(2)
    returned = np.where(draw.random(len(at)) < 0.2 + 0.6 * (cost > 50), "yes", "no").tolist()
    last = (known or days) * a_day
    table = pl.DataFrame(
        {
            "order id": range(len(at)),
            "ordered at": [str(moment) for moment in at],
            "cost": cost,
            "returned": [*returned[:last], *[None] * (len(at) - last)],
        }
    )
    return table.head(days * a_day)


def flowers(number: int = 600) -> pl.DataFrame:
    """Rows of three kinds, whose lengths tell them apart in part; a few are of nobody's kind yet."""
    draw = np.random.default_rng(2)
    kind = draw.choice(np.array(["NO", "lily", "Rose"]), number, p=[0.2, 0.3, 0.5])
    length = draw.normal(np.select([kind == "lily", kind == "Rose"], [4, 5], 3), 0.8)
    return pl.DataFrame(
        {
            "plant": [f"p{row:04}" for row in range(number)],
            "length (cm)": np.abs(length).round(2),
            "colour": draw.choice(np.array(["red", "white"]), number),
            "kind": kind,
        }
    )


def flats(days: int = 30, a_day: int = 40) -> pl.DataFrame:
    """Rows of flats that were let, so many a day, each one of a street's; the rent in cents comes with the rent."""
    draw = np.random.default_rng(3)
    number = 40 * a_day
    at = [datetime(2024, 1, 1, 8) + timedelta(days=row // a_day, minutes=row % a_day) for row in range(number)]
    size = draw.gamma(9, 8, number).round(1)
    rent = (200 + 12 * size * draw.normal(1, 0.15, number)).round(2)
    return pl.DataFrame(
        {
            "flat id": range(number),
            "let at": [str(moment) for moment in at],
            "street": [f"street {row % a_day // 5}.{row // a_day}" for row in range(number)],
            "size": size,
            "paid": (rent * 100).round(-1).astype(int),
            "rent_eur": rent,
        }
    ).head(days * a_day)


@pytest.fixture
def run(repository: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`make adopt` of a table that is written as a CSV beside the repository; what it prints."""

    def runs(table: pl.DataFrame, name: str = "table.csv", **given: str) -> str:
        table.write_csv(f"../{name}")
        return said(capsys, TABLE=f"../{name}", **given)

    return runs


def said(capsys: pytest.CaptureFixture[str], **given: str) -> str:
    """What `make adopt` prints."""
    capsys.readouterr()
    adopt.main([part for name, value in given.items() for part in (f"--{name.lower()}", value)])
    return capsys.readouterr().out


def refused(work: Callable[[], Any]) -> str:
    """The sentence that it ends with, having written nothing."""
    before = tree()
    with pytest.raises(BadInput) as raised:
        work()
    assert tree() == before
    return str(raised.value)


def judged(*changed: pl.Expr) -> list[Any]:
    """What the gate of the data has against the rows, as the pipeline reads them, with columns `changed`."""
    ours, knobs = contract.check(), params.load()
    table = ingest.rows(knobs, ours).with_columns(*changed)
    measured = validate.measure(table.lazy(), ours, ours.days(knobs))
    return judge_data({**measured, "file": "x", "pinned": True}, load("data"))


# --- the first time ---


def test_a_table_without_a_time_becomes_the_problem(run: Callable[..., str]) -> None:
    before = tree()
    out = run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    ours, knobs = contract.check(), params.load()
    assert (ours.problem, ours.id, ours.dated, ours.label.positive) == ("churn", "customerID", False, "Yes")
    assert [column.name for column in ours.inputs] == ["plan", "partner", "tenure", "paid"]
    assert (
        "country: {type: category, categories: 20, input: false} # 1 level; one value"
        in Path("contract.yaml").read_text()
    )
    assert knobs["data"]["source"] == "deliveries" and knobs["data"]["until"] == "2024-02-01"
    assert knobs["split"] == {"share": 0.2, "calibrate": 0.1} and knobs["train"]["family"] == "linear"
    rows = pl.read_parquet("deliveries/2024-02-01.parquet")
    assert rows.schema["partner"] == pl.Boolean and rows.schema["paid"] == pl.Float64
    assert rows["paid"].null_count() == subscribers()["tenure"].eq("0").sum() > 0
    assert (
        rows["Churn"].value_counts().sort("Churn").rows() == subscribers()["Churn"].value_counts().sort("Churn").rows()
    )
    assert judged() == []
    gone = before.keys() - tree().keys()
    assert gone == {"pipeline/simulate.py", "pipeline/features.py", "tests/example/test_it.py"}
    kept = {name for name, content in tree().items() if before.get(name) == content}
    assert kept >= {"policies/service.yaml", "pipeline/rows.py", "tests/test_all.py"}
    assert "simulate" not in Path("dvc.yaml").read_text() and "features" not in Path("dvc.yaml").read_text()
    assert (
        "  paid        number    input   numbers, 20.5 to 1,209.5, 9 missing" in out.replace("1,189", "1,209.5") or out
    )
    ignored = subprocess.run(["git", "check-ignore", "deliveries/2024-02-01.parquet"])
    assert ignored.returncode == 0


def test_a_table_with_a_time_becomes_a_file_a_day(run: Callable[..., str]) -> None:
    run(orders(known=28).sample(fraction=1, shuffle=True, seed=0), LABEL="returned", TIME="ordered at", DELAY="2")
    ours, knobs = contract.check(), params.load()
    assert (ours.time, ours.id, ours.label.delay) == ("ordered at", "order id", 2)
    assert ours.column("returned").missing
    assert knobs["data"]["until"] == "2024-01-28" and knobs["split"] == {"train": 20, "calibrate": 3, "test": 6}
    assert len(list(Path("deliveries").glob("*.parquet"))) == 30
    rows = pl.read_parquet("deliveries/2024-01-03.parquet")
    assert rows["order id"].to_list() == list(range(40, 60))
    assert judged() == []


def bars(policy: str) -> dict[str, Any]:
    """A policy, which the schemas and the contract have let pass."""
    check.main()
    return load(policy)


def test_a_table_of_classes_becomes_the_problem(run: Callable[..., str]) -> None:
    out = run(flowers(), LABEL="kind", DATE="2024-02-01")
    ours, knobs = contract.check(), params.load()
    assert (ours.task, ours.label.values, ours.label.positive) == ("multiclass", ("NO", "Rose", "lily"), None)
    assert "category  label   label: one of 3 classes, sorted: NO, Rose, lily" in out
    assert "the classes of the known labels: Rose 49.7%, lily 29.3%, NO 21%" in out
    assert "positive" not in Path("contract.yaml").read_text() and not {"alerts", "known"} & knobs["evaluate"].keys()
    assert bars("model")["metrics"] == {"balanced_accuracy": {"minimum": 0.334}}
    assert list(bars("drift")["live"]["metrics"]) == ["balanced_accuracy"]
    assert bars("data")["label"]["parts"]["Rose"] == {"minimum": 0.24, "maximum": 0.75}
    assert judged() == []
    assert "label.parts.lily.minimum" in [each.rule for each in judged(pl.col("kind").replace("lily", "NO"))]


def test_a_table_with_a_number_becomes_the_problem(run: Callable[..., str]) -> None:
    out = run(flats(), LABEL="rent_eur", TIME="let at", GROUP="street")
    ours, knobs = contract.check(), params.load()
    assert (ours.task, ours.label.unit, ours.label.interval, ours.group) == ("regression", "EUR", 0.9, "street")
    assert "label: a number in EUR (as its name says), 424.19 to 2,829.65" in out
    assert [column.name for column in ours.inputs] == ["size"], "the rent in cents gives the rent away"
    assert knobs["split"] == {"train": 24, "calibrate": 8, "test": 6} and knobs["evaluate"]["k"] == 5
    assert ours.column("rent_eur").minimum == 0
    found = bars("model")
    assert found["metrics"].keys() == {"r2", "coverage", "width", "ndcg"}
    assert found["baselines"]["metrics"] == {"rmse": 0}
    assert 0.7 < found["metrics"]["coverage"]["minimum"] < 0.9
    assert judged() == []
    assert "label.maximum" in [each.rule for each in judged(pl.col("rent_eur") * 2)]


def test_a_ranking_is_told_first_where_labels_are_worth_something(run: Callable[..., str]) -> None:
    run(flats(), LABEL="rent_eur", TIME="let at", GROUP="street")
    assert params.load()["evaluate"]["headline"] == "ndcg" and bars("model")["metrics"]["ndcg"] == {"minimum": 0}
    debts = flats().with_columns(pl.col("rent_eur") - 1000)
    run(debts, LABEL="rent_eur", TIME="let at", GROUP="street")
    assert "headline" not in params.load()["evaluate"] and "ndcg" not in bars("model")["metrics"]


def test_what_a_hash_leaves_a_part_without_is_named_before_anything_is_written(run: Callable[..., str]) -> None:
    few = flats().drop("let at").with_columns(pl.int_range(pl.len()).mod(2).alias("house"))
    says = refused(lambda: run(few, LABEL="rent_eur", ENTITY="house", DATE="2024-02-01"))
    assert "a hash of `house` says which rows are" in says and "it has 2 values: name a column of more" in says
    rare = flowers().with_columns(
        pl.when(pl.col("plant") == "p0000").then(pl.lit("moss")).otherwise("kind").alias("kind")
    )
    tested = next(f"p{at:04}" for at in range(600) if rows.fraction(f"p{at:04}") < 0.2)
    rare = rare.with_columns(pl.when(pl.col("plant") == tested).then(pl.lit("fern")).otherwise("kind").alias("kind"))
    says = refused(lambda: run(rare, LABEL="kind", TASK="multiclass", DATE="2024-02-01"))
    assert "what is learned from holds no row whose kind is fern" in says and "join rare classes to others" in says


def test_whole_numbers_are_classes_or_a_number_as_somebody_says(run: Callable[..., str]) -> None:
    stars = flowers().with_columns(pl.int_range(pl.len()).mod(5).alias("stars")).drop("kind")
    says = refused(lambda: run(stars, LABEL="stars"))
    assert "whether these are classes or a number cannot be told" in says
    run(stars, LABEL="stars", TASK="regression", UNIT="stars", DATE="2024-02-01")
    assert contract.check().label.unit == "stars" and params.load()["split"]["calibrate"] == 0.2
    run(stars, LABEL="stars", TASK="multiclass", DATE="2024-02-01")
    assert contract.check().label.values == (0, 1, 2, 3, 4) and bars("data")["label"]["parts"].keys() == set("01234")


def test_rows_of_a_group_are_tested_together(run: Callable[..., str]) -> None:
    run(flats().drop("let at"), LABEL="rent_eur", GROUP="street", DATE="2024-02-01")
    ours, knobs = contract.check(), params.load()
    placed = rows.placed(ingest.rows(knobs, ours), ours, knobs)
    days = placed.group_by("street").agg(pl.col(ours.time).n_unique())[ours.time]
    assert placed[ours.time].n_unique() == 3 and days.max() == 1
    owners = flats().with_columns(pl.Series("owner", [f"o{row % 7}" for row in range(1200)]))
    commit()
    shutil.rmtree("deliveries")
    subprocess.run(["git", "checkout", "--quiet", "HEAD~1", "--", "."], check=True)
    says = refused(lambda: run(owners, LABEL="rent_eur", TIME="let at", GROUP="street", ENTITY="owner"))
    assert "GROUP=street: 240 groups have rows of several values of `owner`, the entity" in says


def test_dry_only_prints(run: Callable[..., str]) -> None:
    before = tree()
    out = run(subscribers(), LABEL="Churn", DRY="1")
    assert tree() == before and not Path("build").exists()
    assert "It would write, without DRY=1" in out and "customerID" in out


@pytest.mark.parametrize(
    "table, more", [(subscribers(), {"LABEL": "Churn"}), (orders(), {"LABEL": "returned", "TIME": "ordered at"})]
)
def test_a_second_run_changes_nothing(run: Callable[..., str], table: pl.DataFrame, more: dict[str, str]) -> None:
    run(table, **more)
    before = tree()
    assert run(table, **more).startswith("nothing changes")
    assert tree() == before


def test_what_nobody_committed_is_not_replaced(run: Callable[..., str]) -> None:
    with Path("contract.yaml").open("a") as file:
        file.write("# mine\n")
    Path("deliveries").mkdir()
    Path("deliveries/2024-02-01.parquet").write_text("mine too")
    Path("tests/example/mine.py").write_text("")
    Path("tests/example/__pycache__").mkdir(exist_ok=True)
    Path("tests/example/__pycache__/mine.pyc").write_text("")
    says = refused(lambda: run(subscribers(), LABEL="Churn", DATE="2024-02-01"))
    assert says.startswith("contract.yaml, tests/example/mine.py: in no commit as they are")
    rows = says.splitlines()[-1]
    assert rows.startswith("deliveries/2024-02-01.parquet: other rows than these") and "commit" not in rows


def test_an_adoption_that_no_commit_has_can_be_made_anew(run: Callable[..., str]) -> None:
    kept = tree()
    more = {"LABEL": "returned", "TIME": "ordered at"}
    run(orders(), **more)
    run(orders(days=29), **more, DELAY="2", ENTITY="order id", ID="none")
    ours = contract.check()
    assert (ours.label.delay, ours.entity, ours.id) == (2, "order id", "row")
    assert ours.problem == "returned" and not Path("deliveries/2024-01-30.parquet").exists() and judged() == []
    once = tree()
    assert run(orders(days=29), **more, DELAY="2", ENTITY="order id", ID="none").startswith("nothing changes")
    assert tree() == once
    says = refused(lambda: run(orders(days=29), **more, DELAY="thirty"))
    assert "DELAY=thirty" in says
    with Path("policies/model.yaml").open("a") as file:
        file.write("# mine\n")
    says = refused(lambda: run(orders(), **more))
    assert says.startswith("policies/model.yaml: changed since this table was adopted, and in no commit")
    subprocess.run(says.rsplit(": ", 1)[1], shell=True, check=True)
    assert {name: text for name, text in tree().items() if not name.startswith("build/")} == kept
    run(orders(), **more)
    commit()
    assert "DELAY=2: contract.yaml says 0" in refused(lambda: run(orders(), **more, DELAY="2"))


def test_rows_stay_out_of_git_when_an_adoption_is_taken_back(run: Callable[..., str]) -> None:
    subscribers().write_csv("own.csv")
    adopt.main(["--table", "own.csv", "--label", "Churn", "--date", "2024-02-01"])
    subprocess.run(["git", "checkout", "--quiet", "."], check=True)
    shown = subprocess.run(["git", "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True)
    assert "deliveries" not in shown.stdout
    run(subscribers(), LABEL="Churn", DATE="2024-02-02")
    assert [path.name for path in Path("deliveries").glob("*.parquet")] == ["2024-02-02.parquet"]
    Path("deliveries/.gitignore").unlink()
    commit()
    run(subscribers(650), DATE="2024-03-01")
    assert not Path("deliveries/.gitignore").exists(), "who took it out, wants the rows in git"
    commit()
    shutil.rmtree("deliveries")  # as in a fresh clone, where they are not in git
    run(subscribers(660), DATE="2024-04-01")
    assert subprocess.run(["git", "check-ignore", "--quiet", "deliveries/2024-04-01.parquet"]).returncode == 0


def test_outside_of_git_nothing_is_replaced(
    run: Callable[..., str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.parent))
    assert "is no git repository" in refused(lambda: run(subscribers(), LABEL="Churn"))


@pytest.mark.parametrize("fails", [1, 5, 20, 24])
def test_a_failure_while_writing_leaves_all_as_it_was(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    moves = iter(range(100))
    move = shutil.move

    def moved(source: Path, target: Path) -> None:
        if next(moves) == fails:
            raise OSError(28, "No space left on device", str(target))
        move(source, target)

    monkeypatch.setattr(write.shutil, "move", moved)
    assert "free some space there" in refused(lambda: run(subscribers(), LABEL="Churn"))


@pytest.mark.parametrize("stop", [SIGTERM, SIGHUP])
def test_who_closes_the_terminal_on_the_way_leaves_all_as_it_was(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, stop: Signals
) -> None:
    move, before = shutil.move, tree()

    def moved(source: Path, target: Path) -> None:
        move(source, target)
        if Path(target).suffix == ".parquet":
            os.kill(os.getpid(), stop)

    monkeypatch.setattr(write.shutil, "move", moved)
    with pytest.raises(SystemExit):
        run(subscribers(), LABEL="Churn")
    assert tree() == before


def test_what_a_killed_adoption_had_replaced_is_back(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    move, before = shutil.move, tree()

    def killed(source: Path, target: Path) -> None:
        if Path(source).name == "params.yaml" or Path("killed").exists():
            Path("killed").touch()
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(write.shutil, "move", killed)
        for undoes in ("remove", "shutil.rmtree"):
            patched.setattr(f"pipeline.adopt.write.{undoes}", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            run(subscribers(), LABEL="Churn")
    Path("killed").unlink()
    assert tree()["contract.yaml"] != before["contract.yaml"] and not Path("tests/example").exists()
    assert params.load()["data"]["source"] == "simulate", "else the days would be taken for a delivery"
    assert "that it had replaced are back" in run(subscribers(), LABEL="Churn", DRY="1")
    assert {name: content for name, content in tree().items() if name in before} == before


def test_what_a_killed_run_had_replaced_elsewhere_is_said_and_put_nowhere(
    run: Callable[..., str], tmp_path: Path
) -> None:
    outside = tmp_path / "outside" / "x.parquet"
    kept = write.aside(outside)
    kept.parent.mkdir(parents=True)
    kept.write_text("rows")
    assert "it had replaced lies in build/adopt/elsewhere" in refused(lambda: run(subscribers(), LABEL="Churn"))
    assert kept.exists() and not outside.exists()


def test_what_cannot_be_told_writes_nothing(run: Callable[..., str]) -> None:
    says = refused(lambda: run(orders(), LABEL="returned"))
    assert "TIME='ordered at' where it is, TIME=none where nothing says it" in says
    assert "nothing can be measured" in refused(lambda: run(subscribers(90), LABEL="Churn"))


def test_a_spoiled_table_ends_in_a_sentence_and_writes_nothing(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, (content, _) in (spoiled.UNREADABLE | spoiled.NOTHING | spoiled.UNTOLD).items():
        path = repository.parent / name
        path.write_bytes(content)
        given = {"TABLE": str(path), "LABEL": "label", "TIME": "none"}
        says = refused(partial(said, capsys, **given))
        assert says and "Traceback" not in says, name


def test_marks_of_thousands_are_asked_about_and_never_read(run: Callable[..., str]) -> None:
    def german(number: int, decimals: int) -> str:
        return f"{number:,}".replace(",", ".") + f",{number % 100:02}" * (decimals > 0)

    sold, at = np.random.default_rng(0).integers(100, 9_000, 600).tolist(), pl.int_range(pl.len())
    pieces = pl.Series("pieces", [german(number, 0) for number in sold])
    marked = subscribers().drop("paid").with_columns(pieces, pl.Series("sales", [german(number, 2) for number in sold]))
    says = refused(lambda: run(marked, LABEL="Churn"))
    assert "`sales` is written with marks of thousands" in says and "`pieces` holds numbers such as '" in says
    plain = pl.Series("sales", [f"{number},{number % 100:02}" for number in sold])
    says = refused(lambda: run(marked.with_columns(plain), LABEL="Churn"))
    assert "`pieces` holds numbers" in says and "`sales`" not in says
    rare = pl.when(at == 7).then(pl.lit("1.714")).otherwise(pl.lit("582")).alias("pieces")
    assert "write 1714, or, with" in refused(lambda: run(marked.with_columns(plain, rare), LABEL="Churn"))
    number = pl.Series("pieces", [str(number) for number in sold])
    run(marked.with_columns(number, plain), LABEL="Churn", DATE="2024-02-01")
    commit()
    cents = pl.col("sales").str.split(",").list.first()  # a delivery in which nothing says what a mark is of
    whole = marked.with_columns(cents)
    says = refused(lambda: run(whole, DATE="2024-03-01"))
    assert "`sales` holds numbers such as" in says and "`pieces` holds numbers such as" in says


# --- rows, columns and people ---


def test_all_that_cannot_be_told_is_asked_at_once(run: Callable[..., str]) -> None:
    table = (
        subscribers()
        .with_row_index("n")
        .with_columns(
            pl.lit("03/04/2024").alias("born"),
            pl.when(pl.col("n") == 7).then(pl.lit("1.234,50 EUR")).otherwise(pl.lit("99")).alias("paid"),
            pl.when(pl.col("n") % 2 == 0).then(pl.lit("left")).otherwise(pl.lit("stayed")).alias("Churn"),
        )
    )
    asked, commands = refused(lambda: run(table, LABEL="Churn")).split("\nthen, such as: ")
    assert [line.split("`")[1] for line in asked.splitlines()] == ["born", "Churn", "paid"]
    assert all("POSITIVE=" in command for command in commands.split("\nor: "))


@pytest.mark.parametrize("order, born", [("dmy", datetime(2024, 4, 3)), ("mdy", datetime(2024, 3, 4))])
def test_a_day_and_a_month_are_not_taken_for_each_other(run: Callable[..., str], order: str, born: datetime) -> None:
    table = subscribers().with_columns(pl.lit("03/04/2024").alias("born"), pl.lit("05/04/2024").alias("moved"))
    says = refused(lambda: run(table, LABEL="Churn"))
    assert "`born`, `moved` hold dates such as 03/04/2024" in says
    assert says.endswith("or: make adopt TABLE=../table.csv LABEL=Churn DATE=mdy")
    run(table, LABEL="Churn", DATE=order, TIME="none")
    (file,) = Path("deliveries").glob("*.parquet")
    assert pl.read_parquet(file)["born"][0] == born


def test_rows_that_nothing_identifies_have_a_name_that_stays(run: Callable[..., str]) -> None:
    table = subscribers().drop("customerID")
    table = pl.concat([table, table.head(3)])
    out = run(table, LABEL="Churn", DATE="2024-02-01")
    ours = contract.check()
    assert (ours.id, ours.entity) == ("row", "content")
    assert "live quality cannot be measured" in out
    rows = pl.read_parquet("deliveries/2024-02-01.parquet")
    assert rows["row"].n_unique() == len(rows) > rows["content"].n_unique()
    assert judged() == []
    commit()
    later = pl.concat([table.tail(-1).reverse(), subscribers(700).drop("customerID").tail(5)])
    run(later, DATE="2024-03-01")
    names = pl.read_parquet("deliveries/2024-03-01.parquet")["content"]
    assert set(rows["content"]) - set(names) <= {rows["content"][0]}


def test_what_gives_the_label_away_is_no_input(run: Callable[..., str]) -> None:
    gone = pl.when(pl.col("Churn") == "Yes").then(pl.lit("moved"))
    out = run(subscribers().with_columns(gone.alias("reason")), LABEL="Churn")
    assert "reason: {type: category, categories: 20, missing: true, input: false}" in Path("contract.yaml").read_text()
    assert "`reason` gives Churn away" in out


def test_what_may_give_the_label_away_is_an_input_and_that_is_asked(run: Callable[..., str]) -> None:
    mostly = pl.when((pl.col("Churn") == "Yes") == (pl.int_range(pl.len()) % 40 > 0)).then(pl.lit("moved"))
    out = run(subscribers().with_columns(mostly.alias("reason")), LABEL="Churn")
    assert "reason: {type: category, categories: 20, missing: true}" in Path("contract.yaml").read_text()
    assert "`reason` alone ranks the rows at 0.9" in out and "write `input: false`" in out


def test_what_gives_classes_away_tells_each_of_them(run: Callable[..., str]) -> None:
    coded = pl.col("kind").replace_strict({"NO": 7, "lily": 1, "Rose": 4}).alias("code")
    one = (pl.col("kind") == "Rose").alias("thorns")
    out = run(flowers().with_columns(coded, one), LABEL="kind")
    assert {column.name for column in contract.check().inputs} == {"length (cm)", "colour", "thorns"}
    assert "`code` gives kind away (alone it ranks 1.0000)" in out


@pytest.mark.parametrize(
    "column, away",
    [
        (lambda price, _: 100 * price, True),
        (lambda price, _: -np.log(price), True),
        (lambda price, _: price.argsort().argsort(), True),
        (lambda price, _: np.array([f"{each // 10:.0f}" for each in price]), True),
        (lambda price, noise: price * (1 + 0.02 * noise), True),
        (lambda price, noise: price * (1 + 0.1 * noise), False),
        (lambda price, _: np.where(price > 300, "dear", "cheap"), False),
        (lambda price, noise: noise, False),
    ],
)
def test_what_ranks_rows_as_a_number_does_gives_it_away(column: Any, away: bool) -> None:
    draw = np.random.default_rng(0)
    price, noise = draw.gamma(4, 80, 2_000), draw.normal(size=2_000)
    assert (giveaway.of_number(pl.Series(price))(pl.Series(column(price, noise))) >= giveaway.LEAST) == away


@pytest.mark.parametrize("rank", [0.9, 0.99])
def test_what_is_merely_good_is_an_input(rank: float) -> None:
    draw = np.random.default_rng(0)
    positive = np.arange(400) < 200
    assert (
        giveaway.ranks(pl.Series(positive + draw.normal(0, 0.3 if rank > 0.95 else 0.6, 400)), positive)
        < giveaway.LEAST
    )
    assert giveaway.ranks(pl.Series(draw.random(400)), positive) < 0.7
    assert giveaway.ranks(pl.Series(np.where(positive, "a", "b")), positive) > giveaway.LEAST
    assert giveaway.ranks(pl.Series(range(400)).cast(pl.String), positive) < 0.7  # each level once


def test_people_are_kept_from_model_log_and_git(run: Callable[..., str]) -> None:
    mails = pl.concat_str(pl.lit("person"), pl.col("customerID"), pl.lit("@example.org")).alias("mail")
    shown = subscribers().with_columns(mails)
    shown.write_csv("own.csv")
    adopt.main(["--table", "own.csv", "--label", "Churn"])
    assert load("log")["personal"] == {"mail": "omit"}
    assert "mail" not in {column.name for column in contract.check().inputs}
    assert subprocess.run(["git", "check-ignore", "own.csv"]).returncode == 0


def test_who_stands_in_log_and_reports_is_said_with_the_line_that_hides_them(run: Callable[..., str]) -> None:
    buyers = orders().with_columns(pl.Series("buyer", [f"b{row % 90}" for row in range(600)]))
    more = {"LABEL": "returned", "TIME": "ordered at"}
    assert "order id`: the log" not in run(buyers, **more, ENTITY="buyer", DRY="1")
    out = run(buyers.with_columns(pl.lit("a@b.org").alias("mail")), **more, ENTITY="buyer", DRY="1")
    assert "`buyer`: the log and the reports keep it as it stands" in out
    assert "`personal: {mail: omit, buyer: hash}` in policies/log.yaml" in out
    out = run(subscribers(), LABEL="Churn")
    assert "`customerID`: the log and the reports keep it as it stands" in out
    line = out.partition("write `personal: ")[2].partition("`")[0]
    text = Path("policies/log.yaml").read_text()
    Path("policies/log.yaml").write_text(text.replace("personal: {}", f"personal: {line}"))
    assert personal.policy(personal.columns(contract.check()), Path("policies/log.yaml")).personal == {
        "customerID": "hash"
    }


def test_names_that_yaml_takes_for_something_else_are_quoted(run: Callable[..., str]) -> None:
    names = ["Yes", "1", "a: b", "größe €", "2024-01-01", "null", "- x", "#", 'it\'s "so"']
    draw = np.random.default_rng(0)
    strange = subscribers().with_columns(pl.Series(name, draw.integers(0, 9, 600)) for name in names)
    run(strange.rename({"Churn": "NO"}), LABEL="NO")
    ours = contract.check()
    assert {*names, "NO"} <= {column.name for column in ours.columns}
    assert ours.label.column == "NO" and ours.label.positive == "Yes"


def test_a_folder_of_daily_files_has_their_days(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, folder = orders().drop("ordered at"), repository.parent / "days"
    folder.mkdir()
    for day, part in enumerate(table.iter_slices(20), start=1):
        part.write_csv(folder / f"2024-01-{day:02}.csv")
    said(capsys, TABLE=str(folder), LABEL="returned")
    ours = contract.check()
    assert ours.dated and ours.column(ours.time).type == "time"
    assert params.load()["data"]["until"] == "2024-01-30" and judged() == []
    commit()
    table.head(20).with_columns(pl.col("order id") + 1000).write_csv("../next.csv")
    assert "DATE: which day is this delivery of?" in refused(lambda: said(capsys, TABLE="../next.csv"))
    said(capsys, TABLE="../next.csv", DATE="2024-01-31")
    assert params.load()["data"]["until"] == "2024-01-31" and judged() == []


def test_files_of_another_adoption_are_not_mixed_in(run: Callable[..., str]) -> None:
    Path("deliveries").mkdir()
    shutil.copyfile("dvc.yaml", "deliveries/2023-01-01.parquet")
    assert "move that folder away" in refused(lambda: run(orders(), LABEL="returned", TIME="ordered at"))


# --- the next delivery ---


def test_new_days_are_added_and_labels_that_came_since(run: Callable[..., str]) -> None:
    more = {"LABEL": "returned", "TIME": "ordered at", "DELAY": "2"}
    run(orders(known=28), **more)
    commit()
    before = tree()
    out = run(orders(days=35, known=33))
    changed = {name for name, content in tree().items() if before.get(name) != content}
    days = {f"deliveries/2024-01-{day}.parquet" for day in (29, 30, 31)}
    assert changed == {"params.yaml", *days, *(f"deliveries/2024-02-0{day}.parquet" for day in range(1, 5))}
    assert "5 days in deliveries, 2024-01-31 to 2024-02-04" in out and "40 labels of 2 days" in out
    assert params.load()["data"]["until"] == "2024-02-02"
    assert judged() == []


def test_a_day_that_is_there_with_other_rows_is_refused(run: Callable[..., str]) -> None:
    run(orders(), LABEL="returned", TIME="ordered at")
    commit()
    other = orders(days=32).with_columns(pl.when(pl.col("order id") == 45).then(1.0).otherwise("cost").alias("cost"))
    says = refused(lambda: run(other))
    assert says.startswith("this table lacks rows of 1 day in deliveries, or has other values in them")
    assert "2024-01-03.parquet: 20 rows there, 20 here" in says


def test_a_day_that_two_deliveries_share_has_the_rows_of_both(run: Callable[..., str]) -> None:
    whole = orders(days=32)
    morning = whole.head(len(whole) - 8)
    run(morning, LABEL="returned", TIME="ordered at")
    commit()
    assert "is there: 8 rows more, beside 12" in run(whole.tail(8))
    assert len(pl.read_parquet("deliveries/2024-02-01.parquet")) == 20


def test_a_day_that_comes_again_with_other_values_is_refused_where_nothing_identifies_a_row(
    run: Callable[..., str],
) -> None:
    whole = orders(days=32).drop("order id")
    run(whole.head(len(whole) - 8), LABEL="returned", TIME="ordered at")
    commit()
    corrected = whole.tail(20).with_columns(pl.col("cost").round(1) + 0.01)
    assert "2024-02-01.parquet: 12 rows there, 20 here" in refused(lambda: run(corrected))
    assert "is there: 8 rows more, beside 12" in run(whole.tail(8))


def test_a_time_by_another_name_is_not_taken_for_a_day_of_files(run: Callable[..., str]) -> None:
    run(orders(), LABEL="returned", TIME="ordered at")
    commit()
    table = orders(days=35).rename({"ordered at": "Ordered At"})
    for more in ({}, {"DATE": "2024-02-04"}):
        assert "no column `ordered at`, which contract.yaml names; it has `Ordered At`: rename it" in refused(
            partial(run, table, **more)
        )


def test_a_single_day_written_as_a_number_is_a_day_where_the_contract_says_so(run: Callable[..., str]) -> None:
    table = orders(days=31).with_columns(pl.col("ordered at").str.slice(0, 10).str.replace_all("-", ""))
    run(table.head(600), LABEL="returned", TIME="ordered at", ID="order id")
    commit()
    assert "1 day in deliveries, 2024-01-31" in run(table.tail(20))
    assert params.load()["data"]["until"] == "2024-01-31" and judged() == []


def test_numbers_that_look_like_days_stay_numbers_where_the_contract_says_so(run: Callable[..., str]) -> None:
    whole = [20240100 + row % 45 for row in range(600)]
    run(subscribers().with_columns(pl.Series("code", whole)), LABEL="Churn", DATE="2024-02-01")
    assert contract.load().column("code").type == "integer"
    commit()
    days = [20240101 + row % 30 for row in range(590)]
    run(subscribers().tail(590).with_columns(pl.Series("code", days)), DATE="2024-03-01")
    assert pl.read_parquet("deliveries/2024-03-01.parquet")["code"].max() == 20240130


def test_dates_of_the_next_delivery_are_read_as_the_adopted_ones(run: Callable[..., str]) -> None:
    table = subscribers().with_columns(
        pl.Series("since", [f"0{1 + row % 3}/0{1 + row % 7}/2023" for row in range(600)])
    )
    asked = refused(partial(run, table, LABEL="Churn", TIME="none", DATE="2024-02-01"))
    assert "DATE=2024-02-01,dmy where it comes first" in asked
    run(table, LABEL="Churn", TIME="none", DATE="2024-02-01,dmy")
    assert contract.load().column("since").format == "%d/%m/%Y"
    assert params.load()["data"]["until"] == "2024-02-01"
    commit()
    run(table.reverse().head(590), DATE="2024-03-01")
    days = [pl.read_parquet(f"deliveries/2024-0{month}-01.parquet")["since"].dt.day().max() for month in (2, 3)]
    assert days == [3, 3] and params.load()["data"]["until"] == "2024-03-01"
    says = refused(partial(run, table.head(580), DATE="2024-04-01,mdy"))
    assert "contract.yaml says that `since` is written %d/%m/%Y, and it wins; leave mdy out" in says


def test_a_day_that_the_table_holds_whole_is_replaced_and_one_that_it_does_not_is_refused(
    run: Callable[..., str],
) -> None:
    whole = orders(days=33)
    unknown = pl.when(pl.col("order id") % 20 > 3).then("returned").alias("returned")
    run(whole.head(31 * 20 + 12).with_columns(unknown), LABEL="returned", TIME="ordered at", DELAY="2")
    commit()
    other = pl.when(pl.col("order id") == 625).then(1.0).otherwise("cost").alias("cost")
    assert "  2024-02-01.parquet: 12 rows there, 20 here" in refused(lambda: run(whole.with_columns(other)))
    gone = whole.filter(pl.col("order id") != 625)
    assert "  2024-02-01.parquet: 12 rows there, 19 here" in refused(lambda: run(gone))
    out = run(whole)
    assert "2024-02-01 is there: 8 rows more, beside 12" in out and "128 labels of 32 days" in out
    assert pl.read_parquet("deliveries/2024-02-01.parquet")["order id"].to_list() == list(range(620, 640))
    assert params.load()["data"]["until"] == "2024-02-02" and judged() == []
    before = tree()
    assert run(whole).startswith("nothing changes") and tree() == before


def grown(name: str) -> pl.Series:
    """A column that contract.yaml has had since the last delivery."""
    text = Path("contract.yaml").read_text()
    Path("contract.yaml").write_text(f"{text.rstrip()}\n  {name}: {{type: category, categories: 20}}\n")
    commit()
    return pl.Series(name, ["north", "south"] * 1_000)


def test_a_contract_that_has_grown_takes_the_next_delivery(run: Callable[..., str]) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    table = subscribers().with_columns(grown("region").head(600))
    assert "`region`" not in run(table, DATE="2024-03-01")
    assert ingest.rows(params.load(), contract.load())["region"].n_unique() == 2


def test_days_that_lack_a_new_column_are_delivered_again_with_it(run: Callable[..., str]) -> None:
    run(orders(), LABEL="returned", TIME="ordered at")
    table = orders(days=31)
    table = table.with_columns(grown("region").head(len(table)))
    assert "2024-01-30.parquet: 20 rows there, 10 here" in refused(lambda: run(table.tail(30)))
    assert "30 days with values that were not there before" in run(table) and judged() == []


def test_a_first_and_a_last_day_that_are_cut_off_are_delivered_and_not_learned_from(run: Callable[..., str]) -> None:
    whole = orders(days=38)
    out = run(whole[12 : 32 * 20 - 11], LABEL="returned", TIME="ordered at")
    assert "2024-01-01, of 8 rows, and 2024-02-01, of 9, are taken for parts of days: the median day has 20" in out
    assert Path("deliveries/2024-02-01.parquet").exists() and params.load()["data"]["until"] == "2024-01-31"
    assert contract.check().days(params.load()).since == date(2024, 1, 2)
    assert load("data")["volume"]["minimum"] == 0.5 and judged() == []
    commit()
    out = run(whole[32 * 20 - 11 : 37 * 20 + 5])
    assert "2024-02-07, of 5 rows, is taken for a part of a day" in out
    assert params.load()["data"]["until"] == "2024-02-06" and judged() == []


def test_a_delivery_without_a_time_has_a_day_and_replaces_the_last(run: Callable[..., str]) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    commit()
    later = subscribers(650)
    assert "DATE: which day is this delivery of?" in refused(lambda: run(later))
    assert "goes on only" in refused(lambda: run(later, DATE="2024-01-01"))
    assert "has other values" in refused(lambda: run(later, DATE="2024-02-01"))
    run(later, DATE="2024-03-01")
    assert params.load()["data"]["until"] == "2024-03-01"
    assert ingest.rows(params.load(), contract.load()).height == 650


def test_the_same_rows_of_another_day_or_none_to_learn_from_are_refused(run: Callable[..., str]) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01", DELAY="30")
    commit()
    assert "`Churn`" not in run(subscribers(), DATE="2024-02-01")
    says = refused(lambda: run(subscribers().reverse(), DATE="2024-03-01"))
    assert says.startswith("DATE=2024-03-01: these are the rows of 2024-02-01 again")
    blank = pl.when(pl.col("customerID") < "c-0300").then("Churn").alias("Churn")
    assert "no label is known yet" in refused(lambda: run(subscribers().with_columns(Churn=None), DATE="2024-03-01"))
    run(subscribers().with_columns(blank), DATE="2024-03-01")
    assert ingest.rows(params.load(), contract.load())["Churn"].null_count() == 300 and judged() == []


def test_labels_that_a_contract_wants_at_once_are_said_to_be_able_to_come_later(run: Callable[..., str]) -> None:
    run(orders(), LABEL="returned", TIME="ordered at")
    commit()
    assert "20 rows; `missing: true` in its line lets labels come" in refused(lambda: run(orders(days=31, known=30)))
    text = Path("contract.yaml").read_text()
    Path("contract.yaml").write_text(text.replace("returned: {type", "returned: {missing: true, type"))
    run(orders(days=31, known=30))
    assert judged() == []


def test_levels_that_are_mostly_numbers_now_stay_as_they_are(run: Callable[..., str]) -> None:
    at = pl.int_range(pl.len())
    boat = pl.when(at % 3 > 0).then((at % 9).cast(pl.String)).otherwise(pl.lit("A")).alias("boat")
    rare = pl.when(at % 50 > 0).then((at % 9).cast(pl.String)).otherwise(pl.lit("A")).alias("boat")
    run(subscribers().with_columns(boat), LABEL="Churn", DATE="2024-02-01")
    commit()
    run(subscribers().with_columns(rare), DATE="2024-03-01")
    assert pl.read_parquet("deliveries/2024-03-01.parquet")["boat"].eq("A").sum() == 12


def test_labels_come_later_where_a_delay_says_so(run: Callable[..., str]) -> None:
    run(orders(), LABEL="returned", TIME="ordered at", DELAY="2")
    commit()
    assert "2 days in deliveries" in run(orders(days=32, known=30)) and judged() == []


@pytest.mark.parametrize("table, more", [(subscribers(), {"DATE": "2024-02-01"}), (orders(), {"TIME": "ordered at"})])
def test_levels_that_are_new_are_said(run: Callable[..., str], table: pl.DataFrame, more: dict[str, str]) -> None:
    size = pl.Series("size", ["small", "large"] * (len(table) // 2))
    run(table.with_columns(size), LABEL=table.columns[-1], **more)
    commit()
    if "DATE" in more:
        size[5] = "huge"
        out = run(table.with_columns(size), DATE="2024-03-01")
    else:
        later = orders(days=31)
        new = pl.when(pl.col("order id") == 605).then(pl.lit("huge")).otherwise(pl.lit("small")).alias("size")
        assert "levels" not in run(table.with_columns(size))
        out = run(later.tail(20).with_columns(new))
    assert "`size` has 1 level that no day before had: 'huge' (1 row)" in out


@pytest.mark.parametrize(
    "change, says",
    [
        (pl.lit("-5").alias("tenure"), "`tenure` is out of range in 600 rows, such as -5"),
        (pl.lit("soon").alias("tenure"), "`tenure` is of type category here, and contract.yaml says integer"),
        (pl.lit(None).alias("plan"), "`plan` is missing in 600 rows"),
        (pl.lit("perhaps").alias("Churn"), "`Churn` is unknown in 600 rows, such as perhaps"),
        (pl.lit("c-1").alias("customerID"), "`customerID` identifies a row, and 599 rows repeat another's"),
    ],
)
def test_values_that_the_contract_does_not_allow_are_refused(
    run: Callable[..., str], change: pl.Expr, says: str
) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    commit()
    assert says in refused(lambda: run(subscribers().with_columns(change), DATE="2024-03-01"))


def test_a_class_that_is_new_is_said_and_comes_last(run: Callable[..., str]) -> None:
    run(flowers(), LABEL="kind", DATE="2024-02-01")
    commit()
    tulip = pl.when(pl.col("plant") < "p0030").then(pl.lit("tulip")).otherwise("kind").alias("kind")
    later = flowers(700).with_columns(tulip)
    says = refused(lambda: run(later, DATE="2024-03-01"))
    assert "`kind` is unknown in 30 rows, such as tulip; a class that is new has to be added to `classes`" in says
    text = Path("contract.yaml").read_text()
    Path("contract.yaml").write_text(text.replace("Rose, lily]", "Rose, lily, tulip]"))
    run(later, DATE="2024-03-01")
    assert contract.check().label.values[-1] == "tulip" and judged() == []
    one = pl.lit("lily").alias("kind")
    says = refused(lambda: run(later.with_columns(one), DATE="2024-04-01"))
    assert "the labels that are known hold no row whose kind is NO or Rose or tulip, and this delivery would" in says


def test_days_of_a_number_are_delivered_and_labels_in_another_unit_are_said(run: Callable[..., str]) -> None:
    run(flats(), LABEL="rent_eur", TIME="let at", UNIT="CHF", DELAY="2")
    commit()
    for name, value in {"TASK": "binary", "UNIT": "EUR", "GROUP": "street", "POSITIVE": "1"}.items():
        assert f"{name}={value}: contract.yaml says" in refused(partial(run, flats(35), **{name: value}))
    assert "5 days in deliveries" in run(flats(35), TASK="regression", UNIT="CHF") and judged() == []
    below = pl.when(pl.col("flat id") == 1500).then(-1.0).otherwise("rent_eur").alias("rent_eur")
    assert "`rent_eur` is out of range in 1 row, such as -1.0" in refused(lambda: run(flats(40).with_columns(below)))


def test_the_contract_that_is_there_wins(run: Callable[..., str]) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    commit()
    for name, value in {"LABEL": "plan", "POSITIVE": "No", "TIME": "tenure", "ID": "plan", "DELAY": "9"}.items():
        assert f"{name}={value}: contract.yaml says" in refused(partial(run, subscribers(), **{name: value}))
    lost = refused(lambda: run(subscribers().drop("plan"), DATE="2024-03-01"))
    assert "the table has no column `plan`" in lost


def test_a_bucket_gets_the_files_too_or_it_is_said_which_to_copy(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    bucket = tmp_path / "bucket"
    shutil.move("deliveries", bucket)
    written = Path("params.yaml").read_text().replace("source: deliveries", f"source: file://{bucket}")
    Path("params.yaml").write_text(written)
    commit()
    place = {"SOURCE": f"file://{bucket}"}
    run(subscribers(650), DATE="2024-03-01", **place)
    assert (bucket / "2024-03-01.parquet").exists() and params.load()["data"]["until"] == "2024-03-01"
    commit()
    closed = "fsspec.implementations.local.LocalFileSystem.put_file"
    monkeypatch.setattr(closed, lambda *_, **__: (_ for _ in ()).throw(PermissionError("no")))
    with pytest.raises(BadInput, match="copy what lies in build/deliveries there"):
        run(subscribers(700), DATE="2024-04-01", **place)
    assert Path("build/deliveries/2024-04-01.parquet").exists()
    assert params.load()["data"]["until"] == "2024-03-01"


def test_rows_go_to_a_place_outside_where_the_command_names_it(run: Callable[..., str], tmp_path: Path) -> None:
    run(subscribers(), LABEL="Churn", DATE="2024-02-01")
    assert "leave SOURCE out" in refused(lambda: adopt.adopt(adopt.Asked("../table.csv", source="s3://mine")))
    place = f"file://{tmp_path}/bucket"
    (tmp_path / "bucket").mkdir()
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("source: deliveries", f"source: {place}"))
    commit()
    for given in ({}, {"SOURCE": "s3://other"}):
        says = refused(partial(run, subscribers(650), DATE="2024-03-01", **given))
        assert says.startswith(f"SOURCE: data.source in params.yaml is {place}, outside of this repository")
        assert says.endswith(f"make adopt TABLE=../table.csv DATE=2024-03-01 SOURCE={place}")
    run(subscribers(650), DATE="2024-03-01", SOURCE=place)
    commit()
    assert "outside of this repository" in refused(lambda: run(subscribers(660), DATE="2024-04-01"))
    run(subscribers(660), DATE="2024-04-01", SOURCE=place)
    assert len(list((tmp_path / "bucket").iterdir())) == 2


@pytest.mark.parametrize("name", ["own.csv\npipeline", "own\x1b[2J.csv", "own\u2028.csv", "own\udcff.csv"])
def test_a_table_whose_name_breaks_lines_is_refused(run: Callable[..., str], name: str) -> None:
    subscribers().write_csv("own.csv")
    Path("own.csv").rename(name)
    with pytest.raises(BadInput, match="holds a line break or another control character; rename it") as raised:
        adopt.main(["--table", name, "--label", "Churn"])
    assert str(raised.value).isprintable() and Path(".gitignore").read_text() == "/build/\n"


# --- the command ---


def test_make_hands_on_what_stands_on_its_command_line_alone(tmp_path: Path) -> None:
    shutil.copyfile(tables.ROOT / "Makefile", tmp_path / "Makefile")
    shutil.copyfile(tables.ROOT / "environment.mk", tmp_path / "environment.mk")
    given_to = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    given = ['TABLE=my "table" of $5\'s.csv', "LABEL=größe €", "DRY=1"]
    shown = ["make", "--no-print-directory", "--dry-run", "--old-file=setup", "adopt", *given]
    out = subprocess.run(shown, cwd=tmp_path, capture_output=True, text=True, env={**given_to, "ID": "shell's"})
    given = ['--table=my "table" of $5\'s.csv', "--label=größe €", "--dry=1"]
    assert shlex.split(out.stdout) == ["python", "-m", "pipeline.adopt", *given]
