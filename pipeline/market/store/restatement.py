"""Where a source tells another past than it told before: which rows differ, and in what kind of way."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from pipeline.market.bars import PRICES
from pipeline.market.store.columns import Columns, Mask, fields_of, taken, told_columns

Kind = Literal["split", "dividend", "prices", "adj_close", "volume", "sessions", "currency"]
Numbers = NDArray[np.float64]

RELATIVE = {"dividend": 1e-5}
USUAL_RELATIVE = 1e-6
"""Vendors send float32 numbers, and a later split makes them round the earlier ones again."""
SHARES = 1.0

COMMON_FACTOR = 1e-5
"""How far the ratios of found to stored prices may lie apart, relative to their median, and be one factor."""
LEAST_FACTOR = 1e-3
"""A common factor nearer to 1 than this is no split."""


class Restatement(BaseModel, frozen=True, extra="forbid"):
    """One kind of difference between a fetch and the store: since which session, in how many rows, and an example."""

    kind: Kind
    first_session: date
    rows: int
    found: str
    stored: str


@dataclass(frozen=True, eq=False)
class Alignment:
    """Stored and told rows side by side; `until_told` are row numbers of the same sessions on both sides."""

    same_stored: NDArray[np.intp]
    same_told: NDArray[np.intp]
    lost: Mask
    new: Mask


def compare(stored: pd.DataFrame, told: pd.DataFrame, since: date | None = None) -> tuple[Restatement, ...]:
    """What the told rows say otherwise than the stored ones about the sessions of both.

    `since` is the day from which rows were asked for, by default the first told session. A stored session from that
    day on that is not told, or a told one that is not stored though later ones are, is a difference too.
    """
    fields = fields_of("adj_close" in stored and "adj_close" in told)
    earlier, now = told_columns(stored, fields), told_columns(told, fields)
    return restatements(earlier, now, now["session"][0] if since is None else np.datetime64(since, "D"))


def calls_for_whole_history(found: Iterable[Restatement]) -> bool:
    """Whether earlier rows may be restated too: the volume of the last sessions alone is settled routinely."""
    return any(one.kind != "volume" for one in found)


def aligned(stored: Columns, told: Columns, since: np.datetime64 | None) -> Alignment:
    """The stored and told rows by session; a stored row is lost when it is asked for (`since` on) and not told.

    What is stored after the last told row is not lost: a source that is late tells less, and nothing else.
    """
    _, same_stored, same_told = np.intersect1d(
        stored["session"], told["session"], assume_unique=True, return_indices=True
    )
    asked = stored["session"] <= told["session"][-1]
    if since is not None:
        asked &= stored["session"] >= since
    lost, new = asked.copy(), np.ones(len(told["session"]), dtype=bool)
    lost[same_stored], new[same_told] = False, False
    return Alignment(same_stored, same_told, lost, new)


def differing(stored: Columns, told: Columns) -> dict[str, Mask]:
    """Per field, which rows differ by more than the tolerance; both have the same sessions."""
    return {name: ~_same(stored[name], told[name], name) for name in stored if name in told and name != "session"}


def restatements(
    stored: Columns, told: Columns, since: np.datetime64 | None, covered_from: np.datetime64 | None = None
) -> tuple[Restatement, ...]:
    """All differences, one value per kind; sessions before `covered_from` were never asked for and may appear."""
    rows = aligned(stored, told, since)
    before, now = taken(stored, rows.same_stored), taken(told, rows.same_told)
    return (*_changed(before, now), *_moved(stored, told, rows, covered_from))


def _changed(stored: Columns, told: Columns) -> Iterator[Restatement]:
    """The differences in rows of the same sessions."""
    differs = differing(stored, told)
    prices = np.logical_or.reduce([differs[name] for name in PRICES])
    factor = _common_factor(stored, told, prices)
    if factor:
        yield _restatement("split", stored, prices, lambda _: f"prices times {factor:g}", _shown(stored, PRICES))
    masks: dict[Kind, Mask] = {
        "split": differs["split"],
        "dividend": differs["dividend"],
        "prices": prices & (factor == 0.0),
    }
    whatever = np.logical_or.reduce([prices, differs["split"], differs["dividend"]])
    masks |= {name: differs[name] & ~whatever for name in ("adj_close", "volume") if name in differs}
    for kind, mask in masks.items():
        if mask.any():
            names = PRICES if kind == "prices" else (kind,)
            yield _restatement(kind, stored, mask, _shown(told, names, differs), _shown(stored, names, differs))


def _moved(stored: Columns, told: Columns, rows: Alignment, covered_from: np.datetime64 | None) -> list[Restatement]:
    """The sessions that vanished, or appeared among those stored."""
    inserted = rows.new & (told["session"] < stored["session"][-1])
    if covered_from is not None:
        inserted &= told["session"] >= covered_from
    gone, come = stored["session"][rows.lost], told["session"][inserted]
    if not len(gone) + len(come):
        return []
    first = min((*gone[:1], *come[:1]))
    found, held = f"{len(come)} sessions more, {len(gone)} fewer", f"{len(stored['session'])} sessions"
    return [
        Restatement(
            kind="sessions", first_session=first.astype(object), rows=len(gone) + len(come), found=found, stored=held
        )
    ]


def _restatement(
    kind: Kind, stored: Columns, mask: Mask, found: Callable[[int], str], held: Callable[[int], str]
) -> Restatement:
    at = int(mask.argmax())
    session = stored["session"][at].astype(object)
    return Restatement(kind=kind, first_session=session, rows=int(mask.sum()), found=found(at), stored=held(at))


def _shown(columns: Columns, names: Iterable[str], differs: dict[str, Mask] | None = None) -> Callable[[int], str]:
    """A row in words: the first of the named fields that differs in it."""

    def shown(at: int) -> str:
        name = next(name for name in names if differs is None or differs[name][at])
        return f"{name} {columns[name][at]:.9g}"

    return shown


def _same(stored: Numbers, told: Numbers, name: str) -> Mask:
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(stored - told)
        allowed = RELATIVE.get(name, USUAL_RELATIVE) * np.maximum(np.abs(stored), np.abs(told))
        near = np.isfinite(apart) & (apart <= allowed + (SHARES if name == "volume" else 0.0))
    same: Mask = near | (stored == told) | (np.isnan(stored) & np.isnan(told))
    return same


def _common_factor(stored: Columns, told: Columns, differs: Mask) -> float:
    """The factor by which all prices before some session differ; 0 where there is no such factor."""
    count = int(differs.sum())  # if other rows than the first ones differ, those do not all have one factor
    if not count:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratios = np.stack([told[name][:count] / stored[name][:count] for name in PRICES])
        middle = float(np.median(ratios))
        one = bool((np.abs(ratios / middle - 1.0) <= COMMON_FACTOR).all())
    return middle if one and abs(middle - 1.0) > LEAST_FACTOR else 0.0
