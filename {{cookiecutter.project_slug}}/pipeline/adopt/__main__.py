"""`make adopt`: reads a table, says what each column was taken for, and writes what the pipeline needs to learn.

On a repository that is adopted already, the contract that is there wins, and a table is its next delivery.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from pipeline import contract, params, source, validate
from pipeline.adopt import daily, decide, files, say, write
from pipeline.adopt.asked import Asked, day
from pipeline.adopt.decide import Choice, Roles
from pipeline.adopt.files import FOLDER
from pipeline.adopt.giveaway import giveaways
from pipeline.adopt.problem import Problem
from pipeline.adopt.profile import Profile, profile
from pipeline.adopt.table import Table, read
from pipeline.contract import CONTRACT
from pipeline.params import EVALUATION, PARAMS, BadInput, run_stage
from pipeline.policy.bars import POLICIES, load
from pipeline.policy.data import judge_data
from pipeline.reading import count

GONE = [Path("pipeline/simulate.py"), Path("pipeline/features.py"), Path("tests/example")]
"""The example, as README.md takes it out."""
STAGES, IGNORED, ROWS_IGNORED = Path("dvc.yaml"), Path(".gitignore"), Path(FOLDER, ".gitignore")
UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What would make lines of its own in .gitignore, or is no text."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Adopt a table, or add the next delivery of one that is adopted."""
    parser = argparse.ArgumentParser(prog="make adopt", description="A table becomes this repository's problem.")
    for argument in fields(Asked):
        parser.add_argument(f"--{argument.name}", default="")
    given = vars(parser.parse_args(arguments))
    asked = Asked(**{**given, "dry": given["dry"] not in ("", "0")})
    if not asked.table:
        raise BadInput(
            "TABLE: which table? A CSV or parquet file, a folder of them, or a bucket: "
            "make adopt TABLE=table.csv LABEL=column"
        )
    if UNNAMEABLE.search(f"{asked.table} {Path(asked.table).resolve()}"):
        raise BadInput(f"TABLE={asked.table!r}: the name holds a line break or another control character; rename it")
    knobs = params.load()
    if source.source_of(knobs) == source.SIMULATE:
        adopt(asked)
    elif again(asked):
        adopt(asked, anew=True)
    else:
        from pipeline.adopt.deliver import deliver

        deliver(asked, knobs)


def again(asked: Asked) -> bool:
    """Whether a table is meant to be adopted anew, not delivered: LABEL is said, and no commit has the adoption."""
    from pipeline.adopt.deliver import contradiction

    table = write.noted()["table"]
    if not (asked.label and table and write.fresh()):
        return False
    return table == str(Path(asked.table).absolute()) or contradiction(asked, contract.load()) is not None


# --- the first time ---


def adopt(asked: Asked, anew: bool = False) -> None:
    """Decide what a table is, say so, and write all of it; `anew` in the place of an adoption that no commit has.

    Raises BadInput, with nothing written.
    """
    if asked.source:
        raise BadInput(
            f"SOURCE={asked.source}: a table that is adopted has its rows in {FOLDER}/ at first; leave SOURCE out, and "
            "name another place as data.source in params.yaml later"
        )
    today = day(asked) or datetime.now(UTC).date()
    table = read(asked.table)
    profiles = profile(table, show=sys.stderr.isatty())
    roles = decide.roles(profiles, asked, table.delivered)
    profiles = decide.ordered(profiles, asked)
    if table.delivered and roles.time != table.delivered:
        del profiles[table.delivered]  # no column of the table's own
    with write.beside() as folder:
        before = write.committed(folder / "head", CONTRACT, POLICIES, STAGES) if anew else Path()
        ours, rows = settled(table, profiles, roles, folder, today, before)
        made, unmet = written(ours, rows, folder, table, before)
        stale = alone(made)
        if anew and not stale and made.keys() <= write.noted_as(made):
            print(f"nothing changes: this table is adopted like this already, and data.until is {ours.until}")
            return
        gone = [path for path in GONE if path.exists()]
        noticed = [*decide.noticed(ours.choices, profiles, ours.found, roles, asked), *say.people(ours), *unmet]
        print(say.columns(ours.choices, table))
        print(say.block("Settled", say.problem(ours)))
        print(say.block("Noticed", noticed))
        print(say.block("Not done", [say.DOES_NOT]))
        if not asked.dry:
            back = write.takes_back(made, GONE, FOLDER) if anew else ""
            write.refuse(write.uncommitted(made, gone), FOLDER, back)
            noted = {path: write.digest(new) for path, new in made.items()}
            write.publish(made, [*gone, *stale])
            write.note(asked.table, noted)
        print(say.block(say.WOULD if asked.dry else "Written", say.listed(made, gone)))
        print(say.block("Where the rows belong", say.belongs(inside(table))))
        print(say.block("Next", say.following()))


