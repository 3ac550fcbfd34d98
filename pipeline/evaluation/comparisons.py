"""Comparisons: each model with each baseline and benchmark per horizon, pooled and per ticker; then all at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.scores import POOLED, loss_by_ticker, skill_of
from pipeline.evaluation.significance.mean_test import long_lags, mean_per_session
from pipeline.evaluation.significance.predictive_ability import (
    clark_west,
    diebold_mariano,
    diebold_mariano_each,
    giacomini_white,
)
from pipeline.evaluation.significance.resampling import skill_error
from pipeline.evaluation.significance.superior_ability import confidence_set, superior_ability
from pipeline.evaluation.trials import Trials, benjamini_hochberg
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasters.registry import BASELINES
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK

BASELINE_KINDS = tuple(spec.kind for spec in BASELINES)
"""The simple baselines, which a model has to beat."""
PUBLISHABLE = (NETWORK, COMBINED, CALIBRATED)
"""The forecasters that an experiment may publish, each where the run has it."""
NO_CHANGE = "last_close"
"""The baseline whose median is the last close: it is nested in every model, for a test of the mean."""
USUALLY_HARDEST = "ewma"
SIGNIFICANT = 0.05

Conclusion = Literal["better", "no evidence", "worse"]


@dataclass(frozen=True)
class BaselineComparison:
    """A model against all simple baselines, and against the best of them, at one horizon."""

    conclusion: Conclusion
    best_baseline: str
    skill: float  # over the best baseline
    p: float  # against the best baseline, adjusted for the specifications tried

    @property
    def passed(self) -> bool:
        """Return whether the model is significantly better than every simple baseline."""
        return self.conclusion == "better"


def conclusion_of(t: float, p: float) -> Conclusion:
    """Return better or worse where the test is significant, by its sign, else no evidence."""
    if not p <= SIGNIFICANT:  # NaN is no evidence
        return "no evidence"
    return "better" if t < 0 else "worse"


def compared_with(backtest: Backtest, model: str) -> tuple[str, ...]:
    """Return what a model is compared with: the simple baselines, and for one that is publishable the others too."""
    if model in PUBLISHABLE:
        return backtest.opponents_of(model)
    return tuple(name for name in backtest.quantiles if name in BASELINE_KINDS)


def models_of(backtest: Backtest) -> tuple[str, ...]:
    """Return the forecasters that are compared with the baselines: all that are not simple baselines."""
    return tuple(name for name in backtest.quantiles if name not in BASELINE_KINDS)


def comparison_table(backtest: Backtest, trials: Trials) -> pd.DataFrame:
    """Return a row per horizon, model, baseline or benchmark, and ticker (or POOLED), with the result of every test.

    Columns: horizon, forecaster, baseline, ticker, loss, skill, t, p (Diebold-Mariano), p_adjusted, conclusion,
    sessions, and where pooled skill_error, lags, p_short_lags (h - 1 lags), gw_p (Giacomini-White, conditional, at
    horizon 1 alone) and, against the last close, cw_p (Clark-West, of the median as a forecast of the mean). p_adjusted
    accounts for the specifications tested on these sessions before and, per ticker, for the number of tickers
    (Benjamini-Hochberg); the conclusion follows it. Nothing is adjusted over the horizons: each is concluded on alone.
    """
    parts = [_at_horizon(backtest, h, trials) for h in range(1, backtest.horizons + 1)]
    return pd.DataFrame([row for rows in parts for row in rows])


def _at_horizon(backtest: Backtest, horizon: int, trials: Trials) -> Iterator[dict[str, object]]:
    losses = {name: loss_by_ticker(backtest, name, horizon) for name in backtest.quantiles}
    for model in models_of(backtest):
        nested = clark_west_p(backtest, model, horizon)
        against = {name: losses[name] for name in compared_with(backtest, model)}
        for baseline, row in pooled_tests(losses[model], against, horizon, trials).items():
            keys = {"horizon": horizon, "forecaster": model, "baseline": baseline}
            yield keys | row | {"cw_p": nested if baseline == NO_CHANGE else np.nan}
            of_tickers = _per_ticker(backtest.tickers, losses[model], losses[baseline], horizon, trials)
            yield from (keys | of_ticker for of_ticker in of_tickers)


def pooled_tests(
    model_loss: Floats, against: Mapping[str, Floats], horizon: int, trials: Trials
) -> dict[str, dict[str, Any]]:
    """Return the row of all tickers against each other forecaster, from losses [ticker, origin] scored alike."""
    others = np.stack([mean_per_session(loss) for loss in against.values()])
    errors = skill_error(mean_per_session(model_loss), others, horizon)
    return {
        name: _pooled(model_loss, loss, horizon, trials) | {"skill_error": float(error)}
        for (name, loss), error in zip(against.items(), errors, strict=True)
    }


def _pooled(model_loss: Floats, baseline_loss: Floats, horizon: int, trials: Trials) -> dict[str, Any]:
    """Return the row of all tickers without the skill's error: a session's mean loss is one observation."""
    difference = mean_per_session(model_loss - baseline_loss)
    test = diebold_mariano(difference, horizon, long_lags(horizon))
    adjusted = trials.adjusted(test.p)
    # The mean over rows, not over sessions: the loss that is shown everywhere else.
    loss = _mean(model_loss)
    return {
        "ticker": POOLED,
        "loss": loss,
        "skill": skill_of(loss, _mean(baseline_loss)),
        "t": test.t,
        "p": test.p,
        "p_adjusted": adjusted,
        "conclusion": conclusion_of(test.t, adjusted),
        "sessions": test.sessions,
        "lags": test.lags,
        "p_short_lags": diebold_mariano(difference, horizon, horizon - 1).p_student,
        # Conditional on the last loss known it rejects too often beyond the first horizon, where losses overlap.
        "gw_p": giacomini_white(difference, horizon).p if horizon == 1 else np.nan,
    }


def _per_ticker(
    tickers: tuple[str, ...], model_loss: Floats, baseline_loss: Floats, horizon: int, trials: Trials
) -> Iterator[dict[str, object]]:
    """Yield the row of every ticker that was scored."""
    tests = diebold_mariano_each(model_loss - baseline_loss, horizon, long_lags(horizon))
    adjusted = benjamini_hochberg(np.array([trials.adjusted(p) for p in tests.p]))
    for row in np.flatnonzero(tests.sessions):
        loss = _mean(model_loss[row])
        yield {
            "ticker": tickers[row],
            "loss": loss,
            "skill": skill_of(loss, _mean(baseline_loss[row])),
            "t": float(tests.t[row]),
            "p": float(tests.p[row]),
            "p_adjusted": float(adjusted[row]),
            "conclusion": conclusion_of(float(tests.t[row]), float(adjusted[row])),
            "sessions": int(tests.sessions[row]),
        }


def _mean(values: Floats) -> float:
    """Return the mean of the known values, NaN without any."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def clark_west_p(backtest: Backtest, model: str, horizon: int) -> float:
    """Return the Clark-West p-value that the median has a smaller squared error than no change."""
    where = backtest.scored[..., horizon - 1]
    outcome = np.where(where, backtest.realised[..., horizon - 1], np.nan).astype(np.float64)
    median = np.where(where, backtest.quantiles[model][..., horizon - 1, MEDIAN], np.nan).astype(np.float64)
    return clark_west(outcome, np.where(where, 0.0, np.nan), median, horizon, long_lags(horizon)).p


