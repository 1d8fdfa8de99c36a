"""Profiling somebody's table, beside a bare scan of the same file, in time and memory: a CSV and a parquet file.

Of a million rows by 30 mixed columns; BENCH_ROWS says another number, such as 10000000. CPU seconds, which a machine
that others use stretches less, stand beside those of the clock.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

BAKE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
ROWS = int(os.environ.get("BENCH_ROWS", 1_000_000))
PART = 1_000_000


def rows() -> Iterator[dict[str, Any]]:
    """Each in a process of its own, with its imports: the better of two."""
    from tests.bench.data import row  # in the processes of their own, `tests` is the bake's

    with TemporaryDirectory() as folder:
        for path in made(Path(folder), ROWS):
            ours, bare = ([measured(version, path) for _ in range(2)] for version in ("ours", "bare"))
            peak = max(run["peak"] for run in ours)
            kind = path.suffix[1:]
            for unit in ("s", "CPU s"):
                fast, slow = (min(run[unit] for run in runs) for runs in (ours, bare))
                what = f"profile {ROWS:,} rows by 30, {kind}, bare scan beside"
                yield row(what, fast, slow, unit, fast / slow, ("<=", 5))
            yield row(f"its peak memory, {kind}", peak, None, "GiB", peak, ("<=", 4))


def measured(version: str, path: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory (GiB) of one version."""
    environment = os.environ | {"PYTHONPATH": str(BAKE), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, __file__, version, str(path)]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def made(folder: Path, rows: int) -> list[Path]:
    """The table as CSV and as parquet, made a part at a time."""
    import polars as pl

    parts = []
    with (folder / "table.csv").open("wb") as file:
        for first in range(0, rows, PART):
            table = part(first, min(PART, rows - first))
            table.write_csv(file, include_header=not first)
            parts.append(folder / f"{first}.part")
            table.write_parquet(parts[-1])
    pl.scan_parquet(parts).sink_parquet(folder / "table.parquet")
    for path in parts:
        path.unlink()
    return [folder / "table.csv", folder / "table.parquet"]


def part(first: int, rows: int) -> Any:
    """Rows of identifiers, moments, numbers, counts, categories, booleans and text, some of them missing."""
    import numpy as np
    import polars as pl

    rng, at = np.random.default_rng(first), np.arange(first, first + rows)
    levels = np.array([f"level {number}" for number in range(5_000)])
    columns: dict[str, Any] = {
        "id": at,
        "key": pl.Series(at).hash(1).cast(pl.String),
        "when": pl.Series(at * 3_000_000 + 1_500_000_000_000_000).cast(pl.Datetime("us")),
        "day": pl.Series((at // 30_000 + 17_000).astype(np.int32)).cast(pl.Date),
        "entity": rng.integers(0, 200_000, rows),
        **{f"number {each}": np.round(rng.lognormal(3, 1, rows), 2) for each in range(8)},
        **{f"exact {each}": rng.normal(size=rows) for each in range(3)},
        **{f"count {each}": rng.poisson(3 + 40 * each, rows) for each in range(5)},
        **{f"level {each}": levels[np.minimum(rng.geometric(0.3 / 3**each, rows), 4_999)] for each in range(6)},
        "yes": np.array(["No", "Yes"])[rng.integers(0, 2, rows)],
        "flag": rng.random(rows) < 0.3,
        "text": [f"{one} said {other}" for one, other in zip(*levels[rng.integers(0, 5_000, (2, rows))], strict=True)],
        "missing": rng.normal(size=rows),
    }
    table = pl.DataFrame(columns)
    there = pl.Series(rng.random(rows) > 0.03)
    return table.with_columns(
        pl.when(there).then(pl.col(name)).alias(name) for name in ("number 1", "level 1", "missing")
    )


# --- in the process of its own ---


def run(version: str, path: str) -> dict[str, float]:
    """One of them, timed."""
    import resource

    start = perf_counter()
    if version == "ours":
        from pipeline.adopt.profile import profile
        from pipeline.adopt.table import read

        profile(read(path))
    else:
        import polars as pl

        frame = pl.scan_csv(path, infer_schema=False) if path.endswith("csv") else pl.scan_parquet(path)
        frame.select(pl.all().null_count()).collect(engine="streaming")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "s": perf_counter() - start,
        "CPU s": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss * unit / 2**30,
    }


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