def settled(
    table: Table, profiles: Mapping[str, Profile], roles: Roles, folder: Path, today: date, before: Path
) -> tuple[Problem, Path]:
    """What the problem is, once the rows have been looked at; and the rows as the contract has them, in `folder`.

    `before` is the repository as it was before any adoption.
    """
    made, typed, label = decide.choices(profiles, roles), folder / "typed.parquet", roles.label
    daily.typed(table, profiles, made, label).sink_parquet(typed)
    found = daily.measured(typed, made, label)
    decide.refuse(found, label)
    daily.owned(typed, made)
    away, strong = giveaways(typed, made, label, found.known)
    made, rows, copies = identified(typed, decide.without(made, away, label.source), folder)
    split = decide.split(found.days, label) if found.days else None
    name = Path(table.where.rstrip("/")).name
    stem = re.sub(r"\.(csv|tsv|txt|parquet|gz)$", "", name, flags=re.IGNORECASE)
    return Problem(
        table=name,
        name=decide.problem(label.source, stem, contract.load(before / CONTRACT).problem),
        row=decide.noun(stem),
        label=label,
        choices=made,
        found=replace(found, giveaways=away, strong=strong, copies=copies),
        until=split.until if split else today,
        split=split,
    ), rows


def identified(typed: Path, made: list[Choice], folder: Path) -> tuple[list[Choice], Path, int]:
    """The columns, the rows with an identifier, and how many of them are copies where that is their hash."""
    if made[0].source:
        return made, typed, 0
    hashed = daily.hashes(typed, [c.name for c in made if c.source and (c.input or c.role == "time")])
    copies = hashed.filter(pl.col("_copy") > 1).height
    made = decide.together(made) if copies else made
    daily.name_rows(typed, hashed, [c.name for c in made if not c.source], folder / "rows.parquet")
    return made, folder / "rows.parquet", copies


def written(ours: Problem, rows: Path, folder: Path, table: Table, before: Path) -> tuple[dict[Path, Path], list[str]]:
    """Write all that changes into `folder`, and hold it against its schemas; `before`: before any adoption.

    The paths, each with where its new content lies; and the bars for data that the table does not meet.
    """
    shutil.copytree(before / POLICIES, folder / POLICIES)
    kept = {name: load(name, before / POLICIES) for name in ("drift", "promotion")}
    texts = {
        CONTRACT: files.contract(ours),
        EVALUATION: files.evaluation(ours),
        POLICIES / "model.yaml": files.model(ours),
        POLICIES / "behaviour.yaml": files.BEHAVIOUR,
        POLICIES / "log.yaml": files.log(ours),
        POLICIES / "drift.yaml": files.drift(ours, kept["drift"]),
        POLICIES / "promotion.yaml": files.promotion(ours, kept["promotion"]),
        STAGES: files.without_example((before / STAGES).read_text()),
    }
    if shown := inside(table):
        texts[IGNORED] = files.ignoring(IGNORED.read_text() if IGNORED.exists() else "", shown)

    fill(folder, texts)
    taken = contract.check(folder / CONTRACT)
    days = daily.write(rows, folder / FOLDER, taken, ours.until)
    knobs = {"data": {"until": str(ours.until)}, **params.blocks(folder / EVALUATION)}
    daily.parted(rows, taken, knobs)
    window = taken.days(knobs)
    snapshot, _ = source.taken(str(folder / FOLDER), window)
    measured = validate.measure(daily.within(rows, taken, window), taken, window)
    rest = {PARAMS: files.params(ours, snapshot), POLICIES / "data.yaml": files.data(ours, measured)}
    meant = Path(FOLDER).exists() and str(ROWS_IGNORED) in write.noted()["written"]
    if ROWS_IGNORED.exists() or not meant:  # whoever took it out of a folder that is there, meant it
        rest[ROWS_IGNORED] = files.IGNORING_ROWS
    fill(folder, rest)
    write.check(folder)
    judged = {**measured, "file": str(rows), "pinned": True}
    bars = load("data", folder / POLICIES)
    unmet = [f"{each.rule} of policies/data.yaml: {each.value}" for each in judge_data(judged, bars)]
    paths = [*texts, *rest, *(Path(FOLDER, f"{day}.parquet") for day in days)]
    return {path: folder / path for path in paths}, unmet


def alone(made: Mapping[Path, Path]) -> list[Path]:
    """The daily files of an earlier adoption, which go.

    Raises BadInput where the folder holds others, of whoever: they would be read as this table's.
    """
    there, ours = [path for path in Path(FOLDER).glob("*.parquet") if path not in made], write.as_written()
    if others := sorted(path.name for path in there if path not in ours):
        raise BadInput(
            f"{FOLDER} holds {count(len(others), 'file')} of days that this table does not have, such as {others[0]}; "
            f"move that folder away, then run this again"
        )
    return there


def fill(folder: Path, texts: Mapping[Path, str]) -> None:
    """Write texts into a folder."""
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())


def inside(table: Table) -> str:
    """Where the table lies in the repository, to be kept from git; empty where it does not lie there."""
    path, here = Path(table.where).resolve(), Path.cwd().resolve()
    within = "://" not in table.where and path.is_relative_to(here)
    return str(path.relative_to(here)) if within else ""


if __name__ == "__main__":
    run_stage(main)
