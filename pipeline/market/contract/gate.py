"""The gate: one ticker's rows go in, bars and findings come out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.market.adjustment import disagreements
from pipeline.market.bars import ReturnsFrom
from pipeline.market.contract.actions import true_actions
from pipeline.market.contract.days import CalendarDays, completed, missing_sessions, on_sessions
from pipeline.market.contract.jumps import noted_jumps, to_unrecorded_split
from pipeline.market.contract.quiet import moving, zero_volume
from pipeline.market.contract.rows import Judged, Rows, found_at
from pipeline.market.contract.rules import RULES, TICKER, Finding
from pipeline.market.contract.sane import in_order, sane
from pipeline.market.contract.units import one_unit

VENDOR_TOLERANCE = 1e-4

Step = Callable[[Rows], Judged]


@dataclass(frozen=True)
class Claims:
    """What a source says of its rows: where returns come from, and whether it tells dividends and splits."""

    returns_from: ReturnsFrom
    has_actions: bool


def judge(rows: Rows, days: CalendarDays, claims: Claims) -> Judged:
    """The rows that may be bars, repaired where that is possible, and every finding up to the end of the bars."""
    with np.errstate(all="ignore"):
        over, unfinished = completed(rows, days)
        kept, found = _through(_steps(days, claims), over)
        noted = [*found, *_notes(kept, claims)]
    end = _end(found)
    seen = over.session if end is None else over.session[over.session < end]
    return kept, [*_until(noted, end), *missing_sessions(seen, days), *unfinished]


def _steps(days: CalendarDays, claims: Claims) -> list[Step]:
    """The rules that may change rows, each meeting the rows that those before it left."""
    always: list[Step] = [
        partial(on_sessions, days=days),
        partial(sane, adjusted_returns=claims.returns_from == "adj_close"),
        in_order,
        partial(one_unit, has_actions=claims.has_actions),
        moving,
    ]
    if not claims.has_actions:
        return always
    paid = partial(true_actions, returns_from_actions=claims.returns_from == "actions")
    return [*always, _against_the_vendor, paid, to_unrecorded_split]


def _through(steps: list[Step], rows: Rows) -> Judged:
    found: list[Finding] = []
    for step in steps:
        rows, more = step(rows)
        found += more
    return rows, found


def _against_the_vendor(rows: Rows) -> Judged:
    """The rows as they are, and the note of those whose adj_close agrees with the actions by no known rule."""
    if "adj_close" not in rows.columns:
        return rows, []
    off = disagreements(rows.columns, "total_return", VENDOR_TOLERANCE)
    if off.any():
        off &= disagreements(rows.columns, "yahoo", VENDOR_TOLERANCE)
    return rows, found_at(rows, "vendor_adjustment", off, partial(_told_return, rows))


def _told_return(rows: Rows, row: int) -> str:
    return f"{rows['adj_close'][row] / rows['adj_close'][row - 1] - 1:+.2%} by adj_close"


def _notes(rows: Rows, claims: Claims) -> list[Finding]:
    unadjusted = not claims.has_actions and claims.returns_from == "close"
    return [*(noted_jumps(rows) if unadjusted else []), *zero_volume(rows)]


def _end(found: list[Finding]) -> np.datetime64 | None:
    """The session at which the bars end; None where they do not."""
    return min((finding.sessions[0] for finding in found if RULES[finding.rule].severity is TICKER), default=None)


def _until(found: list[Finding], end: np.datetime64 | None) -> list[Finding]:
    """The findings as far as the bars go; what comes after their end is of no interest."""
    if end is None:
        return found
    cut = [Finding(one.rule, one.sessions[one.sessions <= end], one.found) for one in found]
    return [one for one in cut if len(one.sessions)]
