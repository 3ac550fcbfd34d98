"""Small markets and backtests in round numbers, so that every result can be calculated by hand."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from pipeline.arrays import Floats
from pipeline.dataset.panel import Panel
from pipeline.evaluation.money.account import opens_of
from pipeline.evaluation.money.simulation import Money, MoneyResult, simulate
from pipeline.evaluation.specification import SESSIONS_PER_YEAR, MoneySpec
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from tests.panels import panel_of, random_market

FIRST = np.datetime64("2023-01-02")
NAN = float("nan")
FREE = MoneySpec(
    rules=("long_only",),
    commission_bps=0,
    half_spread_bps=0,
    slippage_bps=0,
    borrow_bps_per_year=0,
    max_weight=1.0,
)
"""Long only, no costs, no limit but the whole account."""
TEN_BPS = FREE.model_copy(update={"commission_bps": 5.0, "half_spread_bps": 3.0, "slippage_bps": 2.0, "entry_bps": 0.0})
"""The same at 10 bps a trade; every median is traded."""


def days(count: int) -> np.ndarray:
    return FIRST + np.arange(count)


def made_panel(
    opens: Sequence[Sequence[float]],
    closes: Sequence[Sequence[float]] | None = None,
    dividends: Sequence[Sequence[float]] | None = None,
    splits: Sequence[Sequence[float]] | None = None,
) -> Panel:
    """Return a panel [ticker][session] as traded; closes are the opens where not given, NaN is no bar."""
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


def normal_quantiles(median: Sequence[Sequence[float]], yearly: float | Floats = 0.32) -> np.ndarray:
    """Return normal quantiles [ticker, origin, 1, level], one session ahead, of these medians and yearly volatility."""
    centre = np.array(median, dtype=np.float64)
    daily = np.broadcast_to(np.asarray(yearly) / np.sqrt(SESSIONS_PER_YEAR), centre.shape)
    values = centre[..., None] + daily[..., None] * ndtri(np.array(LEVELS))
    return values[:, :, None].astype(np.float32)


def backtest_of(panel: Panel, quantiles: Mapping[str, np.ndarray], begin: int = 0) -> Backtest:
    """Return a backtest whose origins are the panel's sessions from `begin` on."""
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


def random_case(seed: int) -> tuple[Panel, Backtest]:
    """Return a random panel of four tickers and a backtest of two forecasters over 100 of its sessions."""
    panel = panel_of(random_market(count=160, tickers=4, seed=seed))
    draws = np.random.default_rng(seed)
    quantiles = {
        name: normal_quantiles(draws.normal(0, 0.004, (4, 100)).tolist(), draws.uniform(0.1, 0.6, (4, 100)))
        for name in ("network", "drift")
    }
    for values in quantiles.values():
        values[~panel.present[:, 40:140]] = np.nan
    return panel, backtest_of(panel, quantiles, begin=40)


def result(money: Money, forecaster: str = "network", rule: str | None = None) -> MoneyResult:
    """Return the result of a forecaster under a rule, by default its first."""
    return next(each for each in money.results if each.forecaster == forecaster and rule in (None, each.rule))


def run(panel: Panel, median: list[list[float]], spec: MoneySpec = FREE, **others: list[list[float]]) -> Money:
    """Return the simulation of forecasters with these medians [ticker][session]."""
    quantiles = {name: normal_quantiles(values) for name, values in {"network": median, **others}.items()}
    return simulate(backtest_of(panel, quantiles), opens_of(panel), spec, trials=1)
