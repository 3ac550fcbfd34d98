"""The record by session: a row per origin, horizon and forecaster, from which any later figure is made by sums.

The same for a backtest and for what was issued live, so that what was promised stands next to what came.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices, Sessions
from pipeline.evaluation.calibration.measures import EDGES, REGIMES, pit_bins
from pipeline.evaluation.scores import BANDS, pinball_of, within
from pipeline.evaluation.significance.sequential import least_difference
from pipeline.forecasting.backtest import Backtest

FIFTHS = (0.2, 0.4, 0.6, 0.8)
UNKNOWN_CUTS = np.full(len(FIFTHS), np.nan)
INSIDE = tuple(f"inside_{band}" for band in BANDS)
PIT = tuple(f"pit_{k}" for k in range(len(EDGES) - 1))
REGIME_ROWS = tuple(f"rows_{k}" for k in range(len(REGIMES)))
REGIME_INSIDE = tuple(f"inside_80_{k}" for k in range(len(REGIMES)))
COUNTS = ("rows", *INSIDE, *PIT, *REGIME_ROWS, *REGIME_INSIDE)
MEANS = ("pinball", "published_pinball", "least_loss", "least_gain")
RECORD_KEY = ("as_of", "horizon", "forecaster")
RECORD_COLUMNS = (*RECORD_KEY, *MEANS, *COUNTS)
PUBLISHED = "published"
"""The name in the record of what was published, whichever forecaster that was at each horizon."""


@dataclass(frozen=True, eq=False)
class SessionRecord:
    """A record by session, RECORD_COLUMNS, and the bounds of its fifths of relative volatility."""

    table: pd.DataFrame
    cuts: Floats  # [4]


@dataclass(frozen=True, eq=False)
class KnownForecasts:
    """Forecasts of some sessions with their outcomes, NaN where either is missing."""

    sessions: Sessions  # [origin]
    quantiles: Mapping[str, Floats32]  # forecaster -> [ticker, origin, horizon, level], log returns
    published: Floats32  # [ticker, origin, horizon, level]
    outcome: Floats32  # [ticker, origin, horizon]
    relative_volatility: Floats32  # [ticker, origin], its log (dataset.targets)


def backtest_record(backtest: Backtest) -> SessionRecord:
    """Return the record of a backtest: what it promises of the forecasts that are issued after it."""
    forecasts = known_forecasts(backtest)
    cuts = regime_cuts(forecasts.relative_volatility)
    return SessionRecord(session_record(forecasts, cuts), cuts)


def known_forecasts(backtest: Backtest) -> KnownForecasts:
    """Return the forecasts and outcomes of a backtest."""
    relative = backtest.relative_volatility
    return KnownForecasts(
        backtest.sessions,
        backtest.quantiles,
        backtest.quantiles[backtest.published],
        backtest.realised,
        np.full(backtest.realised.shape[:2], np.nan, np.float32) if relative is None else relative,
    )


def regime_cuts(relative_volatility: Floats32) -> Floats:
    """Return the four bounds between fifths of the known relative volatilities, NaN where none is known."""
    known = relative_volatility[np.isfinite(relative_volatility)].astype(np.float64)
    return np.quantile(known, FIFTHS) if len(known) else UNKNOWN_CUTS


def session_record(forecasts: KnownForecasts, cuts: Floats) -> pd.DataFrame:
    """Return RECORD_COLUMNS, a row per origin, horizon and forecaster with a known outcome, in that order.

    What was published has rows of its own, under the name PUBLISHED. Means over the tickers that have both its forecast
    and the published one: `pinball`, `published_pinball` on the same rows, `least_loss` and `least_gain`, the smallest
    possible differences of the published loss less its own and of its own less the published one (least_difference).
    Counts of these rows: those inside each band, in each bin of the PIT, and by fifth of relative volatility, whose
    bounds are `cuts`, how many there are and are inside the 80 % band.
    """
    regimes = _regimes(forecasts.relative_volatility, cuts)
    named = {**forecasts.quantiles, PUBLISHED: forecasts.published}
    parts = [
        _record_of(forecasts, name, values[:, :, h], h, regimes)
        for h in range(forecasts.outcome.shape[2])
        for name, values in named.items()
    ]
    table = pd.concat(parts, ignore_index=True)[list(RECORD_COLUMNS)]
    return table.sort_values(list(RECORD_KEY), ignore_index=True)


def _regimes(relative: Floats32, cuts: Floats) -> Indices:
    """Return the fifth 0..4 of each [ticker, origin], -1 where it is not known."""
    known = np.isfinite(relative) & np.isfinite(cuts).all()
    return np.where(known, np.searchsorted(cuts, relative), -1)


def _record_of(forecasts: KnownForecasts, name: str, quantiles: Floats32, h: int, regimes: Indices) -> pd.DataFrame:
    """Return the record of a forecaster's quantiles [ticker, origin, level] at a horizon, a row per session."""
    outcome = forecasts.outcome[..., h].astype(np.float64)  # [ticker, origin]
    own, published = (values.astype(np.float64) for values in (quantiles, forecasts.published[:, :, h]))
    where = np.isfinite(outcome) & np.isfinite(own).all(axis=-1) & np.isfinite(published).all(axis=-1)
    session = np.broadcast_to(np.arange(where.shape[1]), where.shape)[where]
    rows = np.bincount(session, minlength=where.shape[1])
    values = {
        column: np.bincount(session, weights=of_rows, minlength=where.shape[1])
        for column, of_rows in _of_rows(own[where], published[where], outcome[where], regimes[where])
    }
    table = pd.DataFrame({"as_of": forecasts.sessions, "horizon": h + 1, "forecaster": name, "rows": rows, **values})
    table = table[table["rows"] > 0]
    return table.assign(
        **{column: table[column] / table["rows"] for column in MEANS},
        **{column: table[column].astype(np.int64) for column in COUNTS},
    )


def _of_rows(own: Floats, published: Floats, outcome: Floats, regimes: Indices) -> Iterator[tuple[str, Floats]]:
    """Yield each column's values [row], to be summed over the rows of a session."""
    yield "pinball", pinball_of(own, outcome)
    yield "published_pinball", pinball_of(published, outcome)
    yield "least_loss", least_difference(published, own)
    yield "least_gain", least_difference(own, published)
    for band in BANDS:
        yield f"inside_{band}", within(band)(own, outcome)
    bins, inside = pit_bins(own, outcome), within(80)(own, outcome)
    yield from ((column, _one_where(bins == k)) for k, column in enumerate(PIT))
    yield from ((column, _one_where(regimes == k)) for k, column in enumerate(REGIME_ROWS))
    yield from ((column, _one_where(regimes == k) * inside) for k, column in enumerate(REGIME_INSIDE))


def _one_where(mask: Booleans) -> Floats:
    ones: Floats = mask.astype(np.float64)
    return ones


# --- As bytes ---


def record_bytes(table: pd.DataFrame) -> bytes:
    """Return a record as the content of a Parquet file."""
    content = BytesIO()
    table.to_parquet(content, index=False)
    return content.getvalue()


def record_from_bytes(content: bytes) -> pd.DataFrame:
    """Return the record of a Parquet file's content; raises ValueError where it is something else."""
    table = pd.read_parquet(BytesIO(content))  # pyarrow's errors are ValueErrors
    if tuple(table.columns) != RECORD_COLUMNS:
        raise ValueError(f"found the columns {', '.join(map(str, table.columns))}, expected those of a session record")
    return table.astype({"as_of": "datetime64[s]"})
