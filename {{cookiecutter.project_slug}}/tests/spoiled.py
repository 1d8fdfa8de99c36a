"""Tables that are spoiled, each in one way: what `make adopt` has to refuse in a sentence, and a word of it.

A table is told by its file's name. What cannot be read is in UNREADABLE; what can be, and has no value, in NOTHING; and
in UNTOLD that of which a column cannot be told, with the column. `label` is the column that is to be predicted.
"""

import gzip
import json
from collections.abc import Callable, Iterable
from io import BytesIO

import polars as pl

HEADER = "when,amount,kind,label"


def lines(rows: Iterable[str], header: str = HEADER, end: str = "\n") -> bytes:
    """A CSV of these rows."""
    return end.join([header, *rows, ""]).encode()


def good(rows: int = 400) -> list[str]:
    """Rows that nothing is wrong with."""
    return [f"2024-{1 + i % 12:02}-{1 + i % 28:02},{i % 17 + i / 8},{'abc'[i % 3]},{i % 2}" for i in range(rows)]


def but(number: int, line: str) -> bytes:
    """The good rows, one of them replaced; it stands in line `number + 2`."""
    rows = good()
    rows[number] = line
    return lines(rows)


def column(make: Callable[[int], str], name: str = "amount") -> bytes:
    """The good rows, with other values in a column."""
    at = HEADER.split(",").index(name)
    rows = [row.split(",") for row in good()]
    return lines(",".join([*row[:at], make(i), *row[at + 1 :]]) for i, row in enumerate(rows))


def parquet(table: pl.DataFrame) -> bytes:
    """A parquet file."""
    table.write_parquet(content := BytesIO())
    return content.getvalue()


