"""Somebody's table: what is read, however it is written; and what is refused, in a sentence."""

import gzip
from datetime import date
from pathlib import Path

import fsspec
import polars as pl
import pytest

from pipeline.adopt import table
from pipeline.adopt.table import read
from pipeline.params import BadInput
from tests.spoiled import UNREADABLE, good, lines

ROWS = [("1,5", "a;b", "é"), ("2,25", 'say "c"\nor d', None)]
TEXT = 'x;y;z\n1,5;"a;b";é\n2,25;"say ""c""\nor d";\n'


def written(path: Path, content: bytes) -> str:
    """A file with this content."""
    path.write_bytes(content)
    return str(path)


def refusal(where: object) -> str:
    """The sentence that says why a table is not read."""
    with pytest.raises(BadInput) as refused:
        read(str(where))
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (TEXT.encode(), "CSV, separated by ;, decimal commas"),
        (TEXT.encode("utf-8-sig"), "CSV, separated by ;, decimal commas"),
        (TEXT.encode("utf-16"), "CSV, separated by ;, decimal commas, UTF-16"),
        (TEXT.encode("latin-1"), "CSV, separated by ;, decimal commas, Windows-1252"),
        (TEXT.replace("\n", "\r\n").replace("\r\nor", "\nor").encode(), "CSV, separated by ;, decimal commas"),
        (TEXT.rstrip("\n").encode() + b"\n\n\r\n\n", "CSV, separated by ;, decimal commas"),
        (gzip.compress(TEXT.encode(), mtime=0), "CSV, separated by ;, decimal commas"),
        (
            TEXT.replace("a;b", "a,b").replace(";", "|").replace("a,b", "a;b").encode(),
            "CSV, separated by |, decimal commas",
        ),
        (
            TEXT.replace("a;b", "a,b").replace(";", "\t").replace("a,b", "a;b").encode(),
            "CSV, separated by tab, decimal commas",
        ),
    ],
)
def test_a_csv_is_read_however_it_is_written(tmp_path: Path, content: bytes, kind: str) -> None:
    found = read(written(tmp_path / "table.csv", content))
    assert (found.kind, found.rows, found.decimal_comma) == (kind, 2, True)
    assert found.frame.collect().rows() == ROWS
    assert found.frame.collect_schema() == {"x": pl.String, "y": pl.String, "z": pl.String}


def test_windows_quotes_and_old_macs_line_ends_are_read(tmp_path: Path) -> None:
    found = read(written(tmp_path / "table.csv", b"a,b\r1,\x93x\x94\r2,\x81\r"))
    assert found.frame.collect().rows() == [("1", "“x”"), ("2", "\x81")]


@pytest.mark.parametrize("size", [16, 64, 1 << 24])
def test_rows_are_counted_over_any_blocks(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CHUNK", size)
    content = lines(['1,"a\n\n,""",é,4'] * 50 + good(50))
    assert read(written(tmp_path / "table.csv", content)).rows == 100
    assert "line 202 has 3" in refusal(written(tmp_path / "odd.csv", content + b"1,2,3\n"))


def test_a_character_0_is_found_beyond_the_first_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "HEAD", 200)
    assert "character 0" in refusal(written(tmp_path / "table.csv", lines([*good(), "2024-01-01,5.0,a\0,1"])))


def test_thousands_are_no_decimal_commas(tmp_path: Path) -> None:
    assert not read(written(tmp_path / "a.csv", b"a;b\n1,234;x\n2,500;y\n")).decimal_comma
    assert not read(written(tmp_path / "b.csv", b"a;b\n1,25;1.5\n2,5;3\n")).decimal_comma
    assert read(written(tmp_path / "c.csv", b"a;b\n2450,38;1.714\n2,5;3\n")).decimal_comma
    assert read(written(tmp_path / "d.csv", b"a;b\n2.450,38;1.714\n3.967,00;3.120\n")).decimal_comma


