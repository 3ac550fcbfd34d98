"""Jumps of the price that look like a split which nobody told."""

from functools import partial

import numpy as np

from pipeline.market.contract.actions import paid_dividends
from pipeline.market.contract.rows import Judged, Mask, Numbers, Rows, found_at
from pipeline.market.contract.rules import Finding

WHOLE_RATIOS = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0])
THREE_FOR_TWO = 1.5
NEAR = 0.12
"""How far (in logs) open and close may be from a split's ratio: the night's and the day's own return."""

VERY_NEAR = 0.03
"""Falls by a third happen by themselves, so a 3:2 split is seen only where little else happened."""

LOG_RATIOS = np.log([*1.0 / WHOLE_RATIOS, *WHOLE_RATIOS, 1.0 / THREE_FOR_TWO])
"""Jumps of the price by a split, down and up; of 3:2 down only, as its reverse is hardly ever done."""

NEARNESS = np.append(np.full(2 * len(WHOLE_RATIOS), NEAR), VERY_NEAR)
SMALLEST_FALL = float(np.exp(VERY_NEAR)) / THREE_FOR_TWO
SMALLEST_LEAP = float(np.exp(-NEAR)) * 2.0

CALM = 3.0
"""A crash multiplies turnover or the day's range; a split leaves both as they were."""

TRAILING_ROWS = 20


def to_unrecorded_split(rows: Rows) -> Judged:
    """The rows before the first jump that looks like a split and comes without one."""
    jumps = split_like_jumps(rows)
    if not jumps.any():
        return rows, []
    row = int(jumps.argmax())
    return rows.before(row), [Finding("unrecorded_split", rows.session[row : row + 1], _shown(rows, row))]


def noted_jumps(rows: Rows) -> list[Finding]:
    """The note of jumps that look like splits."""
    jumps = split_like_jumps(rows)
    return found_at(rows, "split_like_jump", jumps, partial(_shown, rows))


def split_like_jumps(rows: Rows) -> Mask:
    """Which rows jump overnight by a split's ratio that no action explains, with a calm day's turnover and range.

    A true crash or leap comes with many times the usual turnover or range. Volume may be told in old or in new
    shares, so it is calm if either the turnover or the number of shares is.
    """
    moved = _moved(rows, "close")
    jumps = np.zeros(len(rows), bool)
    for row in np.flatnonzero((moved < SMALLEST_FALL) | (moved > SMALLEST_LEAP)) + 1:
        jumps[row] = _at_a_ratio(rows, int(row)) and _is_calm(rows, int(row))
    return jumps


def _moved(rows: Rows, name: str) -> Numbers:
    """From the second row on, the price as a factor of the former close, with what actions explain taken out."""
    return (rows[name][1:] * rows["split"][1:] + paid_dividends(rows)[1:]) / rows["close"][:-1]


def _at_a_ratio(rows: Rows, row: int) -> bool:
    near = rows.at(slice(row - 1, row + 1))
    log_open, log_close = np.log(_moved(near, "open")[0]), np.log(_moved(near, "close")[0])
    off = np.maximum(np.abs(LOG_RATIOS - log_open), np.abs(LOG_RATIOS - log_close))
    return bool((off <= NEARNESS).any())


def _is_calm(rows: Rows, row: int) -> bool:
    past = rows.at(slice(max(0, row - TRAILING_ROWS), row + 1))
    volume, turnover = past["volume"], past["volume"] * past["close"]
    traded = min(_against_median(volume), _against_median(turnover))
    return traded < CALM and _against_median(np.log(past["high"] / past["low"])) < CALM


def _against_median(values: Numbers) -> float:
    """The last value as a multiple of the others' median; 0 where it is 0 itself."""
    last, usual = float(values[-1]), float(np.median(values[:-1]))
    return last / usual if usual > 0 else np.inf if last > 0 else 0.0


def _shown(rows: Rows, row: int) -> str:
    former, open_, close = rows["close"][row - 1], rows["open"][row], rows["close"][row]
    return f"a jump from close {former:g} to open {open_:g} and close {close:g}"
