"""Actions against prices: splits and dividends that did not happen."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.market.contract.rows import Judged, Mask, Numbers, Rows, found_at

REAL_SPLIT = np.log(1.4)
"""Smaller ones are left alone: spin-offs told as splits, which a day's return can hide."""

UNMOVED = 0.25
"""A split did not happen where open and close moved by less than this share of what it asks for (in logs)."""

LARGE_DIVIDEND = 0.2
LEAST_FALL = 0.5
"""A dividend of more than LARGE_DIVIDEND of the former close was not paid where the price fell by less than this
share of it."""


def true_actions(rows: Rows, returns_from_actions: bool) -> Judged:
    """The rows without actions that their prices know nothing of.

    A dividend that no return is computed from is left alone. One told per share after the split of its own day is
    restated per share before it, as the bars have it.
    """
    split_rows, splits = _without_phantom_splits(rows)
    phantom = _phantom_dividends(split_rows)
    if not phantom.any():
        return split_rows, splits
    rule = "phantom_dividend" if returns_from_actions else "doubtful_dividend"
    told = [*splits, *found_at(rows, rule, phantom, partial(_shown, rows, "dividend"))]
    return (split_rows.changed(dividend=paid_dividends(split_rows)) if returns_from_actions else split_rows), told


def paid_dividends(rows: Rows) -> Numbers:
    """The dividends per share before the day's split; a phantom one is taken as told in new shares, or else as none."""
    paid = rows["dividend"]
    at = np.flatnonzero(_phantom_dividends(rows))
    if not len(at):
        return paid
    paid, restated = paid.copy(), paid[at] * rows["split"][at]
    paid[at] = np.where(_fell_by(rows, at, restated), restated, 0.0)
    return paid


def _without_phantom_splits(rows: Rows) -> Judged:
    phantom = _phantom_splits(rows)
    if not phantom.any():
        return rows, []
    told = found_at(rows, "phantom_split", phantom, partial(_shown, rows, "split"))
    return rows.changed(split=np.where(phantom, 1.0, rows["split"])), told


def _phantom_splits(rows: Rows) -> Mask:
    at = _later(rows["split"] != 1.0)
    asked = np.abs(np.log(rows["split"][at]))
    moved = [np.abs(np.log(rows[name][at] / rows["close"][at - 1])) for name in ("open", "close")]
    return _mask(rows, at[(asked >= REAL_SPLIT) & (np.maximum(*moved) < UNMOVED * asked)])


def _phantom_dividends(rows: Rows) -> Mask:
    at = _later(rows["dividend"] > 0)
    dividend = rows["dividend"][at]
    large = dividend > LARGE_DIVIDEND * rows["close"][at - 1]
    return _mask(rows, at[large & ~_fell_by(rows, at, dividend)])


def _fell_by(rows: Rows, at: NDArray[np.intp], dividend: Numbers) -> Mask:
    """Whether the close fell by a good part of a dividend at least, splits taken out."""
    fall = rows["close"][at - 1] - rows["close"][at] * rows["split"][at]
    fell: Mask = fall >= LEAST_FALL * dividend
    return fell


def _later(held: Mask) -> NDArray[np.intp]:
    """The rows for which something holds, but the first one, which has none before it."""
    at = np.flatnonzero(held)
    return at[at > 0]


def _mask(rows: Rows, at: NDArray[np.intp]) -> Mask:
    held = np.zeros(len(rows), bool)
    held[at] = True
    return held


def _shown(rows: Rows, name: str, row: int) -> str:
    closes = rows["close"]
    return f"{name} {rows[name][row]:g} with closes {closes[row - 1]:g} and {closes[row]:g}"
