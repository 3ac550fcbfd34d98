"""Yahoo's answers, as yfinance returns them, parsed into rows as traded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from pipeline.errors import SourceUnavailableError
from pipeline.market.adjustment import plain_actions
from pipeline.market.bars import COLUMNS, FIELDS, PRICES, FetchedRows, Problem, Severity
from pipeline.market.parsing import REQUIRED_COLUMNS, ambiguous_columns, missing_columns, with_bars_columns
from pipeline.market.yahoo.actions import rows_as_traded, whole_dividend

GAINS = "capital_gains"

LATEST_START = pd.Timedelta(hours=1)
"""A bar is stamped with the midnight that begins its day, an hour later where the clocks skip that midnight."""

MIN_WEEK_SESSIONS = 10
"""With fewer sessions the days of the week are not checked."""

WEEK_BEGINS_ON_SUNDAY = ("Africa/Cairo", "Asia/")
"""Zones with exchanges that trade from Sunday to Thursday. Elsewhere a Sunday is a sign of dates a day too early."""


MONDAY, FRIDAY, SATURDAY, SUNDAY = 0, 4, 5, 6


@dataclass(frozen=True, eq=False)
class YahooResponse:
    """One answer of yfinance: its frame, the metadata of the listing and the last trade, and the time of the answer."""

    ticker: str
    frame: pd.DataFrame
    metadata: Mapping[str, Any]
    at: datetime


def parse_response(response: YahooResponse, first_day: date, since: date | None) -> FetchedRows:
    """Return the answer's rows from the first day on, as traded, with its currency and the repairs made.

    Raises SourceUnavailableError where the answer is unreadable, or has no row from that day on.
    """
    if response.frame.empty:
        raise _no_rows(response.ticker, first_day)
    rows = _numbers(_flat(response.frame)).assign(
        session=wall_dates(response.frame.index, response.metadata, response.at)
    )
    once, repeated = _each_session_once(response, rows.sort_values("session", kind="stable", ignore_index=True))
    traded, unapplied = rows_as_traded(response.ticker, plain_actions(_with_gains(_without_filled_values(once))))
    wanted = traded[traded["session"] >= pd.Timestamp(first_day)]
    if wanted.empty:
        raise _no_rows(response.ticker, first_day)
    return FetchedRows(_typed(wanted), since, _currency(response), response.at, (*repeated, *unapplied))


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame under plain column names: of several column levels, the one that names the prices."""
    for level in range(frame.columns.nlevels if isinstance(frame.columns, pd.MultiIndex) else 0):
        names = frame.columns.get_level_values(level)
        if "close" not in missing_columns(names, ("close",)):
            return frame.set_axis(names, axis="columns")
    return frame


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the number columns under a bars frame's names as float64; a missing adjusted close is NaN."""
    rows = with_bars_columns(frame)
    if lacking := missing_columns(rows.columns, (*REQUIRED_COLUMNS[1:], "dividend", "split")):
        raise _unreadable(f"no {', '.join(lacking)}", "these columns")
    if twice := ambiguous_columns(frame.columns):
        raise _unreadable(f"{', '.join(twice)} more than once", "each column once")
    present = [name for name in (*FIELDS, GAINS) if name in rows]
    numbers = {name: pd.to_numeric(rows[name], errors="coerce").to_numpy(np.float64) for name in present}
    return pd.DataFrame({"adj_close": np.nan, **numbers}, index=range(len(rows)))


