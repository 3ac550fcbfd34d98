"""Checks of splits and dividends against prices: actions that never happened, and splits that are missing."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats
from pipeline.market.validation.rows import CheckedRows, Rows, finding_at
from pipeline.market.validation.rules import Finding

MIN_CHECKED_SPLIT = np.log(1.4)
"""Smaller splits are not checked: spin-offs reported as splits, which a day's return can hide."""

UNMOVED = 0.25
"""A split did not happen where open and close moved by less than this share of its logarithm."""

LARGE_DIVIDEND = 0.2

MIN_FALL = 0.5
"""A dividend of more than LARGE_DIVIDEND of the previous close was not paid where the price fell by less than
this share of it."""

WHOLE_RATIOS = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0, 50.0])
THREE_FOR_TWO = 1.5

NEAR = 0.12
"""How far (in logs) open and close may be from a split's ratio: the return overnight and of the session."""

VERY_NEAR = 0.03
"""Falls by a third happen without a split, so a 3:2 split is detected only where little else happened."""

LOG_RATIOS = np.log([*1.0 / WHOLE_RATIOS, *WHOLE_RATIOS, 1.0 / THREE_FOR_TWO])
"""Jumps of the price by a split, down and up; of 3:2 down only, as its reverse is rare."""

NEARNESS = np.append(np.full(2 * len(WHOLE_RATIOS), NEAR), VERY_NEAR)
MAX_FALL_FACTOR = float(np.exp(VERY_NEAR)) / THREE_FOR_TWO
MIN_LEAP_FACTOR = float(np.exp(-NEAR)) * 2.0

CALM = 3.0
"""Turnover and range below so many medians make a calm session: a crash multiplies one of them, a split neither."""

TRAILING_ROWS = 20


def remove_phantom_actions(rows: Rows, returns_from_actions: bool) -> CheckedRows:
    """Return the rows without actions that their prices do not show.

    A dividend that no return is computed from is kept. One reported per share after the split of its own session is
    restated per share before it, as bars have it.
    """
    split_rows, splits = _without_phantom_splits(rows)
    phantom = _phantom_dividends(split_rows)
    if not phantom.any():
        return split_rows, splits
    rule = "phantom_dividend" if returns_from_actions else "doubtful_dividend"
    findings = [*splits, *finding_at(rows, rule, phantom, partial(_action_text, rows, "dividend"))]
    return (split_rows.changed(dividend=paid_dividends(split_rows)) if returns_from_actions else split_rows), findings


def paid_dividends(rows: Rows) -> Floats:
    """Return the dividends [row] per share before the session's split.

    A phantom dividend is read as one per new share where the fall of the price fits that, and else as none.
    """
    paid = rows["dividend"]
    at = np.flatnonzero(_phantom_dividends(rows))
    if not len(at):
        return paid
    paid, restated = paid.copy(), paid[at] * rows["split"][at]
    paid[at] = np.where(_fell_by(rows, at, restated), restated, 0.0)
    return paid


def _without_phantom_splits(rows: Rows) -> CheckedRows:
    phantom = _phantom_splits(rows)
    if not phantom.any():
        return rows, []
    findings = finding_at(rows, "phantom_split", phantom, partial(_action_text, rows, "split"))
    return rows.changed(split=np.where(phantom, 1.0, rows["split"])), findings


def _phantom_splits(rows: Rows) -> Booleans:
    at = _later(rows["split"] != 1.0)
    expected = np.abs(np.log(rows["split"][at]))
    moved = [np.abs(np.log(rows[name][at] / rows["close"][at - 1])) for name in ("open", "close")]
    return _mask(rows, at[(expected >= MIN_CHECKED_SPLIT) & (np.maximum(*moved) < UNMOVED * expected)])


def _phantom_dividends(rows: Rows) -> Booleans:
    at = _later(rows["dividend"] > 0)
    dividend = rows["dividend"][at]
    large = dividend > LARGE_DIVIDEND * rows["close"][at - 1]
    return _mask(rows, at[large & ~_fell_by(rows, at, dividend)])


def _fell_by(rows: Rows, at: NDArray[np.intp], dividend: Floats) -> Booleans:
    """Return whether the close fell by at least MIN_FALL of a dividend, splits taken out."""
    fall = rows["close"][at - 1] - rows["close"][at] * rows["split"][at]
    fell: Booleans = fall >= MIN_FALL * dividend
    return fell


def _later(marked: Booleans) -> NDArray[np.intp]:
    """Return the marked rows without the first row, which has none before it."""
    at = np.flatnonzero(marked)
    return at[at > 0]


def _mask(rows: Rows, at: NDArray[np.intp]) -> Booleans:
    marked = np.zeros(len(rows), bool)
    marked[at] = True
    return marked


def _action_text(rows: Rows, name: str, row: int) -> str:
    closes = rows["close"]
    return f"{name} {rows[name][row]:g} with closes {closes[row - 1]:g} and {closes[row]:g}"


def cut_at_unrecorded_split(rows: Rows) -> CheckedRows:
    """Return the rows before the first jump that looks like a split and has none recorded."""
    jumps = split_like_jumps(rows)
    if not jumps.any():
        return rows, []
    row = int(jumps.argmax())
    return rows.before(row), [Finding("unrecorded_split", rows.session[row : row + 1], _jump_text(rows, row))]


def note_split_like_jumps(rows: Rows) -> list[Finding]:
    """Return the note of jumps that look like splits."""
    jumps = split_like_jumps(rows)
    return finding_at(rows, "split_like_jump", jumps, partial(_jump_text, rows))


def split_like_jumps(rows: Rows) -> Booleans:
    """Return which rows [row] jump overnight by a split's ratio that no action explains, on a calm session.

    A real crash or leap comes with many times the usual turnover or range. Volume may be reported in old or in new
    shares, so it is calm if either the turnover or the number of shares is.
    """
    moved = _moved(rows, "close")
    jumps = np.zeros(len(rows), bool)
    for row in np.flatnonzero((moved < MAX_FALL_FACTOR) | (moved > MIN_LEAP_FACTOR)) + 1:
        jumps[row] = _at_a_ratio(rows, int(row)) and _is_calm(rows, int(row))
    return jumps


def _moved(rows: Rows, name: str) -> Floats:
    """Return, from the second row on, the price as a factor of the previous close, the effect of actions taken out."""
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


def _against_median(values: Floats) -> float:
    """Return the last value as a multiple of the others' median; 0 where it is 0 itself."""
    last, usual = float(values[-1]), float(np.median(values[:-1]))
    return last / usual if usual > 0 else np.inf if last > 0 else 0.0


def _jump_text(rows: Rows, row: int) -> str:
    previous, open_, close = rows["close"][row - 1], rows["open"][row], rows["close"][row]
    return f"a jump from close {previous:g} to open {open_:g} and close {close:g}"
