"""What another checkout has made, measured by this one: its bytes are data here, and none of them is run but the Bento.

    python -m pipeline.candidate hand-over FOLDER    there: collects what is to be measured
    python -m pipeline.candidate take FOLDER         here: puts it in place
    python -m pipeline.candidate join                here: takes who the rows are, and their labels, from the source

`make measure CANDIDATE=FOLDER` takes it, reads the source again, joins, measures everything, and only then judges.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from pipeline import contract, families, params, profile, rows, tasks
from pipeline.bento import BENTO
from pipeline.contract import CONTRACT, Contract
from pipeline.evaluate import BASELINES, MODEL
from pipeline.model import LARGEST_MANIFEST, MANIFEST, BadModel, Model, Problem, load
from pipeline.params import EVALUATION, MEASURES, PARAMS, BadInput, run_stage
from pipeline.personal import named
from pipeline.places import first_line, replacing
from pipeline.reading import count, shown
from pipeline.rows import FEATURES, SOURCE

LARGEST = {
    PARAMS: 2**20,
    EVALUATION: 2**20,
    CONTRACT: 2**20,
    FEATURES: 8 * 2**30,
    BASELINES: 2 * 2**30,
    profile.PROFILE: 16 * 2**20,
    BENTO: 2 * 2**30,
}
"""What a candidate consists of, beside the model directory, and the bytes that each may have."""
LARGEST_MODEL = 2 * 2**30  # bytes of each of its files
ASKED = ("type", "missing", "categories", "minimum", "maximum")
"""What a contract says of an input, beside its name; levels and words are the model's own."""


def hand_over(folder: Path) -> None:
    """Copy what is to be measured into the folder, in the place of an earlier candidate. Raises BadInput."""
    clear(folder, lambda path: path in LARGEST or path.parent == MODEL)
    for path in (*LARGEST, *(MODEL / name for name in model_files(Path()))):
        if not path.is_file():
            raise BadInput(f"{path} is not there to be handed over; make it with `make data model service`")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path)
    print(f"{folder}: {sum(path.stat().st_size for path in folder.rglob('*')):,} bytes")


