"""Slices and groups of rows: which one, and whether it is large enough to be judged."""

from collections.abc import Iterator, Sequence

from pipeline.policy.bars import Bars, Measured

PIECE = ("column", "from", "to", "value", "rows", "labels", "rarest")
"""What of a slice, or of a group, says which it is; the rest was measured."""


def too_few(what: str, pieces: Sequence[Measured], block: str, bars: Bars) -> Iterator[str]:
    """A sentence for each slice or group that is too small to judge."""
    for piece in pieces:
        if not piece["rows"]:
            yield f"{what} where {where(piece)}: no judged row is of it; is it written as it has to be?"
        elif few(piece, bars):
            labels = f", {piece['labels']}," if piece["labels"] else ""
            each = f", {block}.each_class {bars['each_class']:,}" if piece["rarest"] is not None else ""
            yield (
                f"{what} where {where(piece)}: {piece['rows']:,} rows{labels} are too few ({block}.rows is "
                f"{bars['rows']:,}{each})"
            )


def few(piece: Measured, bars: Bars) -> bool:
    """Whether a slice has too few rows for its metrics to mean something, or of a class that has to be there."""
    rarest = piece["rarest"]
    return bool(piece["rows"] < max(bars["rows"], 1) or (rarest is not None and rarest < bars["each_class"]))


def where(piece: Measured) -> str:
    """A slice in words."""
    if "value" in piece:
        return f"{piece['column']} is {words(piece['value'])}"
    first, last = (None if piece.get(end) is None else f"{piece[end]:,.12g}" for end in ("from", "to"))
    if last is None:
        return f"{piece['column']} is {first} or more"
    return f"{piece['column']} is " + (f"below {last}" if first is None else f"from {first} to {last}")


def words(value: str | float | bool | None) -> str:
    """A value as a policy has it, but for a missing one."""
    if value is None:
        return "missing"
    return str(value).lower() if isinstance(value, bool) else str(value)
