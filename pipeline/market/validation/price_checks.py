"""Checks of prices against those before them: a changed unit, frozen prices, and sessions without volume."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats
from pipeline.market.bars import PRICES
from pipeline.market.validation.rows import CheckedRows, Rows, finding_at, quarantine_rows
from pipeline.market.validation.rules import Finding

FROZEN_ROWS = 10
SILENT_ROWS = 10

HUNDRED = 100.0
WITHIN = 1.25
"""How far from exactly 100 such a jump may be: the day's own return."""

REFERENCE_ROWS = 5
MAX_REPAIR_ROWS = 5

MIN_STEP = 4.0
"""Of the last three of five closes one is not above their median: a close of 100 / 1.25 medians is reached from it in
at most three steps, and one of these is larger than this. (Below the median likewise.)"""


@dataclass(frozen=True, eq=False)
class _Series:
    """Closes [row], splits [row], and adjusted closes [row] where they were delivered."""

    close: Floats
    split: Floats
    adjusted: Floats | None
    has_actions: bool


def repair_units(rows: Rows, has_actions: bool) -> CheckedRows:
    """Return the rows with those that are 100 times off scaled back, up to a permanent change of the unit.

    Where no actions are delivered, an adjusted close that goes on evenly explains a jump of the close.
    """
    step = rows["close"][1:] * rows["split"][1:] / rows["close"][:-1]
    large = (step >= MIN_STEP) | (step <= 1.0 / MIN_STEP)
    if not large.any():
        return rows, []
    series = _Series(rows["close"], rows["split"], rows.columns.get("adj_close"), has_actions)
    factors, adjusted, changed = _excess_factors(series, int(large.argmax()) + 1)
    repaired = _scaled(rows.before(changed), factors[:changed], adjusted[:changed])
    return repaired, _unit_findings(rows, factors, changed)


def _excess_factors(series: _Series, start: int) -> tuple[Floats, Floats, int]:
    """Return the factors [row] by which prices and adj_close are too high, and the row at which the unit changed."""
    count = len(series.close)
    factors, adjusted = np.ones(count), np.ones(count)
    run = 0
    for row, (factor, adjusted_factor) in enumerate(_factors_from(start, series), start):
        run = run + 1 if factor != 1.0 else 0
        factors[row], adjusted[row] = factor, adjusted_factor
        if run > MAX_REPAIR_ROWS:
            return factors, adjusted, row
    return factors, adjusted, count


def _factors_from(start: int, series: _Series) -> Iterator[tuple[float, float]]:
    """Yield, per row from `start` on, the factors by which the prices and the adjusted close are too high."""
    first = max(0, start - REFERENCE_ROWS)
    closes = deque(_in_shares_of(start - 1, first, series), maxlen=REFERENCE_ROWS)
    reported = series.close if series.adjusted is None else series.adjusted
    levels = deque(reported[first:start].tolist(), maxlen=REFERENCE_ROWS)
    for row in range(start, len(series.close)):
        closes = deque((close / series.split[row] for close in closes), maxlen=REFERENCE_ROWS)
        factor = _off(series.close[row] / median(closes))
        adjusted_factor = _off(reported[row] / median(levels)) if series.adjusted is not None else 1.0
        if series.adjusted is not None and not series.has_actions and adjusted_factor != factor:
            factor = 1.0
        adjusted_factor = adjusted_factor if adjusted_factor == factor else 1.0
        closes.append(series.close[row] / factor)
        levels.append(reported[row] / adjusted_factor)
        yield factor, adjusted_factor


def _in_shares_of(row: int, first: int, series: _Series) -> list[float]:
    """Return the closes from the first row to `row`, each in shares of the last of them."""
    return [float(series.close[k] / np.prod(series.split[k + 1 : row + 1])) for k in range(first, row + 1)]


def _off(ratio: float) -> float:
    """Return the factor, 100 or 1/100, by which a ratio to the reference is off; 1 where it is not."""
    for factor in (HUNDRED, 1.0 / HUNDRED):
        if factor / WITHIN <= ratio <= factor * WITHIN:
            return factor
    return 1.0


def _scaled(rows: Rows, factors: Floats, adjusted: Floats) -> Rows:
    prices = {name: rows[name] / factors for name in PRICES}
    adj_close = {"adj_close": rows["adj_close"] / adjusted} if "adj_close" in rows.columns else {}
    return rows.changed(**prices, **adj_close)


def _unit_findings(rows: Rows, factors: Floats, changed: int) -> list[Finding]:
    scaled = factors[:changed] != 1.0
    repaired = finding_at(rows.before(changed), "hundredfold", scaled, partial(_off_by, rows, factors))
    if changed == len(rows):
        return repaired
    found = f"{_off_by(rows, factors, changed)}, for more than {MAX_REPAIR_ROWS} rows"
    return [*repaired, Finding("unit_changed", rows.session[changed : changed + 1], found)]


def _off_by(rows: Rows, factors: Floats, row: int) -> str:
    return f"close {rows['close'][row]:g}, {'100 times' if factors[row] > 1.0 else 'a hundredth of'} the closes before"


def quarantine_frozen_rows(rows: Rows) -> CheckedRows:
    """Return the rows without frozen prices: flat rows equal to the row before, for the 10th time or more."""
    flat = (rows["high"] == rows["low"]) & (rows["open"] == rows["close"]) & (rows["high"] == rows["close"])
    same = np.zeros(len(rows), bool)
    same[1:] = flat[1:] & flat[:-1] & (rows["close"][1:] == rows["close"][:-1])
    frozen = _run_lengths(same) >= FROZEN_ROWS
    if not frozen.any():
        return rows, []
    kept, carried = quarantine_rows(rows, frozen)
    found = f"the price {rows['close'][frozen.argmax()]:g} unmoved, {FROZEN_ROWS} rows in a row"
    return kept, [*finding_at(rows, "frozen", frozen, lambda _: found), *carried]


def note_zero_volume(rows: Rows) -> list[Finding]:
    """Return the note of runs of rows without volume, once the ticker has traded."""
    silent = rows["volume"] == 0
    silent[: _first_traded(silent)] = False
    runs = _run_lengths(silent) >= SILENT_ROWS
    return finding_at(rows, "zero_volume", runs, lambda _: f"no volume, {SILENT_ROWS} rows in a row")


def _first_traded(silent: Booleans) -> int:
    return len(silent) if silent.all() else int(silent.argmin())


def _run_lengths(marked: Booleans) -> NDArray[np.intp]:
    """Return, per row, the number of consecutive marked rows that end with it."""
    lengths = np.zeros(len(marked), np.intp)
    at = np.flatnonzero(marked)
    if len(at):
        begins = np.append(True, np.diff(at) > 1)
        lengths[at] = at - np.maximum.accumulate(np.where(begins, at, 0)) + 1
    return lengths