def clear(folder: Path, ours: Callable[[Path], bool]) -> None:
    """Remove what an earlier `hand-over` has left in the folder. Raises BadInput where it holds anything else."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if not path.is_dir() and not ours(inside):
            raise BadInput(f"{folder} holds {inside}, which is nobody's to remove; name an empty folder")
    shutil.rmtree(folder, ignore_errors=True)


def take(folder: Path) -> None:
    """Put the folder's files in place. Raises BadInput for the first thing in it that is no candidate's."""
    found = set(plain_files(folder))
    if missing := LARGEST.keys() - found:
        raise BadInput(f"{folder} is no candidate: {min(missing)} is missing; make it again with `hand-over`")
    expected = {**LARGEST, **{MODEL / name: LARGEST_MODEL for name in model_files(folder)}}
    if strange := found ^ expected.keys():
        wrong = "is no part of it" if min(strange) in found else "is missing"
        raise BadInput(f"{folder} is no candidate: {min(strange)} {wrong}; make it again with `hand-over`")
    for path, most in expected.items():
        if (size := (folder / path).stat().st_size) > most:
            raise BadInput(f"{folder / path} has {size:,} bytes; at most {most:,} are taken")
    hold(folder)
    shutil.rmtree(MODEL, ignore_errors=True)
    for path in expected.keys() - {EVALUATION, CONTRACT}:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, path)
    learned(folder / EVALUATION)
    classes(folder / CONTRACT)
    print(f"took {len(expected)} files from {folder}")


def hold(folder: Path) -> None:
    """Hold what the model says of itself against the contract and the knobs that lie beside it, and its profile to it.

    These are the request's own, which `python -m gitops knobs` puts there: it may change its contract, whose owners
    approve that, and is measured by ours all the same. Raises BadInput with all that differs, a line each.
    """
    ours, family = contract.check(folder / CONTRACT), params.blocks(folder / PARAMS, "train")["train"].get("family")
    try:
        theirs = load(folder / MODEL)
    except BadModel as error:
        raise BadInput(str(error)) from None
    if lies := [
        f"{MODEL / MANIFEST}: {place} is {shown(said)}, and {where} says {shown(wanted)}; export the model as it says"
        for place, said, where, wanted in claims(theirs, ours, family)
        if repr(said) != repr(wanted)  # as 1, 1.0 and true are equal
    ]:
        raise BadInput("\n".join(lies))
    profile.load(folder / profile.PROFILE, theirs)


def claims(theirs: Model, ours: Contract, family: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """What a manifest says: the place, the value, the file that knows better, and what it says."""
    for name, wanted in asdict(Problem.of(ours)).items():
        yield f"problem.{name}", getattr(theirs.problem, name), str(CONTRACT), wanted
    yield "family", theirs.family, str(PARAMS), family
    named, known = ([column.name for column in columns] for columns in (theirs.inputs, ours.inputs))
    for name in dict.fromkeys((*named, *known)):
        said, wanted = ("an input" if name in names else "no input" for names in (named, known))
        yield f"inputs.{name}", said, str(CONTRACT), wanted
    if named != known:
        if {*named} == {*known}:
            yield "the order of inputs", ", ".join(named), str(CONTRACT), ", ".join(known)
        return
    for asked, column in zip(theirs.inputs, ours.inputs, strict=True):
        for name in ASKED:
            yield f"inputs.{column.name}.{name}", getattr(asked, name), str(CONTRACT), getattr(column, name)


def learned(theirs: Path) -> None:
    """From how many days it learned, and what it decides by, is the candidate's to say; how it is tested is ours.

    Raises BadInput where it is tested on fewer days, or on a smaller share, than here: it may have learned from the
    others.
    """
    ours, said = params.blocks(EVALUATION, *MEASURES), params.blocks(theirs, *MEASURES)
    settled_by = tasks.task(contract.load().task).SETTLED_BY
    ours["evaluate"] |= {knob: said["evaluate"][knob] for knob in settled_by if knob in said["evaluate"]}
    if "share" in ours["split"]:
        if (share := params.share(said)) < params.share(ours):
            raise BadInput(
                f"{EVALUATION}: the candidate leaves {share:g} of the rows to its test, and {params.share(ours):g} are "
                "tested here; leave at least as many, or have an administrator merge fewer"
            )
        ours["split"]["share"] = share  # by its hash, a row that is tested here is tested there too
        ours["split"]["calibrate"] = params.calibrated(said)
        EVALUATION.write_text(yaml.safe_dump(ours, sort_keys=False))
        return
    asked, tested = params.count(ours, "test"), params.count(said, "test")
    if tested < asked:
        raise BadInput(
            f"{EVALUATION}: the candidate leaves {count(tested, 'day')} to its test, and {asked} are tested here; "
            "leave at least as many, or have an administrator merge fewer"
        )
    ours["split"] |= {part: params.count(said, part) for part in ("train", "calibrate")}
    EVALUATION.write_text(yaml.safe_dump(ours, sort_keys=False))


def classes(theirs: Path) -> None:
    """Which classes there are, and their order, is the candidate's contract to say, whose owners approve it.

    By ours no class could come or go. None escapes its exam so: a label that is no class is refused where it is read.
    """
    ours, said = contract.load(), contract.check(theirs)
    several = said.label.positive is None and bool(said.label.values)
    if several and ours.task == said.task and said.label.values != ours.label.values:
        whole = yaml.safe_load(CONTRACT.read_text())
        whole["label"]["classes"] = list(said.label.values)
        CONTRACT.write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))
        print(f"{CONTRACT}: label.classes are the candidate's, {', '.join(map(shown, said.label.values))}")


def plain_files(folder: Path, by: str = "pipeline.candidate") -> Iterator[Path]:
    """The files below a folder that a module has handed over, relative to it.

    Raises BadInput for a link, or what is neither file nor folder.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise BadInput(f"{folder} is no folder; name the one that `python -m {by} hand-over FOLDER` has written")
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput(f"{path} is a link or no plain file; nothing of it is taken")
        if path.is_file():
            yield Path(path.name)
        else:
            yield from (Path(path.name) / inside for inside in plain_files(path))


def model_files(folder: Path) -> list[str]:
    """The names of the files in the folder's model directory, as its manifest says. Raises BadInput if it cannot."""
    manifest = folder / MODEL / MANIFEST
    try:
        if (size := manifest.stat().st_size) > LARGEST_MANIFEST:
            raise ValueError(f"it has {size:,} bytes; at most {LARGEST_MANIFEST:,} are taken")
        names = [MANIFEST, *json.loads(manifest.read_text())["files"]]
        if strange := [name for name in names if Path(name).name != name]:
            raise ValueError(f"it names {strange[0]!r}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{manifest} is no manifest of a model ({error}); make it with `make model`") from None
    return names


