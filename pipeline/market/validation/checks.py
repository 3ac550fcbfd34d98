"""The checks of one ticker's rows, in their order."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.market.adjustment import VENDOR_TOLERANCE, disagreements
from pipeline.market.bars import ReturnsFrom
from pipeline.market.validation.action_checks import (
    cut_at_unrecorded_split,
    note_split_like_jumps,
    remove_phantom_actions,
)
from pipeline.market.validation.calendar_checks import (
    CalendarDays,
    drop_unfinished,
    note_missing_sessions,
    quarantine_non_sessions,
)
from pipeline.market.validation.price_checks import note_zero_volume, quarantine_frozen_rows, repair_units
from pipeline.market.validation.row_checks import quarantine_bad_rows, repair_high_low
from pipeline.market.validation.rows import CheckedRows, Rows, finding_at
from pipeline.market.validation.rules import RULES, TICKER, Finding

ValidationStep = Callable[[Rows], CheckedRows]


@dataclass(frozen=True)
class SourceTraits:
    """What the checks need to know of a source: where returns come from, and whether it has dividends and splits."""

    returns_from: ReturnsFrom
    has_actions: bool


def check_rows(rows: Rows, days: CalendarDays, traits: SourceTraits) -> CheckedRows:
    """Return the rows that pass, repaired where that is possible, and every finding up to the end of the bars."""
    with np.errstate(all="ignore"):
        completed, unfinished = drop_unfinished(rows, days)
        passed, findings = _apply(_steps(days, traits), completed)
        noted = [*findings, *_notes(passed, traits)]
    end = _end(findings)
    seen = completed.session if end is None else completed.session[completed.session < end]
    return passed, [*_until(noted, end), *note_missing_sessions(seen, days), *unfinished]


def _steps(days: CalendarDays, traits: SourceTraits) -> list[ValidationStep]:
    """Return the checks that may change rows, in the order in which they are applied."""
    always: list[ValidationStep] = [
        partial(quarantine_non_sessions, days=days),
        partial(quarantine_bad_rows, adjusted_returns=traits.returns_from == "adj_close"),
        repair_high_low,
        partial(repair_units, has_actions=traits.has_actions),
        quarantine_frozen_rows,
    ]
    if not traits.has_actions:
        return always
    actions = partial(remove_phantom_actions, returns_from_actions=traits.returns_from == "actions")
    return [*always, _check_vendor_adjustment, actions, cut_at_unrecorded_split]


def _apply(steps: list[ValidationStep], rows: Rows) -> CheckedRows:
    findings: list[Finding] = []
    for step in steps:
        rows, more = step(rows)
        findings += more
    return rows, findings


def _check_vendor_adjustment(rows: Rows) -> CheckedRows:
    """Return the rows unchanged, and the note of those whose adj_close agrees with the actions by no known rule."""
    if "adj_close" not in rows.columns:
        return rows, []
    off = disagreements(rows.columns, "total_return", VENDOR_TOLERANCE)
    if off.any():
        off &= disagreements(rows.columns, "yahoo", VENDOR_TOLERANCE)
    return rows, finding_at(rows, "vendor_adjustment", off, partial(_vendor_return_text, rows))


def _vendor_return_text(rows: Rows, row: int) -> str:
    return f"{rows['adj_close'][row] / rows['adj_close'][row - 1] - 1:+.2%} by adj_close"


def _notes(rows: Rows, traits: SourceTraits) -> list[Finding]:
    unadjusted = not traits.has_actions and traits.returns_from == "close"
    return [*(note_split_like_jumps(rows) if unadjusted else []), *note_zero_volume(rows)]


def _end(findings: list[Finding]) -> np.datetime64 | None:
    """Return the session at which the bars end; None where no finding ends them."""
    return min((finding.sessions[0] for finding in findings if RULES[finding.rule].severity is TICKER), default=None)


def _until(findings: list[Finding], end: np.datetime64 | None) -> list[Finding]:
    """Return the findings up to the end of the bars; what comes after it is dropped."""
    if end is None:
        return findings
    cut = [Finding(it.rule, it.sessions[it.sessions <= end], it.found) for it in findings]
    return [finding for finding in cut if len(finding.sessions)]