def _without_filled_values(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the numbers that yfinance fills in where Yahoo reports none.

    It fills in a volume of 0 for a row without prices, and the close for a missing adjusted close. The latter shows
    where the adjusted close equals the close everywhere although a dividend was paid in between.
    """
    priceless = rows[list(PRICES)].isna().all(axis="columns")
    paid_between = (rows["dividend"].iloc[1:-1] > 0).any()
    has_adjusted = not (paid_between and rows["adj_close"].equals(rows["close"]))
    return rows.assign(volume=rows["volume"].mask(priceless), adj_close=rows["adj_close"] if has_adjusted else np.nan)


def _with_gains(rows: pd.DataFrame) -> pd.DataFrame:
    if GAINS not in rows:
        return rows
    close, dividend, gains = (rows[name].to_numpy(np.float64) for name in ("close", "dividend", GAINS))
    return rows.assign(dividend=whole_dividend(close, dividend, gains))


def _each_session_once(response: YahooResponse, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the first row of each session, and a repair for each session reported twice with different numbers.

    Yahoo appends its live quote to the daily bars, so a session may occur twice. yfinance keeps the live quote for the
    last session; of other repeated sessions the first row is kept.
    """
    last = rows["session"].iloc[-1:] if response.metadata.get("lastTrade") else rows["session"].iloc[:0]
    differing = rows[~rows.duplicated() & rows["session"].duplicated()]["session"]
    repeated = [_repeated(response.ticker, day, "the live one") for day in last]
    repeated += [_repeated(response.ticker, day, "the first one") for day in differing.drop_duplicates()]
    return rows.drop_duplicates("session", ignore_index=True), repeated


def _repeated(ticker: str, day: pd.Timestamp, kept: str) -> Problem:
    found = f"the session reported twice with different numbers, {kept} kept"
    return Problem(ticker, str(day.date()), "repeated_session", Severity.REPAIRED, found, "one row per session")


def _currency(response: YahooResponse) -> str:
    currency = response.metadata.get("currency")
    if not isinstance(currency, str) or not currency:
        raise _unreadable(f"{currency!r} as the currency", "a code such as USD")
    return currency


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    kinds = {name: np.dtype("float64") for name in FIELDS} | {"session": np.dtype("datetime64[s]")}
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


def wall_dates(index: pd.Index, metadata: Mapping[str, Any], at: datetime) -> pd.DatetimeIndex:
    """Return the session date per row, tz-naive, in the local time of the exchange.

    Raises SourceUnavailableError where the answer is inconsistent about the zone: bars in another zone than the
    exchange's, an offset to UTC that this zone never has, bars off midnight, or a week that is shifted by a day.
    """
    if not isinstance(index, pd.DatetimeIndex):
        raise _shifted(f"rows by {index.dtype}", "rows by day")
    zone = str(metadata.get("exchangeTimezoneName"))
    if index.tz is not None and str(index.tz) != zone:
        raise _shifted(f"bars in the zone {index.tz}", f"the exchange's zone {zone}")
    _refuse_wrong_offset(metadata.get("gmtoffset"), zone, at)
    wall = index.tz_localize(None)
    days = wall.normalize()
    if (wall - days > LATEST_START).any():
        raise _shifted(f"a bar stamped {wall[wall - days > LATEST_START][0]}", "bars stamped with their day's midnight")
    _refuse_shifted_week(days, zone)
    return days


def _refuse_wrong_offset(offset_seconds: Any, zone: str, at: datetime) -> None:
    if offset_seconds is None:
        return
    known = _offsets_seconds(zone, at)
    if offset_seconds not in known:
        offsets = " or ".join(f"{seconds / 3600:+g} h" for seconds in sorted(known))
        raise _shifted(f"a clock {offset_seconds / 3600:+g} h from UTC", f"{offsets} as in {zone}")


def _offsets_seconds(zone: str, at: datetime) -> set[float]:
    """Return the zone's offsets to UTC in the months of that year, summer time included."""
    try:
        clock = ZoneInfo(zone)
    except (LookupError, ValueError) as error:
        raise _shifted(f"the zone {zone}", "the name of a time zone") from error
    days = [at, *(at.replace(month=month, day=1) for month in range(1, 13))]
    return {offset.total_seconds() for day in days if (offset := day.astimezone(clock).utcoffset()) is not None}


def _refuse_shifted_week(days: pd.DatetimeIndex, zone: str) -> None:
    traded = set(days.day_of_week)
    early = SUNDAY in traded and FRIDAY not in traded and not zone.startswith(WEEK_BEGINS_ON_SUNDAY)
    late = SATURDAY in traded and MONDAY not in traded
    if len(days) >= MIN_WEEK_SESSIONS and (early or late):
        found = "Sundays and no Friday" if early else "Saturdays and no Monday"
        raise _shifted(f"bars on {found} in {zone}", "days on which there is trading")


def _shifted(found: str, expected: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"Yahoo's days cannot be trusted: found {found}, expected {expected}; try again later, or update yfinance"
    )
