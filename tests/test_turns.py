"""What is shown in parts is shown whole in as many commits as there are parts."""

import pytest

from tests import turns


@pytest.mark.parametrize(("things", "parts"), [(40, 5), (41, 5), (3, 3), (2, 3), (7, 1)])
def test_in_as_many_commits_as_there_are_parts_each_has_its_turn_once(things: int, parts: int) -> None:
    for first in (0, 1, 958):
        shown = [thing for count in range(first, first + parts) for thing in turns.share(range(things), parts, count)]
        assert sorted(shown) == list(range(things))


def test_the_next_commit_shows_another_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "commits", lambda: 7)
    assert turns.turn("abcdef", 3) == ["b", "e"]
    monkeypatch.setattr(turns, "commits", lambda: 8)
    assert turns.turn("abcdef", 3) == ["c", "f"]


def test_it_counts_the_commits_of_this_clone() -> None:
    assert turns.commits() > 0
