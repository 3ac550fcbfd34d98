"""Restatements: in which rows a source reports other values than those stored, and of which kind the change is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from pipeline.arrays import Booleans, Floats
from pipeline.market.bars import PRICES
from pipeline.market.store.columns import Columns, fields_of, reported_columns, taken

Kind = Literal["split", "dividend", "prices", "adj_close", "volume", "sessions", "currency"]

RELATIVE_TOLERANCE = {"dividend": 1e-5}
DEFAULT_RELATIVE_TOLERANCE = 1e-6
"""Vendors send float32 numbers, and round earlier ones again after a later split."""

VOLUME_TOLERANCE = 1.0
"""In shares, in addition to the relative tolerance."""

COMMON_FACTOR = 1e-5
"""How far ratios of reported to stored prices may lie from their median, relative to it, and count as one factor."""

MIN_FACTOR_DISTANCE = 1e-3
"""A common factor nearer to 1 than this is no split."""


class Restatement(BaseModel, frozen=True, extra="forbid"):
    """One kind of difference between a fetch and the store: its first session, the number of rows, and an example."""

    kind: Kind
    first_session: date
    rows: int
    found: str
    stored: str

    def __str__(self) -> str:
        rows = f"{self.rows} rows" if self.rows > 1 else "1 row"
        return f"{self.kind} from {self.first_session} on ({rows}; {self.found} in place of {self.stored})"


@dataclass(frozen=True, eq=False)
class Alignment:
    """Stored and reported rows matched by session.

    `same_stored` and `same_reported` [match] are the row numbers of the same sessions on both sides, `lost` marks the
    stored rows [stored row] that are no longer reported, `new` the reported rows [reported row] that are not stored.
    """

    same_stored: NDArray[np.intp]
    same_reported: NDArray[np.intp]
    lost: Booleans
    new: Booleans


def compare(stored: pd.DataFrame, reported: pd.DataFrame, since: date | None = None) -> tuple[Restatement, ...]:
    """Return in what the reported rows differ from the stored ones.

    `since` is the day from which rows were requested, by default the first reported session. A stored session from
    that day on that is not reported, or a reported one that is not stored although later ones are, is a difference too.
    """
    fields = fields_of("adj_close" in stored and "adj_close" in reported)
    before, after = reported_columns(stored, fields), reported_columns(reported, fields)
    return restatements(before, after, after["session"][0] if since is None else np.datetime64(since, "D"))


def calls_for_whole_history(restated: Iterable[Restatement]) -> bool:
    """Return whether earlier rows may be restated too: a change of volume alone is routine."""
    return any(it.kind != "volume" for it in restated)


def aligned(stored: Columns, reported: Columns, since: np.datetime64 | None) -> Alignment:
    """Return the stored and reported rows by session; a stored row is lost when it is requested and not reported.

    Rows from `since` on are requested (None: all). Rows stored after the last reported one are not lost: a source may
    be late.
    """
    _, same_stored, same_reported = np.intersect1d(
        stored["session"], reported["session"], assume_unique=True, return_indices=True
    )
    requested = stored["session"] <= reported["session"][-1]
    if since is not None:
        requested &= stored["session"] >= since
    lost, new = requested.copy(), np.ones(len(reported["session"]), dtype=bool)
    lost[same_stored], new[same_reported] = False, False
    return Alignment(same_stored, same_reported, lost, new)


def differing(stored: Columns, reported: Columns) -> dict[str, Booleans]:
    """Return, per field, which rows [row] differ by more than the tolerance; both have the same sessions."""
    return {
        name: ~_same(stored[name], reported[name], name) for name in stored if name in reported and name != "session"
    }


def restatements(
    stored: Columns, reported: Columns, since: np.datetime64 | None, covered_from: np.datetime64 | None = None
) -> tuple[Restatement, ...]:
    """Return all differences, one per kind; sessions before `covered_from` were never requested and may appear."""
    rows = aligned(stored, reported, since)
    before, after = taken(stored, rows.same_stored), taken(reported, rows.same_reported)
    return (*_changed_rows(before, after), *_changed_sessions(stored, reported, rows, covered_from))


def _changed_rows(stored: Columns, reported: Columns) -> Iterator[Restatement]:
    """Yield the differences in rows of the same sessions."""
    differs = differing(stored, reported)
    prices = np.logical_or.reduce([differs[name] for name in PRICES])
    factor = _common_factor(stored, reported, prices)
    if factor:
        yield _restatement("split", stored, prices, lambda _: f"prices times {factor:g}", _describer(stored, PRICES))
    masks: dict[Kind, Booleans] = {
        "split": differs["split"],
        "dividend": differs["dividend"],
        "prices": prices & (factor == 0.0),
    }
    price_or_action = np.logical_or.reduce([prices, differs["split"], differs["dividend"]])
    masks |= {name: differs[name] & ~price_or_action for name in ("adj_close", "volume") if name in differs}
    for kind, mask in masks.items():
        if mask.any():
            names = PRICES if kind == "prices" else (kind,)
            found, previous = _describer(reported, names, differs), _describer(stored, names, differs)
            yield _restatement(kind, stored, mask, found, previous)


def _changed_sessions(
    stored: Columns, reported: Columns, rows: Alignment, covered_from: np.datetime64 | None
) -> list[Restatement]:
    """Return the difference in sessions: those lost, and those that appear among the stored ones."""
    inserted = rows.new & (reported["session"] < stored["session"][-1])
    if covered_from is not None:
        inserted &= reported["session"] >= covered_from
    lost, gained = stored["session"][rows.lost], reported["session"][inserted]
    count = len(lost) + len(gained)
    if not count:
        return []
    first = min((*lost[:1], *gained[:1])).astype(object)
    found, previous = f"{len(gained)} sessions more, {len(lost)} fewer", f"{len(stored['session'])} sessions"
    return [Restatement(kind="sessions", first_session=first, rows=count, found=found, stored=previous)]


def _restatement(
    kind: Kind, stored: Columns, mask: Booleans, found: Callable[[int], str], previous: Callable[[int], str]
) -> Restatement:
    at = int(mask.argmax())
    session = stored["session"][at].astype(object)
    return Restatement(kind=kind, first_session=session, rows=int(mask.sum()), found=found(at), stored=previous(at))


def _describer(
    columns: Columns, names: Iterable[str], differs: dict[str, Booleans] | None = None
) -> Callable[[int], str]:
    """Return a function that describes a row by the first of the named fields that differs in it."""

    def describe(at: int) -> str:
        name = next(name for name in names if differs is None or differs[name][at])
        return f"{name} {columns[name][at]:.9g}"

    return describe


def _same(stored: Floats, reported: Floats, name: str) -> Booleans:
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(stored - reported)
        allowed = RELATIVE_TOLERANCE.get(name, DEFAULT_RELATIVE_TOLERANCE) * np.maximum(
            np.abs(stored), np.abs(reported)
        )
        near = np.isfinite(apart) & (apart <= allowed + (VOLUME_TOLERANCE if name == "volume" else 0.0))
    same: Booleans = near | (stored == reported) | (np.isnan(stored) & np.isnan(reported))
    return same


def _common_factor(stored: Columns, reported: Columns, differs: Booleans) -> float:
    """Return the factor by which all prices before some session differ; 0 where there is no such factor."""
    count = int(differs.sum())  # if other rows than the first ones differ, those do not all have one factor
    if not count:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratios = np.stack([reported[name][:count] / stored[name][:count] for name in PRICES])
        middle = float(np.median(ratios))
        is_common = bool((np.abs(ratios / middle - 1.0) <= COMMON_FACTOR).all())
    return middle if is_common and abs(middle - 1.0) > MIN_FACTOR_DISTANCE else 0.0
