"""The table of rules: what each expects of the rows, and how grave it is where they do not meet it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.market.bars import Problem, Severity

NOTE, REPAIRED, ROWS, TICKER = Severity.NOTE, Severity.REPAIRED, Severity.ROWS, Severity.TICKER


@dataclass(frozen=True)
class Rule:
    """A rule's stable name, the severity of a finding, what was expected, and in a sentence what the rule is for."""

    name: str
    severity: Severity
    expected: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Finding:
    """The sessions of one ticker that break a rule, ascending, and what was found in the first of them."""

    rule: str
    sessions: NDArray[np.datetime64]
    found: str


_TABLE = (
    # --- the form of the rows ---
    Rule("columns", TICKER, "each required column once", "Without its columns a ticker cannot be read."),
    Rule("date", ROWS, "a date such as 2024-01-02", "A row without a readable date belongs to no session."),
    Rule("unreadable_number", NOTE, "a number", "Text in place of a number counts as a blank."),
    Rule("time_zone", TICKER, "one time zone, up to daylight saving", "Dates of mixed time zones may be a day off."),
    Rule("unsorted", REPAIRED, "ascending sessions", "Rows out of order are sorted by session."),
    Rule("repeated", REPAIRED, "one row per session", "Of identical rows of one session one is kept."),
    Rule("parted", REPAIRED, "one row per session", "A blank row that only tells an action joins its session's row."),
    Rule("conflicting", ROWS, "one row per session", "Of different rows of one session none can be trusted."),
    # --- sessions ---
    Rule("unfinished", ROWS, "completed sessions only", "A bar is complete when its session's trading has ended."),
    Rule("no_session", ROWS, "sessions of the exchange only", "A bar of a day without trading is no bar."),
    Rule("shifted_days", TICKER, "no bars on days of the week without trading", "Bars dated a day off tell tomorrow."),
    Rule("missing_sessions", NOTE, "a bar for every session", "Returns over a gap span several sessions."),
    # --- one row by itself ---
    Rule("blank", ROWS, "four prices", "A row without prices is put aside; its actions are kept."),
    Rule("price", ROWS, "positive finite prices", "A price is a positive number."),
    Rule("price_order", ROWS, "low <= open, close <= high", "Open and close lie between low and high."),
    Rule("high_low", REPAIRED, "low <= open, close <= high", "A high or low that misses by little is moved."),
    Rule("volume", ROWS, "a volume not below 0", "A volume is not negative."),
    Rule("blank_volume", REPAIRED, "a volume", "A volume that was not told counts as 0."),
    Rule("dividend", ROWS, "a dividend not below 0", "A dividend is not negative."),
    Rule("split", ROWS, "a positive split factor", "A split factor is positive, 1 where there is no split."),
    Rule("adj_close", ROWS, "a positive adjusted close", "Returns are computed from it."),
    Rule("carried_action", REPAIRED, "actions on rows with prices", "An action on a row put aside moves to the next."),
    # --- a row against those before it ---
    Rule("hundredfold", REPAIRED, "one unit of price", "A few rows in pence instead of pounds are scaled back."),
    Rule("unit_changed", TICKER, "one unit of price", "Prices that stay 100 times off cannot be told from a change."),
    Rule("frozen", ROWS, "prices that move", "A flat row repeated day after day is a halted or dead ticker."),
    Rule("unrecorded_split", TICKER, "a split or no jump", "A split that is not told makes a false return."),
    Rule("split_like_jump", NOTE, "no jump like a split", "Without actions a split cannot be told from a fall."),
    Rule("phantom_split", REPAIRED, "a price that moves with its split", "A split that never happened is taken out."),
    Rule("phantom_dividend", REPAIRED, "a fall with a large dividend", "A dividend that was not paid is taken out."),
    Rule("doubtful_dividend", NOTE, "a fall with a large dividend", "It does not enter returns from adj_close."),
    Rule(
        "vendor_adjustment", NOTE, "adj_close as the actions say", "The vendor's adjusted close tells another return."
    ),
    Rule("zero_volume", NOTE, "trading", "A ticker without trading for days is hard to trade at these prices."),
    Rule("stale_tail", TICKER, "a recent last bar", "A forecast from old bars is not about tomorrow."),
    # --- found elsewhere, when rows are fetched and stored ---
    Rule("currency", NOTE, "the former currency", "The vendor now quotes in another currency."),
    Rule("unapplied_split", REPAIRED, "splits applied to older prices", "Old prices were not divided by a split."),
)

RULES = {rule.name: rule for rule in _TABLE}
"""Every rule by its name, in the order in which rows meet them."""


def problem_of(ticker: str, rule: str, session: str, found: str, rows: int = 1) -> Problem:
    """The problem that says so, with the severity and the expectation of the rule."""
    told = RULES[rule]
    return Problem(ticker, session, rule, told.severity, found, told.expected, rows)


def problems_of(ticker: str, findings: list[Finding]) -> tuple[Problem, ...]:
    """The findings as problems, one a rule, with the earliest session as the example."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    return tuple(_joined(ticker, rule, found) for rule, found in by_rule.items())


def _joined(ticker: str, rule: str, found: list[Finding]) -> Problem:
    first = min(found, key=lambda finding: finding.sessions[0])
    rows = sum(len(finding.sessions) for finding in found)
    return problem_of(ticker, rule, str(first.sessions[0].astype("datetime64[D]")), first.found, rows)
