"""Made bars on the sessions of real calendars, and the value of a session."""

from datetime import date

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.dataset.panel import Panel
from pipeline.market.bars import Bars, Listing
from pipeline.market.calendars import sessions_between
from tests.panels import random_rows

FIRST, LAST = date(2024, 1, 2), date(2024, 12, 31)


def bars_on(calendar: str, tickers: tuple[str, ...], seed: int, last: date = LAST) -> Bars:
    """Sound bars of a calendar's sessions of the year."""
    sessions = sessions_between(calendar, FIRST, last)
    rows = [
        random_rows(len(sessions), seed + k).assign(session=sessions.astype("datetime64[s]"), ticker=ticker)
        for k, ticker in enumerate(tickers)
    ]
    return Bars(pd.concat(rows, ignore_index=True), tuple(Listing(t, calendar, "USD") for t in tickers), "actions")


def at(panel: Panel, values: Floats, session: str) -> float:
    return float(values[np.flatnonzero(panel.sessions == np.datetime64(session))[0]])
