"""The validation report: the status of each ticker and every finding, as a table."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pipeline.market.bars import Problem, Severity, ValidatedBars

REPORT_COLUMNS = ("ticker", "status", "rule", "severity", "since", "rows", "found", "expected")
CLEAN, USABLE, EXCLUDED = "clean", "usable", "excluded"

_Row = tuple[str | int, ...]


def validation_report(validated: ValidatedBars, recorded: Sequence[Problem] = ()) -> pd.DataFrame:
    """Return a row per ticker and finding, excluded tickers first; columns REPORT_COLUMNS.

    A ticker without a finding has one row. `recorded` are the findings made when the rows were fetched. `status` is
    `clean` without a finding, `usable` with some, `excluded` where the ticker is not forecast.
    """
    reasons = {out.ticker: out.reason for out in validated.excluded}
    by_ticker: dict[str, list[Problem]] = {ticker: [] for ticker in (*reasons, *validated.bars.tickers)}
    for problem in dict.fromkeys((*validated.problems, *recorded)):
        by_ticker.setdefault(problem.ticker, []).append(problem)
    rows = [row for ticker, problems in by_ticker.items() for row in _rows(ticker, problems, reasons.get(ticker))]
    order = {EXCLUDED: 0, USABLE: 1, CLEAN: 2}
    return pd.DataFrame(sorted(rows, key=lambda row: (order[str(row[1])], row[0])), columns=list(REPORT_COLUMNS))


def status_counts(report: pd.DataFrame) -> dict[str, int]:
    """Return the number of tickers of each status, zeros included."""
    by_ticker = report.drop_duplicates("ticker")["status"]
    return {status: int((by_ticker == status).sum()) for status in (CLEAN, USABLE, EXCLUDED)}


def _rows(ticker: str, problems: Iterable[Problem], reason: str | None) -> list[_Row]:
    status = EXCLUDED if reason else USABLE if problems else CLEAN
    rows: list[_Row] = [
        (ticker, status, it.rule, it.severity.value, it.session, it.rows, it.found, it.expected) for it in problems
    ]
    if rows or not reason:
        return rows or [(ticker, status, "", "", "", 0, "", "")]
    return [(ticker, status, "no_bars", Severity.TICKER.value, "", 0, reason, "usable bars")]