def test_a_header_without_a_name_gets_one(tmp_path: Path) -> None:
    found = read(written(tmp_path / "table.csv", b", b,column 1\n0,1,x\n1,2,y\n"))
    assert found.frame.collect_schema().names() == ["column 1 (without a name)", "b", "column 1"]
    assert found.frame.collect().rows() == [("0", "1", "x"), ("1", "2", "y")]
    assert found.renamed == {"(column 1)": "column 1 (without a name)", " b": "b"}


def test_columns_that_are_called_by_years_are_a_header(tmp_path: Path) -> None:
    assert read(written(tmp_path / "table.csv", b"who,2019,2020\na,1,2\nb,3,4\n")).rows == 2


def test_quotes_that_stand_in_no_quoted_field_are_text(tmp_path: Path) -> None:
    found = read(written(tmp_path / "table.csv", b'size,n\n5" wide,1\n7",2\n6",3\n'))
    assert found.frame.collect()["size"].to_list() == ['5" wide', '7"', '6"']


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    made = pl.DataFrame({"__index_level_0__": [3, 4], "a": [1.5, None], "when": [date(2024, 1, 1)] * 2})
    made.write_parquet(tmp_path / "no suffix")
    found = read(str(tmp_path / "no suffix"))
    assert (found.kind, found.rows, found.renamed) == ("parquet", 2, {"(column 1)": "column 1"})
    assert found.frame.collect().rows() == made.rows()


def test_a_folder_is_one_table_whose_files_may_say_the_day(tmp_path: Path) -> None:
    written(tmp_path / "2024-01-31.csv", b"a,b\n1,2\n")
    written(tmp_path / "2024-02-29.csv.gz", gzip.compress(b"b;a\n3;4\n5;6\n"))
    written(tmp_path / "README", b"no table")
    found = read(str(tmp_path))
    assert (found.rows, found.delivered) == (3, "delivered")
    assert found.frame.collect().rows() == [
        ("1", "2", date(2024, 1, 31)),
        ("4", "3", date(2024, 2, 29)),
        ("6", "5", date(2024, 2, 29)),
    ]
    (tmp_path / "2024-01-31.csv").rename(tmp_path / "other.csv")
    assert "other.csv is not named after a day" in refusal(tmp_path)
    (tmp_path / "2024-02-29.csv.gz").rename(tmp_path / "more.csv.gz")
    assert read(str(tmp_path)).delivered is None


def test_a_folder_of_other_columns_or_kinds_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", b"a,b\n1,2\n")
    written(tmp_path / "b.csv", b"a,c\n1,2\n")
    assert "`b`, `c` are in one of them alone" in refusal(tmp_path)
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(tmp_path / "b.csv")
    assert "CSV and parquet" in refusal(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    assert "folder without a table" in refusal(tmp_path)


def test_a_bucket_is_read_like_a_folder() -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/tables/2024-01-31.csv", b"a,b\n1,2\n")
    assert read("memory://tables").frame.collect().rows() == [("1", "2", date(2024, 1, 31))]
    assert read("memory://tables/2024-01-31.csv").rows == 1
    assert "did you mean `2024-01-31.csv`" in refusal("memory://tables/2024-01-30.csv")


def test_a_quote_that_is_never_closed_is_found_in_any_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CHUNK", 64)
    path, rows = tmp_path / "table.csv", 'a,b\n"q",1\n' + "1,2\n" * 100
    for line in ('1,"2\n', '1,5" wide\n'):
        assert "opens in line 103 " in refusal(written(path, f"{rows}{line}{'1,2' * 100}".encode()))


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    written(tmp_path / "churn.csv", b"a,b\n1,2\n")
    assert "did you mean `churn.csv`?" in refusal(tmp_path / "churm.csv")
    assert "check the spelling" in refusal(tmp_path / "none" / "churn.csv")


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_spoiled_table_ends_in_a_sentence(tmp_path: Path, name: str) -> None:
    content, word = UNREADABLE[name]
    said = refusal(written(tmp_path / name, content))
    assert word in said and said.startswith(f"{tmp_path / name}: ")
    assert len(said.splitlines()) == 1 and "Traceback" not in said and len(said) < 400 + len(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]
