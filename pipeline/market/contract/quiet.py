"""Rows in which nothing happens: frozen prices, and days without volume."""

import numpy as np
from numpy.typing import NDArray

from pipeline.market.contract.rows import Judged, Mask, Rows, found_at, without
from pipeline.market.contract.rules import Finding

FROZEN_ROWS = 10
SILENT_ROWS = 10


def moving(rows: Rows) -> Judged:
    """The rows without those of frozen prices: flat, and the same as the row before, for the 10th time or more."""
    flat = (rows["high"] == rows["low"]) & (rows["open"] == rows["close"]) & (rows["high"] == rows["close"])
    same = np.zeros(len(rows), bool)
    same[1:] = flat[1:] & flat[:-1] & (rows["close"][1:] == rows["close"][:-1])
    frozen = _run_lengths(same) >= FROZEN_ROWS
    if not frozen.any():
        return rows, []
    kept, carried = without(rows, frozen)
    found = f"the price {rows['close'][frozen.argmax()]:g} unmoved, {FROZEN_ROWS} rows in a row"
    return kept, [*found_at(rows, "frozen", frozen, lambda _: found), *carried]


def zero_volume(rows: Rows) -> list[Finding]:
    """The note of runs of rows without volume, of a ticker that has had some."""
    silent = rows["volume"] == 0
    silent[: _first_traded(silent)] = False
    runs = _run_lengths(silent) >= SILENT_ROWS
    return found_at(rows, "zero_volume", runs, lambda _: f"no volume, {SILENT_ROWS} rows in a row")


def _first_traded(silent: Mask) -> int:
    return len(silent) if silent.all() else int(silent.argmin())


def _run_lengths(held: Mask) -> NDArray[np.intp]:
    """Per row the number of rows in a row, up to it, for which something holds."""
    lengths = np.zeros(len(held), np.intp)
    at = np.flatnonzero(held)
    if len(at):
        begins = np.append(True, np.diff(at) > 1)
        lengths[at] = at - np.maximum.accumulate(np.where(begins, at, 0)) + 1
    return lengths
