"""Yahoo's answer, as yfinance hands it over, brought to rows as traded: the one place that knows its shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import SourceUnavailableError
from pipeline.market.adjustment import plain_actions
from pipeline.market.bars import COLUMNS, PRICES, Problem, Severity
from pipeline.market.columns import PER_TICKER, ambiguous, missing, renamed
from pipeline.market.fetched import Fetched
from pipeline.market.yahoo.distributions import whole_dividend
from pipeline.market.yahoo.splits import traded_rows
from pipeline.market.yahoo.stamps import wall_dates

NUMBERS = COLUMNS[2:]
GAINS = "capital_gains"


@dataclass(frozen=True, eq=False)
class Told:
    """One answer of yfinance: its frame, and what the answer's metadata say about the listing and about now."""

    ticker: str
    frame: pd.DataFrame
    metadata: Mapping[str, Any]
    at: datetime


def fetched(told: Told, first_day: date, since: date | None) -> Fetched:
    """The answer's rows from the first day on, as traded, with its currency and the repairs made on the way.

    Raises SourceUnavailableError where the answer cannot be read, or has no row from that day on.
    """
    if told.frame.empty:
        raise _no_rows(told.ticker, first_day)
    rows = _numbers(_flat(told.frame)).assign(session=wall_dates(told.frame.index, told.metadata, told.at))
    once, repeated = _each_session_once(told, rows.sort_values("session", kind="stable", ignore_index=True))
    traded, unapplied = traded_rows(told.ticker, plain_actions(_with_gains(_only_what_was_told(once))))
    wanted = traded[traded["session"] >= pd.Timestamp(first_day)]
    if wanted.empty:
        raise _no_rows(told.ticker, first_day)
    return Fetched(_canonical(wanted), since, _currency(told), told.at, (*repeated, *unapplied))


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame under plain column names: of columns in levels, the level that names the prices."""
    for level in range(frame.columns.nlevels if isinstance(frame.columns, pd.MultiIndex) else 0):
        names = frame.columns.get_level_values(level)
        if "close" not in missing(names, ("close",)):
            return frame.set_axis(names, axis="columns")
    return frame


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The number columns under the project's names as float64; an adjusted close that is not told is NaN."""
    rows = renamed(frame)
    if lacking := missing(rows.columns, (*PER_TICKER[1:], "dividend", "split")):
        raise _unreadable(f"no {', '.join(lacking)}", "these columns")
    if twice := ambiguous(frame.columns):
        raise _unreadable(f"{', '.join(twice)} more than once", "each column once")
    kept = [name for name in (*NUMBERS, GAINS) if name in rows]
    numbers = {name: pd.to_numeric(rows[name], errors="coerce").to_numpy(np.float64) for name in kept}
    return pd.DataFrame({"adj_close": np.nan, **numbers}, index=range(len(rows)))


def _only_what_was_told(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the numbers that yfinance makes up where Yahoo tells none.

    It tells a volume of 0 for a row without prices, and the close as the adjusted close where Yahoo leaves that out:
    seen from an adjusted close that is the close everywhere, though a dividend was paid in between.
    """
    priceless = rows[list(PRICES)].isna().all(axis="columns")
    paid_between = (rows["dividend"].iloc[1:-1] > 0).any()
    told_adjusted = not (paid_between and rows["adj_close"].equals(rows["close"]))
    return rows.assign(volume=rows["volume"].mask(priceless), adj_close=rows["adj_close"] if told_adjusted else np.nan)


def _with_gains(rows: pd.DataFrame) -> pd.DataFrame:
    if GAINS not in rows:
        return rows
    close, dividend, gains = (rows[name].to_numpy(np.float64) for name in ("close", "dividend", GAINS))
    return rows.assign(dividend=whole_dividend(close, dividend, gains))


def _each_session_once(told: Told, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """The first row of each session, and a repair for each session told twice and not alike.

    Yahoo appends its live quote to the daily bars, and so a session may come twice. yfinance keeps the live quote for
    the last session; whatever repeats beyond that loses to the row that came first.
    """
    last = rows["session"].iloc[-1:] if told.metadata.get("lastTrade") else rows["session"].iloc[:0]
    differing = rows[~rows.duplicated() & rows["session"].duplicated()]["session"]
    repeated = [_repeated(told.ticker, day, "the live one") for day in last]
    repeated += [_repeated(told.ticker, day, "the first one") for day in differing.drop_duplicates()]
    return rows.drop_duplicates("session", ignore_index=True), repeated


def _repeated(ticker: str, day: pd.Timestamp, kept: str) -> Problem:
    found = f"the session told twice with different numbers, {kept} kept"
    return Problem(ticker, str(day.date()), "repeated_session", Severity.REPAIRED, found, "one row per session")


def _currency(told: Told) -> str:
    currency = told.metadata.get("currency")
    if not isinstance(currency, str) or not currency:
        raise _unreadable(f"{currency!r} as the currency", "a code such as USD")
    return currency


def _canonical(rows: pd.DataFrame) -> pd.DataFrame:
    kinds = {name: np.dtype("float64") for name in NUMBERS} | {"session": np.dtype("datetime64[s]")}
    return rows[list(COLUMNS[1:])].reset_index(drop=True).astype(kinds)


def _no_rows(ticker: str, first_day: date) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"Yahoo answered with no rows of {ticker} since {first_day}; it may be delisted or younger, or Yahoo may have "
        "them another time"
    )


def _unreadable(found: str, expected: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"Yahoo's answer cannot be read: found {found}, expected {expected}; try again later, or update yfinance"
    )
