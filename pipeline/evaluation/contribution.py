"""What the network adds: the combination against the same combination without it, and the weight of every member."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Floats32
from pipeline.evaluation.comparisons import Conclusion, pooled_tests
from pipeline.evaluation.scores import loss_by_ticker, values_of
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import COMBINED
from pipeline.forecasting.weights import Weights


@dataclass(frozen=True)
class Contribution:
    """What the network adds to the combination at one horizon, pooled over tickers; p is adjusted for the trials.

    `skill` is 1 - loss / loss without the network; `shares` are the mean shares of all members in the band over the
    test origins, the largest first.
    """

    horizon: int
    skill: float
    skill_error: float
    p: float
    conclusion: Conclusion
    shares: Mapping[str, float]


def contributions(backtest: Backtest, trials: Trials) -> tuple[Contribution, ...]:
    """Return what the network adds at every horizon; none where it is no member, or the only one."""
    weights, without = backtest.weights, backtest.without_network
    if weights is None or without is None:
        return ()
    return tuple(_contribution(backtest, (weights, without), h, trials) for h in range(1, backtest.horizons + 1))


def _contribution(
    backtest: Backtest, combination: tuple[Weights, Floats32], horizon: int, trials: Trials
) -> Contribution:
    """Return the Diebold-Mariano test of the combination against itself without the network."""
    weights, without = combination
    other = values_of(backtest, without, horizon, "pinball")
    test = pooled_tests(loss_by_ticker(backtest, COMBINED, horizon), {"without": other}, horizon, trials)["without"]
    return Contribution(
        horizon=horizon,
        skill=test["skill"],
        skill_error=test["skill_error"],
        p=test["p_adjusted"],
        conclusion=test["conclusion"],
        shares=weights.mean_share(horizon),
    )


def weight_table(backtest: Backtest) -> pd.DataFrame:
    """Return a row per origin, horizon and member with its weight at each level (w05 ... w95); empty without any."""
    if backtest.weights is None:
        return pd.DataFrame()
    sessions, values = backtest.weights.sessions, backtest.weights.by_session
    origin, horizon, member = np.indices((values.shape[0], values.shape[1], values.shape[3])).reshape(3, -1)
    keys = {
        "as_of": sessions[origin].astype("datetime64[s]"),
        "horizon": horizon + 1,
        "forecaster": np.array(backtest.weights.members, dtype=object)[member],
    }
    by_level = values.transpose(0, 1, 3, 2).reshape(-1, len(LEVELS)).T
    names = [f"w{round(100 * level):02d}" for level in LEVELS]
    return pd.DataFrame({**keys, **dict(zip(names, by_level, strict=True))})


def share_table(backtest: Backtest) -> pd.DataFrame:
    """Return a row per horizon and member: its share of the band, and of how many forecasts it had none.

    Columns: horizon, forecaster, share (mean over the origins), first, last (at the first origins and the last ones),
    silent (the share of the combined forecasts at which it had none, or no plausible one). Empty without a combination.
    """
    if backtest.weights is None:
        return pd.DataFrame()
    return pd.DataFrame(
        [row for horizon in range(1, backtest.horizons + 1) for row in _shares(backtest.weights, horizon)]
    )


def _shares(weights: Weights, horizon: int) -> Iterator[dict[str, object]]:
    by_session, smoothed = weights.of_band(horizon), weights.smoothed(horizon)
    for k, member in enumerate(weights.members):
        yield {
            "horizon": horizon,
            "forecaster": member,
            "share": float(by_session[:, k].mean()),
            "first": float(smoothed[0, k]),
            "last": float(smoothed[-1, k]),
            "silent": 1.0 - float(weights.answered[:, horizon - 1, k].mean()),
        }
