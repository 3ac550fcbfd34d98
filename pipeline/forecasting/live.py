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
from pipeline.forecasting.calibration import CalibrationSpec, Correction, correction_of
from pipeline.forecasting.forecasts import (
    QUANTILE_COLUMNS,
    fits_of,
    forecasts_by_forecaster,
    price_quantiles,
    with_calibrated,
)
from pipeline.market.bars import Exclusion
from pipeline.market.calendars import age_sessions, next_sessions
from pipeline.training.jobs import FitResult

MAX_SESSIONS_BEHIND = 10
"""A ticker whose last bar is further behind the panel's last session than this is not forecast."""


def latest_forecasts(
    results: Sequence[FitResult],
    frames: Frames,
    calibration: CalibrationSpec,
    calendar: str,
    now: datetime,
    tickers: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the live forecasts of the latest fold's fits: the table of live_forecasts.

    The bands are corrected as that fold's were in the backtest. Raises NothingUsableError as live_forecasts does.
    """
    fold = max((result.job.fold for result in results), key=lambda candidate: candidate.test.start)
    correction = correction_of(fold, calibration)
    return live_forecasts(fits_of(results, fold), frames, calendar, now, correction, tickers)


def live_forecasts(
    fits: Sequence[Fitted],
    frames: Frames,
    calendar: str,
    now: datetime,
    correction: Correction | None = None,
    tickers: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the long table of forecasts, in prices, of the tickers (default: all) with a recent origin.

    Columns: ticker, as_of, horizon, target_session, forecaster, reference_close, age_sessions, q05 ... q95. Targets are
    the exchange's next sessions after `as_of`; `age_sessions` counts those completed since, at `now`. With a correction
    the table holds the network twice, as it is and calibrated on the outcomes of its forecasts since its fold began;
    all tickers of the frames take part in that, whichever are named. Raises NothingUsableError where none of the
    tickers has an origin among the last sessions.
    """
    recent = _recent(frames)
    requested = np.isin(frames.tickers, frames.tickers if tickers is None else tuple(tickers))
    usable = frames.usable[:, recent] & requested[:, None]  # [ticker, recent session]
    by_forecaster = forecasts_by_forecaster(fits, frames, recent)
    if correction:
        by_forecaster = with_calibrated(by_forecaster, fits, frames, recent.start, correction)
    if not usable.any():
        raise NothingUsableError(
            f"found no ticker with a usable bar among the last {MAX_SESSIONS_BEHIND} sessions, expected at least one; "
            "update the prices or extend their history",
            left_behind(frames),
        )
    parts = []
    for ticker in np.flatnonzero(np.any(usable, axis=1)):
        at = int(np.flatnonzero(usable[ticker])[-1])
        origin = _origin(frames, int(ticker), recent.start + at, calendar, now)
        parts += [_rows(origin, name, values[ticker, at]) for name, values in by_forecaster.items()]
    return pd.concat(parts, ignore_index=True)


def left_behind(frames: Frames) -> tuple[Exclusion, ...]:
    """Return the tickers without an origin among the last sessions, with the reason."""
    usable = np.any(frames.usable[:, _recent(frames)], axis=1)
    return tuple(
        Exclusion(ticker, _behind(frames, row)) for row, ticker in enumerate(frames.tickers) if not usable[row]
    )


def not_trained_on(trained_on: Sequence[str], forecasts: pd.DataFrame) -> tuple[str, ...]:
    """Return the forecast tickers that the model was not trained on."""
    return tuple(ticker for ticker in dict.fromkeys(forecasts["ticker"]) if ticker not in trained_on)


def _recent(frames: Frames) -> slice:
    count = len(frames.sessions)
    return slice(max(count - 1 - MAX_SESSIONS_BEHIND, 0), count)


def _behind(frames: Frames, row: int) -> str:
    present = np.flatnonzero(np.isfinite(frames.reference_close[row]))
    last = frames.sessions[present[-1]]
    if present[-1] >= _recent(frames).start:
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


def _rows(origin: _Origin, forecaster: str, log_quantiles: Floats32) -> pd.DataFrame:
    """Return a row per horizon from quantiles [horizon, level]."""
    price = price_quantiles(origin.reference_close, log_quantiles)  # [horizon, level]
    columns = {
        "ticker": origin.ticker,
        "as_of": origin.as_of.astype("datetime64[s]"),
        "horizon": np.arange(1, len(price) + 1),
        "target_session": origin.targets.astype("datetime64[s]"),
        "forecaster": forecaster,
        "reference_close": origin.reference_close,
        "age_sessions": origin.age_sessions,
    }
    return pd.DataFrame({**columns, **dict(zip(QUANTILE_COLUMNS, price.T, strict=True))})
