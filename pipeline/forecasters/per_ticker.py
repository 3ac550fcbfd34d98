"""Estimates per ticker, with the pooled estimate in place of tickers that have few rows."""

from collections.abc import Sequence

import numpy as np

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import Fitted

ENOUGH_SESSIONS = 100  # below this a ticker takes the pooled quantiles and mean


def training_returns(frames: Frames, train: Range) -> list[Floats32]:
    """Return the known returns of each ticker in a training range, then of all of them.

    Raises FitError where there is none.
    """
    rows = frames.log_return[:, train.start + 1 : train.stop]
    by_ticker = [row[np.isfinite(row)] for row in rows]
    pooled = np.concatenate(by_ticker)
    if not len(pooled):
        raise FitError(
            f"found no return between {train.first} and {train.until}, expected training rows of at least one ticker; "
            "train on more sessions or tickers"
        )
    return [*by_ticker, pooled]


def has_enough(returns: Sequence[Floats32]) -> Booleans:
    """Return whether each row of returns is long enough for an estimate of its own."""
    return np.array([len(row) >= ENOUGH_SESSIONS for row in returns])


def per_ticker_or_pooled(values: Floats32, enough: Booleans) -> Floats32:
    """Return values [ticker + 1, ...] whose last row is the pooled one, with it in place of tickers lacking rows."""
    return np.where(enough.reshape(-1, *[1] * (values.ndim - 1)), values, values[-1:]).astype(np.float32)


def ticker_rows(fitted: Fitted, frames: Frames) -> list[int]:
    """Return each ticker's row of a per-ticker array; a ticker it was not fitted on has the pooled row, the last."""
    return [fitted.tickers.index(t) if t in fitted.tickers else len(fitted.tickers) for t in frames.tickers]