WIDE = ",".join(f"c{i}" for i in range(1_000))
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "has 0 bytes"),
    "blank.csv": (b"\n\n  \n", "blank lines"),
    "mark_alone.csv": (b"\xef\xbb\xbf", "blank lines"),
    "header_only.csv": (lines([]), "no row"),
    "header_and_blanks.csv": (lines(["", "", ""]), "no row"),
    "one_column.csv": (lines(["1", "2"], "amount"), "one column"),
    "spaces_between.csv": (lines(["1 2", "3 4"], "amount label"), "one column"),
    "colons_between.csv": (lines(["1:2", "3:4"], "amount:label"), "one column"),
    "short_row.csv": (but(7, "2024-01-01,5.0,a"), "line 9 has 3"),
    "long_row.csv": (but(7, "2024-01-01,5.0,a,1,9"), "line 9 has 5"),
    "short_and_long.csv": (but(7, "2024-01-01,5,0,a,1\n2024-01-01,5"), "line 9 has 5, line 10 has 2"),
    "short_at_the_end.csv": (lines([*good(), "2024-01-01,5.0"]), "line 402 has 2"),
    "cut_off.csv": (lines(good())[:-9], "line 401 has"),
    "comma_in_text.csv": (but(3, "2024-01-01,5.0,a, or b,1"), "in quotes"),
    "empty_line.csv": (but(20, ""), "line 22 is empty"),
    "total_below.csv": (lines([*good(), "", "400 rows"]), "line 402 is empty"),
    "open_quote.csv": (but(5, '2024-01-01,5.0,"a,1'), "never closed"),
    "title_above.csv": (b"Orders of 2024\n" + lines(good()), "first line"),
    "comment_above.csv": (b"# made by a tool, on Monday\n" + lines(good()), "comment"),
    "two_headers.csv": (lines(["day,EUR,text,one or none", *good()], "when,amount,kind,label"), "two header lines"),
    "no_header.csv": (lines([], "1.5,2.5,3,1") + b"2.5,3.5,4,0\n" * 50, "no header"),
    "no_header_with_words.csv": (b"5.1,3.5,1.4,red\n" * 50, "no header"),
    "twice_named.csv": (lines(good(), "when,amount,amount,label"), "more than once in the header: `amount`"),
    "twice_but_for_spaces.csv": (lines(good(), "when,amount,amount ,label"), "more than once in the header: `amount`"),
    "underscore.csv": (lines(good(), "when,_amount,kind,label"), "`_amount` begins with _"),
    "long_name.csv": (lines(good(), f"when,{'a' * 101},kind,label"), "101 characters"),
    "control_in_name.csv": (lines(good(), "when,am\x07ount,kind,label"), "control character"),
    "line_end_in_name.csv": (lines(good(), 'when,"am\nount",kind,label'), "control character"),
    "thousand_columns.csv": (lines([",".join(["1"] * 1_000)] * 9, WIDE), "1,000 columns"),
    "header_too_short.csv": (lines(good(), "when,amount,kind"), "has 3 fields, the others 4"),
    "separators_at_the_end.csv": (lines([f"{row}," for row in good()]), "every line but the header"),
    "character_0.csv": (but(4, "2024-01-01,5.0,a\0,1"), "character 0"),
    "utf16_without_mark.csv": (lines(good()).decode().encode("utf-16-le"), "UTF-16"),
    "utf16_cut.csv": (lines(good()).decode().encode("utf-16")[:-1], "UTF-16"),
    "excel.csv": (b"PK\x03\x04 and more", "Excel"),
    "old_excel.csv": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more", "Excel"),
    "web_page.csv": (b"<!DOCTYPE html><html>Log in</html>", "web page"),
    "objects.csv": (json.dumps([{"amount": 1, "label": 0}]).encode(), "JSON"),
    "pointer_lfs.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
    "pointer_dvc.csv": (b"outs:\n- md5: 00\n  path: a.csv\n", "dvc pull"),
    "pickle.csv": (b"\x80\x04\x95 and more", "pickle"),
    "database.csv": (b"SQLite format 3\0 and more", "SQLite"),
    "cut_off.csv.gz": (gzip.compress(lines(good()), mtime=0)[:-40], "cannot be read"),
    "cut_off.parquet": (parquet(pl.DataFrame({"amount": [1.5], "label": [1]}))[:-20], "damaged"),
    "no_row.parquet": (parquet(pl.DataFrame({"amount": [1.5], "label": [1]}).head(0)), "no row"),
    "lists.parquet": (parquet(pl.DataFrame({"amounts": [[1, 2]], "label": [1]})), "list"),
    "bytes.parquet": (parquet(pl.DataFrame({"photo": [b"x"], "label": [1]})), "binary"),
}
NOTHING: dict[str, tuple[bytes, str]] = {
    "all_null.csv": (lines([",,,"] * 300), "holds a value"),
    "all_markers.csv": (lines(["NA,?,null,"] * 300), "holds a value"),
    "all_null.parquet": (parquet(pl.DataFrame({"amount": [None], "label": [None]})), "holds a value"),
}
UNTOLD: dict[str, tuple[bytes, str]] = {
    "label_missing.csv": (column(lambda i: ("", "NA", "?")[i % 3], "label"), "label"),
    "words_among_numbers.csv": (column(lambda i: "twelve" if i == 333 else str(i)), "amount"),
    "thousands.csv": (column(lambda i: f'"{i},250"'), "amount"),
    "thousands_of_two_kinds.csv": (column(lambda i: f'"{1 + i},250.50"' if i % 2 else f'"{1 + i}.250,50"'), "amount"),
    "money.csv": (column(lambda i: f"${i}.50"), "amount"),
    "per_cent.csv": (column(lambda i: f"{i % 7}%"), "amount"),
    "dates_of_three_kinds.csv": (
        column(lambda i: ("2024-01-15", "15/02/2024", "Jan 5 2024")[i % 3], "when"),
        "when",
    ),
    "day_or_month.csv": (column(lambda i: f"{1 + i % 12:02}/{1 + i % 11:02}/2024", "when"), "when"),
    "no_date_among_dates.csv": (column(lambda i: "soon" if i == 333 else "2024-01-15", "when"), "when"),
    "infinite.csv": (column(lambda i: "inf" if i == 333 else f"{i}.5"), "amount"),
}
