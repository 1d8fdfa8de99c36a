"""The days of a request's tree: which are taken, and what is no day of it."""

from pathlib import Path

import pytest

from gitops import days

KNOBS = "data: {source: %s, until: '2024-01-02'}"


@pytest.fixture
def request_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A request's tree with two days in `rows`, beside a checkout, the working directory, with one that it changes."""
    tree = tmp_path / "request"
    for path, content in {
        tree / "rows" / "2024-01-01.parquet": "changed",
        tree / "rows" / "2024-01-02.parquet": "new",
        tree / "rows" / "code.py": "",
        tmp_path / "here" / "rows" / "2024-01-01.parquet": "known",
        tmp_path / "here" / "rows" / "2023-12-31.parquet": "taken out",
        tmp_path / "here" / "rows" / "README.md": "ours",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(tmp_path / "here")
    return tree


def held() -> dict[str, str]:
    """What lies in the checkout's folder."""
    return {path.name: path.read_text() for path in sorted(Path("rows").iterdir())}


def test_the_days_of_the_request_take_the_place_of_ours(request_tree: Path) -> None:
    assert days.take(KNOBS % "rows/", request_tree) == "rows: its 2 daily files are those of the request"
    assert held() == {"2024-01-01.parquet": "changed", "2024-01-02.parquet": "new", "README.md": "ours"}


@pytest.mark.parametrize("source", ["simulate", "s3://bucket/rows", "/rows", "~/rows", "../rows", "elsewhere"])
def test_days_that_lie_elsewhere_are_left_to_the_source(request_tree: Path, source: str) -> None:
    before = held()
    assert days.take(KNOBS % source, request_tree) == ""
    assert held() == before


@pytest.mark.parametrize("knobs", ["data: [", "", "data: {}", "&a [*a]"])
def test_knobs_that_cannot_be_read_are_left_to_the_stages(request_tree: Path, knobs: str) -> None:
    assert days.take(knobs, request_tree) == ""


def test_no_link_is_followed(request_tree: Path) -> None:
    secret = request_tree.parent / "2024-01-03.parquet"
    secret.write_text("secret")
    (request_tree / "rows" / secret.name).symlink_to(secret)
    (request_tree / "linked").symlink_to(request_tree.parent)
    assert days.take(KNOBS % "rows", request_tree) and secret.name not in held()
    assert days.take(KNOBS % "linked", request_tree) == ""
