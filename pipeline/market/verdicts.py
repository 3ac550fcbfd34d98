"""What the data contract says of each ticker, as a table for people: sound or not, and every finding."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pipeline.market.bars import Admitted, Problem, Severity

COLUMNS = ("ticker", "verdict", "rule", "what_was_done", "since", "rows", "found", "expected")
SOUND, FOUND, LEFT_OUT = "sound", "usable", "left out"

_Row = tuple[str | int, ...]


def verdicts(admitted: Admitted, recorded: Sequence[Problem] = ()) -> pd.DataFrame:
    """A row per ticker and finding, a ticker without any in one row; columns COLUMNS, the gravest tickers first.

    `recorded` are the findings that were made when the rows were fetched. `verdict` is `sound` without a finding,
    `usable` with some, `left out` where the ticker is not forecast.
    """
    reasons = {out.ticker: out.reason for out in admitted.left_out}
    found: dict[str, list[Problem]] = {ticker: [] for ticker in (*reasons, *admitted.bars.tickers)}
    for problem in dict.fromkeys((*admitted.problems, *recorded)):
        found.setdefault(problem.ticker, []).append(problem)
    rows = [row for ticker, problems in found.items() for row in _rows(ticker, problems, reasons.get(ticker))]
    order = {LEFT_OUT: 0, FOUND: 1, SOUND: 2}
    return pd.DataFrame(sorted(rows, key=lambda row: (order[str(row[1])], row[0])), columns=list(COLUMNS))


def counts(table: pd.DataFrame) -> dict[str, int]:
    """How many tickers have each verdict, none included."""
    by_ticker = table.drop_duplicates("ticker")["verdict"]
    return {verdict: int((by_ticker == verdict).sum()) for verdict in (SOUND, FOUND, LEFT_OUT)}


def _rows(ticker: str, problems: Iterable[Problem], reason: str | None) -> list[_Row]:
    verdict = LEFT_OUT if reason else FOUND if problems else SOUND
    told: list[_Row] = [
        (ticker, verdict, one.rule, one.severity.value, one.session, one.rows, one.found, one.expected)
        for one in problems
    ]
    if told or not reason:
        return told or [(ticker, verdict, "", "", "", 0, "", "")]
    return [(ticker, verdict, "no_bars", Severity.TICKER.value, "", 0, reason, "usable bars")]
