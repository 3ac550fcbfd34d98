"""Yahoo's answer, as yfinance hands it over, brought to rows as traded: the one place that knows its shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import SourceUnavailableError
from pipeline.market.adjustment import plain_actions
from pipeline.market.bars import COLUMNS, Problem, Severity
from pipeline.market.columns import PER_TICKER, ambiguous, canonical, missing, renamed
from pipeline.market.fetched import Fetched
from pipeline.market.yahoo.distributions import whole_dividend
from pipeline.market.yahoo.splits import traded_rows
from pipeline.market.yahoo.stamps import wall_dates

NUMBERS = COLUMNS[2:]
PRICES_AND_ADJUSTED = ("open", "high", "low", "close", "adj_close")
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
    rows = _numbers(told.ticker, _flat(told.frame)).assign(session=wall_dates(told.frame.index, told.metadata, told.at))
    rows, repeated = _each_session_once(told, rows.sort_values("session", kind="stable"))
    traded, unapplied = traded_rows(told.ticker, plain_actions(_with_gains(_as_told(rows))))
    wanted = traded[traded["session"] >= pd.Timestamp(first_day)].reset_index(drop=True)
    if wanted.empty:
        raise _no_rows(told.ticker, first_day)
    kinds = {name: np.float64 for name in NUMBERS}
    canonical_rows = wanted[list(COLUMNS[1:])].astype(kinds | {"session": "datetime64[s]"})
    return Fetched(canonical_rows, since, _currency(told), told.at, (*repeated, *unapplied))
