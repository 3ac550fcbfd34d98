"""Shuffled returns: real days in random order. What a day is like stays, what it says of the next is gone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.arrays import Indices
from pipeline.market.held import HeldPrices

FIRST_PRICE = 100.0
OF_THE_CLOSE = ("open", "high", "low")


def shuffled_returns(prices: HeldPrices, tickers: Sequence[str], seed: int) -> HeldPrices:
    """Return prices whose days are those of these tickers in random order, the same order for every ticker.

    Of the sessions that they have in common, each day keeps its shape (open, high and low beside the close),
    its volume and its total return less the ticker's mean, so no ticker has a drift that could be learned. Returns of
    one day stay together: tickers go on moving with each other. The rows need an adj_close.
    """
    rows = {ticker: prices.rows(ticker).set_index("session") for ticker in tickers}
    sessions = sorted(set.intersection(*(set(frame.index) for frame in rows.values())))
    order = np.random.default_rng(seed).permutation(len(sessions) - 1)
    frames = {ticker: _reordered(frame.loc[sessions], order) for ticker, frame in rows.items()}
    note = f"Returns of the given prices in random order (seed {seed}): not a market."
    return HeldPrices(frames, "as_traded", has_actions=False, returns_from="close", note=note)


def _reordered(rows: pd.DataFrame, order: Indices) -> pd.DataFrame:
    """Return the rows from the second on, their days in another order."""
    returns = np.diff(np.log(rows["adj_close"].to_numpy(dtype=np.float64)))
    close = FIRST_PRICE * np.exp(np.cumsum((returns - returns.mean())[order]))
    days = rows.iloc[1:].iloc[order]
    shapes = {name: close * (days[name] / days["close"]).to_numpy(dtype=np.float64) for name in OF_THE_CLOSE}
    volume = days["volume"].to_numpy(dtype=np.float64)
    return pd.DataFrame({"session": rows.index[1:], **shapes, "close": close, "volume": volume})