def pooled(comparisons: pd.DataFrame, model: str, horizon: int) -> pd.DataFrame:
    """Return the pooled rows of one model at one horizon, with the baselines and benchmarks as index."""
    of_model = (comparisons["horizon"] == horizon) & (comparisons["forecaster"] == model)
    return comparisons[of_model & (comparisons["ticker"] == POOLED)].set_index("baseline")


def compare_with_baselines(comparisons: pd.DataFrame, model: str, horizon: int) -> BaselineComparison:
    """Return the pooled comparison of a model with the simple baselines.

    It is better only if it is better than every one of them, and worse if it is worse than any.
    """
    rows = pooled(comparisons, model, horizon)
    rows = rows[rows.index.isin(BASELINE_KINDS)]
    best = best_of(rows)
    conclusion = _overall(rows["conclusion"])
    return BaselineComparison(conclusion, best, float(rows["skill"][best]), float(rows["p_adjusted"][best]))


def best_of(rows: pd.DataFrame) -> str:
    """Return the baseline with the smallest loss; one that is never wrong (a price that stands still) is the best.

    Rows have the baselines as index. Where nothing was scored at all it is the one that is usually the hardest.
    """
    if not rows["sessions"].any() and USUALLY_HARDEST in rows.index:
        return USUALLY_HARDEST
    return str(rows["skill"].fillna(-np.inf).idxmin())


def conclusions_by_ticker(comparisons: pd.DataFrame, model: str, horizon: int) -> dict[str, Conclusion]:
    """Return ticker -> conclusion on a model at one horizon against the simple baselines."""
    return {ticker: _overall(rows["conclusion"]) for ticker, rows in _ticker_rows(comparisons, model, horizon)}


def best_by_ticker(comparisons: pd.DataFrame, model: str, horizon: int) -> dict[str, str]:
    """Return ticker -> its simple baseline with the smallest loss at one horizon."""
    return {ticker: best_of(rows.set_index("baseline")) for ticker, rows in _ticker_rows(comparisons, model, horizon)}


def _ticker_rows(comparisons: pd.DataFrame, model: str, horizon: int) -> Iterator[tuple[str, pd.DataFrame]]:
    of_model = (comparisons["horizon"] == horizon) & (comparisons["forecaster"] == model)
    of_tickers = comparisons["baseline"].isin(BASELINE_KINDS) & (comparisons["ticker"] != POOLED)
    for ticker, rows in comparisons[of_model & of_tickers].groupby("ticker", sort=False):
        yield str(ticker), rows


def _overall(conclusions: "pd.Series[str]") -> Conclusion:
    if (conclusions == "worse").any():
        return "worse"
    return "better" if (conclusions == "better").all() else "no evidence"


def candidate_table(backtest: Backtest, seed: int = 0) -> pd.DataFrame:
    """Return a row per horizon and forecaster: the pooled tests over all forecasters at once.

    Columns: horizon, forecaster, mcs_p (the level at which it leaves the model confidence set), may_be_best (a member
    at 5 %), and for the best simple baseline spa_p (Hansen's test that no other forecaster is better), else NaN.
    """
    return pd.DataFrame(
        [row for horizon in range(1, backtest.horizons + 1) for row in _candidates(backtest, horizon, seed)]
    )


def _candidates(backtest: Backtest, horizon: int, seed: int) -> list[dict[str, object]]:
    losses = {name: mean_per_session(loss_by_ticker(backtest, name, horizon)) for name in backtest.quantiles}
    best = confidence_set(losses, horizon, seed=seed)
    hardest = min((name for name in losses if name in BASELINE_KINDS), key=lambda name: _mean(losses[name]))
    return [
        {
            "horizon": horizon,
            "forecaster": name,
            "mcs_p": best.p[name],
            "may_be_best": name in best.members,
            "spa_p": superior_ability(losses, name, horizon, seed).p if name == hardest else np.nan,
        }
        for name in losses
    ]
