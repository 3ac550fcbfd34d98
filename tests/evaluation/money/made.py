"""Small markets and backtests in round numbers, so that every result can be calculated by hand."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from pipeline.arrays import Floats
from pipeline.dataset.panel import Panel
from pipeline.evaluation.money.specification import SESSIONS_PER_YEAR, MoneySpec
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest

FIRST = np.datetime64("2023-01-02")
NAN = float("nan")
FREE = MoneySpec(
    rules=("long_only",),
    commission_bps=0,
    half_spread_bps=0,
    slippage_bps=0,
    borrow_bps_per_year=0,
    most_weight=1.0,
)
"""Long only, no costs, no limit but the whole account."""
TEN_BPS = FREE.model_copy(update={"commission_bps": 5.0, "half_spread_bps": 3.0, "slippage_bps": 2.0})


def days(count: int) -> np.ndarray:
    return FIRST + np.arange(count)


def made_panel(
    opens: Sequence[Sequence[float]],
    closes: Sequence[Sequence[float]] | None = None,
    dividends: Sequence[Sequence[float]] | None = None,
    splits: Sequence[Sequence[float]] | None = None,
) -> Panel:
    """A panel [ticker][session] as traded; closes are the opens where not given, NaN is no bar."""
    open_ = np.array(opens, dtype=np.float64)
    close = open_.copy() if closes is None else np.array(closes, dtype=np.float64)
    dividend = np.zeros(open_.shape) if dividends is None else np.array(dividends)
    split = np.ones(open_.shape) if splits is None else np.array(splits)
    log_return = np.full(open_.shape, np.nan)
    for i in range(len(open_)):
        former = None
        for t in range(open_.shape[1]):
            if np.isnan(close[i, t]):
                continue
            if former is not None:
                log_return[i, t] = np.log((close[i, t] * split[i, t] + dividend[i, t]) / former)
            former = close[i, t]
    return Panel(
        calendar="XNYS",
        tickers=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(open_)]),
        sessions=days(open_.shape[1]),
        open=open_,
        high=np.fmax(open_, close),
        low=np.fmin(open_, close),
        close=close,
        volume=np.where(np.isnan(close), np.nan, 1e6),
        log_return=log_return,
    )


def spoken(median: Sequence[Sequence[float]], yearly: float | Floats = 0.32) -> np.ndarray:
    """Normal quantiles [ticker, origin, 1, level] with these medians and this yearly volatility, one session ahead."""
    centre = np.array(median, dtype=np.float64)
    daily = np.broadcast_to(np.asarray(yearly) / np.sqrt(SESSIONS_PER_YEAR), centre.shape)
    values = centre[..., None] + daily[..., None] * ndtri(np.array(LEVELS))
    return values[:, :, None].astype(np.float32)


def backtest_of(panel: Panel, quantiles: Mapping[str, np.ndarray], begin: int = 0) -> Backtest:
    """A backtest whose origins are the panel's sessions from `begin` on."""
    origins, horizons = next(iter(quantiles.values())).shape[1:3]
    shape = (len(panel.tickers), origins, horizons)
    return Backtest(
        tickers=panel.tickers,
        sessions=panel.sessions[begin : begin + origins],
        fold_names=("only",),
        fold_of_origin=np.zeros(origins, dtype=np.int64),
        quantiles=quantiles,
        realised=np.full(shape, np.nan, dtype=np.float32),
        reference_close=panel.close[:, begin : begin + origins],
        target_sessions=np.full((origins, horizons), np.datetime64("NaT"), dtype="datetime64[D]"),
    )
