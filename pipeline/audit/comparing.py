"""Two runs side by side: the first thing that a stage hands on and that is not the same bit by bit."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.handed import Item
from pipeline.audit.tampering import Tampering


@dataclass(frozen=True)
class Difference:
    """Something that was known at an origin and changed with what came later."""

    stage: str
    what: str
    ticker: str
    session: str  # the first that differs; empty where it belongs to none
    origin: str
    tampering: Tampering
    before: str
    after: str

    def __str__(self) -> str:
        of = f" of {self.ticker}" if self.ticker else ""
        at = f" at {self.session}" if self.session else ""
        return (
            f"`{self.what}`{of}{at} changes when the bars after {self.origin} are replaced ({self.tampering}): "
            f"{self.before} becomes {self.after}"
        )


@dataclass(frozen=True)
class Compared:
    """How many values a stage handed on that were compared, and the first that differs."""

    count: int
    first: "Mismatch | None" = None


@dataclass(frozen=True)
class Mismatch:
    """Where two runs differ: what, of whom, since when, and both values as text."""

    what: str
    ticker: str
    session: str
    before: str
    after: str


def compared(before: Iterable[Item], after: Iterable[Item]) -> Compared:
    """Return the comparison of what one stage handed on in two runs: bit by bit, NaN and all."""
    old, new = ({(item.what, item.ticker): item for item in items} for items in (before, after))
    count = 0
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        if one is None or other is None:
            present = one or other
            if present is None or present.optional:
                continue
            return Compared(count, Mismatch(*key, "", _told(one), _told(other)))
        count += one.array.size
        if found := _mismatch(one, other):
            return Compared(count, found)
    return Compared(count)


def _told(item: Item | None) -> str:
    return "nothing" if item is None else f"{item.array.size} values"


def _mismatch(one: Item, other: Item) -> Mismatch | None:
    if one.array.shape != other.array.shape:
        shown = (f"{len(one.array)} rows", f"{len(other.array)} rows")
        return Mismatch(one.what, one.ticker, _first_day_apart(one, other), *shown)
    if one.sessions is not None and other.sessions is not None and (one.sessions != other.sessions).any():
        row = int((one.sessions != other.sessions).argmax())
        day = str(one.sessions[row])
        return Mismatch(one.what, one.ticker, day, day, str(other.sessions[row]))
    differs = _bits_differ(one.array, other.array)
    if not differs.any():
        return None
    at = np.unravel_index(int(differs.argmax()), differs.shape)
    session = "" if one.sessions is None else str(one.sessions[at[0]])
    return Mismatch(one.what, one.ticker, session, _shown(one.array[at]), _shown(other.array[at]))


def _first_day_apart(one: Item, other: Item) -> str:
    if one.sessions is None or other.sessions is None:
        return ""
    apart = np.setxor1d(one.sessions, other.sessions)
    return str(apart[0]) if len(apart) else ""


def _bits_differ(one: NDArray[np.generic], other: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return where two arrays of one shape differ; NaN equals NaN, and 0 is not -0."""
    if one.dtype != other.dtype or one.dtype.kind not in "fiub":
        return np.asarray(one.astype(str) != other.astype(str))
    if one.dtype.kind != "f":
        return np.asarray(one != other)
    unsigned = np.dtype(f"u{one.dtype.itemsize}")
    bits = np.ascontiguousarray(one).view(unsigned) != np.ascontiguousarray(other).view(unsigned)
    differs: NDArray[np.bool_] = bits & ~(np.isnan(one) & np.isnan(other))
    return differs


def _shown(value: np.generic) -> str:
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)
