"""Measures the whole evaluation of a large made backtest: 100 tickers, 1,080 sessions, 5 horizons, 8 forecasters.

    python -m tests.benchmarks.evaluation

The bound is 30 s on two cores, bootstrap included. Returns the number of misses.
"""

import sys
import time

import numpy as np
from scipy.stats import norm

from pipeline.evaluation.evaluation import EvaluationInputs, evaluate
from pipeline.evaluation.money.account import Opens
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, CORE_FORECASTERS
from tests.benchmarks.main_job import at_most

TICKERS, SESSIONS, HORIZONS = 100, 1080, 5
NAMES = (CORE_FORECASTERS[0], CALIBRATED, *CORE_FORECASTERS[1:], "ridge")
BOUND_SECONDS = 30.0


def made(seed: int = 0) -> Backtest:
    """Return a backtest of forecasters that know the scale of returns more or less well, a tenth of rows missing."""
    draws = np.random.default_rng(seed)
    scale = 0.02 * np.exp(draws.normal(0, 0.4, (TICKERS, SESSIONS)))
    returns = scale * draws.standard_t(5, (TICKERS, SESSIONS + HORIZONS))[:, :SESSIONS]
    ahead = np.full((TICKERS, SESSIONS, HORIZONS), np.nan)
    for h in range(1, HORIZONS + 1):
        total = np.cumsum(np.pad(returns, ((0, 0), (1, 0))), axis=1)
        ahead[:, :-h, h - 1] = (total[:, h:] - total[:, :-h])[:, : SESSIONS - h]
    ahead[draws.uniform(size=(TICKERS, SESSIONS)) < 0.1] = np.nan
    root = np.sqrt(np.arange(1, HORIZONS + 1))[:, None]
    quantiles = {
        name: ((scale * np.exp(draws.normal(0, 0.1 + 0.02 * k, scale.shape)))[..., None, None] * root * norm.ppf(LEVELS)
               + draws.normal(0, 1e-3, (*scale.shape, 1, 1)) * (name not in ("last_close", "ewma"))).astype(np.float32)
        for k, name in enumerate(NAMES)
    }  # fmt: skip
    days = np.datetime64("2017-01-02") + np.arange(SESSIONS + HORIZONS)
    return Backtest(
        tickers=tuple(f"T{row}" for row in range(TICKERS)),
        sessions=days[:SESSIONS],
        fold_names=("only",),
        fold_of_origin=np.zeros(SESSIONS, dtype=np.int64),
        quantiles=quantiles,
        realised=ahead.astype(np.float32),
        reference_close=np.full((TICKERS, SESSIONS), 100.0),
        target_sessions=np.stack([days[h : h + SESSIONS] for h in range(1, HORIZONS + 1)], axis=1),
    )


def opens(backtest: Backtest) -> Opens:
    """Return opens that move as the outcomes do."""
    tradable = np.ones((TICKERS, SESSIONS), dtype=bool)
    growth = np.exp(np.nan_to_num(backtest.realised[..., 0].astype(np.float64)))
    return Opens(backtest.tickers, backtest.sessions, tradable, ~tradable, growth)


def main() -> int:
    """Print the seconds of the evaluation and return the number of misses."""
    backtest = made()
    inputs = EvaluationInputs(opens(backtest), MoneySpec(), Trials())
    began = time.perf_counter()
    evaluation = evaluate(backtest, inputs)
    seconds = time.perf_counter() - began
    print(f"{len(evaluation.comparisons):,} comparisons, {len(evaluation.coverage_tests):,} tests of coverage")
    what = f"evaluation of {TICKERS} x {SESSIONS} x {HORIZONS} x {len(NAMES)} forecasters, seconds"
    print(at_most(what, seconds, BOUND_SECONDS))
    return int(seconds > BOUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
