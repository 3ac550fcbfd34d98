"""Live forecasts: the next sessions of every ticker, from its last origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from pipeline.arrays import Floats32, Sessions
from pipeline.dataset.frames import Frames
from pipeline.errors import NothingUsableError
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.forecasts import (
    QUANTILE_COLUMNS,
    forecasts_by_forecaster,
    price_quantiles,
)
from pipeline.forecasting.postprocessing import Postprocessing, postprocessed
from pipeline.forecasting.postprocessing_state import PostprocessingState
from pipeline.forecasting.weights import Weights
from pipeline.market.bars import Exclusion
from pipeline.market.calendars import age_sessions, next_sessions

MAX_SESSIONS_BEHIND = 10
"""A ticker whose last bar is further behind the panel's last session than this is not forecast."""


@dataclass(frozen=True, eq=False)
class LiveForecasts:
    """Forecasts of the next sessions, the weights of the last session, and the state of post-processing after it.

    `rows` has the columns ticker, as_of, horizon, target_session, forecaster, reference_close and age_sessions;
    `log_quantiles` [row, level] are those of the log return since `as_of`. Weights and state are there where the
    forecasts were combined.
    """

    rows: pd.DataFrame
    log_quantiles: Floats32
    weights: Weights | None = None
    state: PostprocessingState | None = None

    @property
    def table(self) -> pd.DataFrame:
        """The rows with q05 ... q95, in prices."""
        price = price_quantiles(self.rows["reference_close"].to_numpy()[:, None], self.log_quantiles)
        return self.rows.assign(**dict(zip(QUANTILE_COLUMNS, price.T, strict=True)))


def live_forecasts(
    fits: Sequence[Fitted],
    frames: Frames,
    calendar: str,
    now: datetime,
    rule: Postprocessing | None = None,
    tickers: Sequence[str] | None = None,
) -> LiveForecasts:
    """Return the forecasts of the tickers (default: all) with a recent origin.

    Targets are the exchange's next sessions after `as_of`; `age_sessions` counts those completed since, at `now`. With
    a post-processing `rule` they are combined and calibrated on the outcomes of forecasts so far; all tickers of the
    frames take part in that, whichever are named. Raises NothingUsableError where none of the tickers has an origin
    among the last sessions.
    """
    recent = recent_sessions(frames)
    requested = np.isin(frames.tickers, frames.tickers if tickers is None else tuple(tickers))
    usable = frames.usable[:, recent] & requested[:, None]  # [ticker, recent session]
    by_forecaster = forecasts_by_forecaster(fits, frames, recent)
    made = postprocessed(by_forecaster, fits, frames, recent.start, rule) if rule else None
    by_forecaster = made.quantiles if made else by_forecaster
    if not usable.any():
        raise NothingUsableError(
            f"found no ticker with a usable bar among the last {MAX_SESSIONS_BEHIND} sessions, expected at least one; "
            "update the prices or extend their history",
            left_behind(frames),
        )
    parts: list[tuple[pd.DataFrame, Floats32]] = []
    for ticker in np.flatnonzero(np.any(usable, axis=1)):
        at = int(np.flatnonzero(usable[ticker])[-1])
        origin = _origin(frames, int(ticker), recent.start + at, calendar, now)
        parts += [(_rows(origin, name, frames.horizons), values[ticker, at]) for name, values in by_forecaster.items()]
    rows = pd.concat([of_origin for of_origin, _ in parts], ignore_index=True)
    quantiles = np.concatenate([values for _, values in parts])
    if made is None:
        return LiveForecasts(rows, quantiles)
    return LiveForecasts(rows, quantiles, made.weights.last, made.state)


def left_behind(frames: Frames) -> tuple[Exclusion, ...]:
    """Return the tickers without an origin among the last sessions, with the reason."""
    usable = np.any(frames.usable[:, recent_sessions(frames)], axis=1)
    return tuple(
        Exclusion(ticker, _behind(frames, row)) for row, ticker in enumerate(frames.tickers) if not usable[row]
    )


def not_trained_on(trained_on: Sequence[str], forecasts: pd.DataFrame) -> tuple[str, ...]:
    """Return the forecast tickers that the model was not trained on."""
    return tuple(ticker for ticker in dict.fromkeys(forecasts["ticker"]) if ticker not in trained_on)


def recent_sessions(frames: Frames) -> slice:
    """Return the sessions, as indices, among which a ticker's latest origin has to be."""
    count = len(frames.sessions)
    return slice(max(count - 1 - MAX_SESSIONS_BEHIND, 0), count)


def _behind(frames: Frames, row: int) -> str:
    present = np.flatnonzero(np.isfinite(frames.reference_close[row]))
    last = frames.sessions[present[-1]]
    if present[-1] >= recent_sessions(frames).start:
        return "it has bars, but its membership dates exclude it from the universe at the last sessions"
    return (
        f"its last bar is of {last}, more than {MAX_SESSIONS_BEHIND} sessions before the last one of the panel "
        f"({frames.sessions[-1]}); fetch its newer bars"
    )


@dataclass(frozen=True)
class _Origin:
    """What all forecasts of one ticker from one origin share."""

    ticker: str
    as_of: np.datetime64
    targets: Sessions  # [horizon]
    reference_close: float
    age_sessions: int


def _origin(frames: Frames, ticker: int, session: int, calendar: str, now: datetime) -> _Origin:
    as_of = frames.sessions[session]
    return _Origin(
        ticker=frames.tickers[ticker],
        as_of=as_of,
        targets=next_sessions(calendar, as_of, frames.horizons),
        reference_close=float(frames.reference_close[ticker, session]),
        age_sessions=age_sessions(calendar, as_of, now),
    )


def _rows(origin: _Origin, forecaster: str, horizons: int) -> pd.DataFrame:
    """Return a row per horizon."""
    columns = {
        "ticker": origin.ticker,
        "as_of": origin.as_of.astype("datetime64[s]"),
        "horizon": np.arange(1, horizons + 1),
        "target_session": origin.targets.astype("datetime64[s]"),
        "forecaster": forecaster,
        "reference_close": origin.reference_close,
        "age_sessions": origin.age_sessions,
    }
    return pd.DataFrame(columns)
