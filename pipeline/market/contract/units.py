"""Prices a hundred times too high or too low: pence for pounds, cents for dollars."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np

from pipeline.market.bars import PRICES
from pipeline.market.contract.rows import Judged, Numbers, Rows, found_at
from pipeline.market.contract.rules import Finding

HUNDRED = 100.0
WITHIN = 1.25
"""How far from exactly 100 such a jump may be: the day's own return."""

REFERENCE_ROWS = 5
LONGEST_REPAIR_ROWS = 5

SMALLEST_STEP = 4.0
"""Of the last three of five closes one is not above their median: a close of 100 / 1.25 medians is reached from it in
at most three steps, and one of these is larger than this. (Below the median likewise.)"""


@dataclass(frozen=True, eq=False)
class _Series:
    """What the walk needs: closes, splits, and the adjusted closes where they were delivered."""

    close: Numbers
    split: Numbers
    adjusted: Numbers | None
    has_actions: bool


def one_unit(rows: Rows, has_actions: bool) -> Judged:
    """The rows with those that are 100 times off scaled back, to the row where they prove to have changed for good.

    Where no actions are delivered, an adjusted close that goes on evenly explains a jump of the close.
    """
    step = rows["close"][1:] * rows["split"][1:] / rows["close"][:-1]
    large = (step >= SMALLEST_STEP) | (step <= 1.0 / SMALLEST_STEP)
    if not large.any():
        return rows, []
    factors, adjusted, changed = _walked(_series(rows, has_actions), int(large.argmax()) + 1)
    return _scaled(rows.before(changed), factors[:changed], adjusted[:changed]), _told(rows, factors, changed)


def _series(rows: Rows, has_actions: bool) -> _Series:
    return _Series(rows["close"], rows["split"], rows.columns.get("adj_close"), has_actions)


def _walked(series: _Series, start: int) -> tuple[Numbers, Numbers, int]:
    """Row by row the factor by which prices and adj_close are too high, and the row at which the unit has changed."""
    count = len(series.close)
    factors, adjusted = np.ones(count), np.ones(count)
    run = 0
    for row, (factor, adjusted_factor) in enumerate(_factors(series, start), start):
        run = run + 1 if factor != 1.0 else 0
        factors[row], adjusted[row] = factor, adjusted_factor
        if run > LONGEST_REPAIR_ROWS:
            return factors, adjusted, row
    return factors, adjusted, count


def _factors(series: _Series, start: int) -> Iterator[tuple[float, float]]:
    first = max(0, start - REFERENCE_ROWS)
    closes = deque(_in_shares_of(start - 1, first, series), maxlen=REFERENCE_ROWS)
    told = series.close if series.adjusted is None else series.adjusted
    levels = deque(told[first:start].tolist(), maxlen=REFERENCE_ROWS)
    for row in range(start, len(series.close)):
        closes = deque((close / series.split[row] for close in closes), maxlen=REFERENCE_ROWS)
        factor = _off(series.close[row] / median(closes))
        adjusted_factor = _off(told[row] / median(levels)) if series.adjusted is not None else 1.0
        if series.adjusted is not None and not series.has_actions and adjusted_factor != factor:
            factor = 1.0
        adjusted_factor = adjusted_factor if adjusted_factor == factor else 1.0
        closes.append(series.close[row] / factor)
        levels.append(told[row] / adjusted_factor)
        yield factor, adjusted_factor


def _in_shares_of(row: int, first: int, series: _Series) -> list[float]:
    """The closes from the first row on, each in shares of the last of them."""
    return [float(series.close[k] / np.prod(series.split[k + 1 : row + 1])) for k in range(first, row + 1)]


def _off(ratio: float) -> float:
    """The factor of a hundred by which a ratio to the reference is off, 1 where it is not."""
    for factor in (HUNDRED, 1.0 / HUNDRED):
        if factor / WITHIN <= ratio <= factor * WITHIN:
            return factor
    return 1.0


def _scaled(rows: Rows, factors: Numbers, adjusted: Numbers) -> Rows:
    prices = {name: rows[name] / factors for name in PRICES}
    told = {"adj_close": rows["adj_close"] / adjusted} if "adj_close" in rows.columns else {}
    return rows.changed(**prices, **told)


def _told(rows: Rows, factors: Numbers, changed: int) -> list[Finding]:
    scaled = factors[:changed] != 1.0
    repaired = found_at(rows.before(changed), "hundredfold", scaled, partial(_off_by, rows, factors))
    if changed == len(rows):
        return repaired
    found = f"{_off_by(rows, factors, changed)}, for more than {LONGEST_REPAIR_ROWS} rows"
    return [*repaired, Finding("unit_changed", rows.session[changed : changed + 1], found)]


def _off_by(rows: Rows, factors: Numbers, row: int) -> str:
    return f"close {rows['close'][row]:g}, {'100 times' if factors[row] > 1.0 else 'a hundredth of'} the closes before"
