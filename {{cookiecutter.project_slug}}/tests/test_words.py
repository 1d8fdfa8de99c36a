"""Nothing but the example speaks of the example: all else has the words of the contract, whatever that says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = {"pipeline/simulate.py", "pipeline/features.py"}
NOUNS = re.compile(r"fraud|transaction|terminal|customers?(?![a-z])|tx_|(?<![a-z])cards?(?![a-z])", re.IGNORECASE)
OTHERS = re.compile(
    r"Credit Card Fraud Detection|model[ _-]cards?|promotion(?:\.yaml)? card|[`\x22]card[`\x22]|\bcard\(|\[.card.\]",
    re.IGNORECASE,
)
"""Cards that nobody pays with, what is shown of a model that is promoted; and a book."""


def spoken(text: str) -> Iterator[str]:
    """The example's nouns in a text."""
    yield from (found[0] for found in NOUNS.finditer(OTHERS.sub("", text)))


@pytest.mark.parametrize(
    "text", ["the frauds", "a TX_AMOUNT", "card_precision_100", "known cards", "Terminals", "Transaction"]
)
def test_nouns_are_found(text: str) -> None:
    assert list(spoken(text))


@pytest.mark.parametrize(
    "text", ["the model card", "MODEL_CARD.md", "discard", "cardinality", "cardboard", "def card(x)"]
)
def test_other_words_are_none(text: str) -> None:
    assert not list(spoken(text))


def test_the_code_speaks_with_the_contracts_words() -> None:
    files = [path for folder in ("pipeline", "gitops") for path in (ROOT / folder).rglob("*.*")]
    found = {
        f"{path.relative_to(ROOT)}:{number}": words
        for path in files
        if path.suffix in (".py", ".html", ".json") and str(path.relative_to(ROOT)) not in EXAMPLE
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (words := list(spoken(line)))
    }
    assert found == {}
