"""Rows that pass validation, to be spoilt by a test, and the shape in which Yahoo would report them."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.market.calendars import next_sessions

NOW = datetime(2024, 12, 31, 12, tzinfo=UTC)
"""A moment before the close of the year's last session, which is thus not over."""

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""Large real data next to the checkout; tests that need it skip where it is absent."""


def good_rows(count: int = 60, after: str = "2024-01-31", seed: int = 0) -> pd.DataFrame:
    """Sound rows of consecutive XNYS sessions with all columns, one dividend and one split."""
    draws = np.random.default_rng(seed)
    dividend, split = np.zeros(count), np.ones(count)
    dividend[count // 3], split[count // 2] = 0.5, 4.0
    shares = np.cumprod(split)
    close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, count))) / shares
    open_ = close * np.exp(draws.normal(0, 0.005, count))
    total = np.append(1.0, (close[1:] * split[1:] + dividend[1:]) / close[:-1])
    return pd.DataFrame(
        {
            "session": next_sessions("XNYS", np.datetime64(after), count).astype("datetime64[s]"),
            "open": open_,
            "high": np.maximum(open_, close) * 1.01,
            "low": np.minimum(open_, close) / 1.01,
            "close": close,
            "volume": draws.integers(1_000, 9_000, count).astype(float) * 12 * shares,
            "adj_close": 50.0 * np.cumprod(total),
            "dividend": dividend,
            "split": split,
        }
    )


def split_adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as a vendor tells them after the fact, slowly: each split divides every earlier price."""
    reported = rows.copy()
    for at, factor in enumerate(rows["split"]):
        reported.loc[: at - 1, ["open", "high", "low", "close", "dividend"]] /= factor
        reported.loc[: at - 1, "volume"] *= factor
    return reported


def as_yahoo_exports(rows: pd.DataFrame, adjust: bool = True) -> pd.DataFrame:
    """The rows under the names of a Yahoo export, split-adjusted (here, or before), with 0 where there was no split."""
    reported = (split_adjusted(rows) if adjust else rows).assign(session=rows["session"].dt.strftime("%Y-%m-%d"))
    reported["split"] = reported["split"].where(reported["split"] != 1.0, 0.0)
    names = {"session": "Date", "adj_close": "Adj Close", "dividend": "Dividends", "split": "Stock Splits"}
    return reported.rename(columns=lambda name: names.get(name, name.title()))
