"""Runs the benchmarks: `python -m tests.bench [NAME ...]` prints a table and writes build/bench.json.

Each module of this folder has `rows()`, which yields dictionaries with the keys of COLUMNS: what was measured, our
number, theirs (None where there is none), the unit, their ratio, the bar and whether it is reached.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = ("what", "ours", "theirs", "unit", "ratio", "bar", "reached")
RESULT = Path("build/bench.json")
WIDTHS = "{:<64} {:>10} {:>10} {:<8} {:>7} {:>10}  {}"


def main() -> None:
    """Ends with status 1 where a bar is not reached."""
    found = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    names = sorted(found - {"__main__", "peers", "servers"})
    asked = sys.argv[1:] or names
    if unknown := set(asked) - set(names):
        raise SystemExit(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    print(WIDTHS.format(*COLUMNS))
    rows = []
    for row in measured(asked):
        print(WIDTHS.format(*map(shown, row.values())), flush=True)
        rows.append(row)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(not all(row["reached"] for row in rows))


def measured(names: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of each benchmark, as they are done."""
    for name in names:
        for row in importlib.import_module(f"tests.bench.{name}").rows():
            yield {column: row[column] for column in COLUMNS}


def shown(value: Any) -> str:
    """A cell: three significant digits, yes or no, a dash for nothing."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "NO", None: "-"}[value]
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    main()
