"""The validation rules: what each expects of the rows, and the severity of a finding where they do not meet it."""

from dataclasses import dataclass

from pipeline.arrays import Sessions
from pipeline.market.bars import Problem, Severity

NOTE, REPAIRED, ROWS, TICKER = Severity.NOTE, Severity.REPAIRED, Severity.ROWS, Severity.TICKER


@dataclass(frozen=True)
class Rule:
    """A rule's stable name, the severity of its findings, what is expected, and a sentence on its purpose."""

    name: str
    severity: Severity
    expected: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Finding:
    """The sessions [finding] of one ticker that break a rule, ascending, and what was found in the first of them."""

    rule: str
    sessions: Sessions
    found: str


_TABLE = (
    # --- the form of the rows ---
    Rule("columns", TICKER, "each required column once", "Without its columns a ticker cannot be read."),
    Rule("date", ROWS, "a date such as 2024-01-02", "A row without a readable date belongs to no session."),
    Rule("unreadable_number", NOTE, "a number", "Text in place of a number counts as a blank."),
    Rule("time_zone", TICKER, "one time zone, up to daylight saving", "Dates of mixed time zones may be a day off."),
    Rule("unsorted", REPAIRED, "ascending sessions", "Rows out of order are sorted by session."),
    Rule("repeated", REPAIRED, "one row per session", "Of identical rows of one session one is kept."),
    Rule("parted", REPAIRED, "one row per session", "A row with an action alone is merged into its session's row."),
    Rule("conflicting", ROWS, "one row per session", "Of different rows of one session none is reliable."),
    # --- sessions ---
    Rule("unfinished", ROWS, "completed sessions only", "A bar is complete when its session's trading has ended."),
    Rule("no_session", ROWS, "sessions of the exchange only", "Days without trading have no bars."),
    Rule(
        "shifted_days", TICKER, "no bars on days of the week without trading", "Bars dated a day too early look ahead."
    ),
    Rule("missing_sessions", NOTE, "a bar for every session", "Returns over a gap span several sessions."),
    # --- one row by itself ---
    Rule("blank", ROWS, "four prices", "A row without prices is quarantined; its actions are kept."),
    Rule("price", ROWS, "positive finite prices", "A price is a positive number."),
    Rule("price_order", ROWS, "low <= open, close <= high", "Open and close lie between low and high."),
    Rule("high_low", REPAIRED, "low <= open, close <= high", "A high or low that misses by a little is moved."),
    Rule("volume", ROWS, "a volume not below 0", "A volume is not negative."),
    Rule("blank_volume", REPAIRED, "a volume", "A missing volume counts as 0."),
    Rule("dividend", ROWS, "a dividend not below 0", "A dividend is not negative."),
    Rule("split", ROWS, "a positive split factor", "A split factor is positive, 1 where there is no split."),
    Rule("adj_close", ROWS, "a positive adjusted close", "Returns are computed from it."),
    Rule(
        "carried_action", REPAIRED, "actions on rows with prices", "An action on a quarantined row moves to the next."
    ),
    # --- a row against the rows before it ---
    Rule("hundredfold", REPAIRED, "one unit of price", "A few rows in pence instead of pounds are scaled back."),
    Rule("unit_changed", TICKER, "one unit of price", "Prices that stay 100 times off are a change of the unit."),
    Rule("frozen", ROWS, "prices that move", "A flat row repeated day after day is a halted or dead ticker."),
    Rule("unrecorded_split", TICKER, "a split or no jump", "An unrecorded split makes a false return."),
    Rule("split_like_jump", NOTE, "no jump like a split", "Without actions a split looks like a fall."),
    Rule("phantom_split", REPAIRED, "a price that moves with its split", "A split that never happened is taken out."),
    Rule("phantom_dividend", REPAIRED, "a fall with a large dividend", "A dividend that was not paid is taken out."),
    Rule("doubtful_dividend", NOTE, "a fall with a large dividend", "Returns from adj_close do not use it."),
    Rule(
        "vendor_adjustment", NOTE, "adj_close as the actions say", "The vendor's adjusted close implies another return."
    ),
    Rule("zero_volume", NOTE, "trading", "A ticker without trading for days is hard to trade at these prices."),
    Rule("stale_tail", TICKER, "a recent last bar", "A forecast from old bars is not about the next session."),
    # --- found elsewhere, when rows are fetched and stored ---
    Rule("currency", NOTE, "the previous currency", "The vendor now quotes in another currency."),
    Rule("unapplied_split", REPAIRED, "splits applied to older prices", "Old prices were not divided by a split."),
)

RULES = {rule.name: rule for rule in _TABLE}
"""Every rule by its name, in the order in which they are applied."""


def problem_of(ticker: str, rule: str, session: str, found: str, rows: int = 1) -> Problem:
    """Return a problem with the severity and the expectation of its rule."""
    broken = RULES[rule]
    return Problem(ticker, session, rule, broken.severity, found, broken.expected, rows)


def problems_of(ticker: str, findings: list[Finding]) -> tuple[Problem, ...]:
    """Return the findings as problems, one per rule, with the earliest session as the example."""
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    return tuple(_joined(ticker, rule, same_rule) for rule, same_rule in by_rule.items())


def _joined(ticker: str, rule: str, findings: list[Finding]) -> Problem:
    first = min(findings, key=lambda finding: finding.sessions[0])
    rows = sum(len(finding.sessions) for finding in findings)
    return problem_of(ticker, rule, str(first.sessions[0].astype("datetime64[D]")), first.found, rows)