def join() -> None:
    """Replace what the features say of who and when a row is, of its label and its weight, by what the source says.

    So is every other column of the source, but those that the model asks for where the contract has them computed:
    what is no features.py's to make is no candidate's to say. The contract is this checkout's. Raises BadInput where
    the model asks for the label or the identifier, and where a row from the first training day to the last test day is
    missing or there twice. The days between count too, as a positive on them makes an entity known. Rows that the
    source does not have go.
    """
    ours = contract.load()
    knobs = params.load()
    days = ours.days(knobs)
    try:
        inputs = {column.name for column in load(MODEL).inputs}
    except BadModel as error:
        raise BadInput(str(error)) from None
    if told := sorted(name for name in inputs if name in (ours.id, ours.label.column) or name.startswith("_")):
        raise BadInput(f"{MODEL} asks for {told[0]}, which is not known or says nothing when a row is scored")
    features, source = read(FEATURES), rows.placed(read(SOURCE), ours, knobs)
    theirs = known(features, source, inputs, ours)
    table = joined(features, theirs, (days.train[0], days.test[1]), ours)
    tested = table.filter(pl.col(ours.time).dt.date().is_between(*days.test)).drop_nulls(rows.LABEL)
    check_baselines(read(BASELINES), tested.select(pl.col(ours.id).alias(rows.ID)), ours)
    with replacing(FEATURES) as temporary:
        table.write_parquet(temporary)
    rows.remember(table, days.train, ours)
    replaced = ", ".join(name for name in theirs.columns if name != ours.id)
    print(f"{FEATURES}: {replaced} of {len(table):,} rows are the source's")


def known(features: pl.DataFrame, source: pl.DataFrame, inputs: set[str], ours: Contract) -> pl.DataFrame:
    """What the source says of its rows: who they are, their labels, and every column that is not computed."""
    who = rows.identified(source, ours)
    asked = {*features.columns, *rows.hashed(ours)} - set(who.columns)
    if ours.computed is not None:  # by a contract of its own, a candidate may lack what a row is known by
        asked -= inputs & set(features.columns)
    read = inputs | {column.name for column in ours.inputs}
    columns = (
        rows.read(column, ours) if column.name in read else pl.col(column.name)
        for column in ours.columns
        if column.name in asked
    )
    return who.join(source.select(ours.id, *columns), on=ours.id, maintain_order="left")


def joined(features: pl.DataFrame, source: pl.DataFrame, span: tuple[date, date], ours: Contract) -> pl.DataFrame:
    """The features in the source's order, with the source's columns; every row of the span is there once."""
    name = ours.id
    if features.schema.get(name) != source.schema[name]:
        found = features.schema.get(name, "not there")
        raise BadInput(f"{FEATURES}: {name} is {found}, and {source.schema[name]} in {SOURCE}: the rows must keep it")
    asked = source.filter(pl.col(ours.time).dt.date().is_between(*span)).sort(ours.time, name)
    for problem, wrong in (
        ("are there more than once", features.filter(pl.col(name).is_duplicated()).unique(name, maintain_order=True)),
        (f"of {span[0]} to {span[1]} are missing", asked.join(features, on=name, how="anti")),
    ):
        if len(wrong):
            raise BadInput(
                f"{FEATURES}: {len(wrong):,} rows {problem}, the first with {named(name, wrong[name][0])}; each has to "
                "be there once: no row may be left out of its own exam"
            )
    replaced = [column for column in features.columns if column in source.columns or column.startswith("_")]
    said = features.drop(set(replaced) - {name})
    return asked.join(said, on=name, how="left", maintain_order="left")


def check_baselines(said: pl.DataFrame, tested: pl.DataFrame, ours: Contract) -> None:
    """Raises BadInput where baselines say nothing of a test row, two things, or what no model of the task may say.

    `tested` holds the rows' identifiers as `_id`; in messages they are called by their name.
    """
    name, task, problem = ours.id, tasks.task(ours.task), Problem.of(ours)
    if said.schema.get(rows.ID) != tested.schema[rows.ID] or said[rows.ID].is_duplicated().any():
        raise BadInput(f"{BASELINES}: each {name} has to be there once, as {rows.ID}, with what each baseline says")
    if other := [column for column in said.columns if column not in (rows.ID, *families.NAMES)]:
        raise BadInput(
            f"{BASELINES}: {other[0]!r} is no column of a baseline's, which are {', '.join(families.NAMES)}; "
            "make it with `make model`"
        )
    lost = tested.join(said, on=rows.ID, how="anti")
    if len(lost):
        raise BadInput(
            f"{BASELINES}: nothing is said of {len(lost):,} test rows, the first with {named(name, lost[rows.ID][0])}"
        )
    for column in said.columns:
        if column != rows.ID and not tasks.sound(said[column], task, problem):
            raise BadInput(
                f"{BASELINES}: {column} says what no model of the task {ours.task} may say; make it with `make model`"
            )


def read(path: Path) -> pl.DataFrame:
    """A table. Raises BadInput where it is damaged, in whatever way."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise BadInput(f"{path} cannot be read ({first_line(error)}); make it again") from None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.candidate", description="Another checkout's model.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("hand-over", "take"):
        commands.add_parser(name).add_argument("folder", type=Path)
    commands.add_parser("join")
    asked = parser.parse_args()
    if asked.command == "join":
        join()
    else:
        {"hand-over": hand_over, "take": take}[asked.command](asked.folder)


if __name__ == "__main__":
    run_stage(main)
