"""The skill gate: every model against every baseline, per horizon, pooled over tickers and per ticker."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.luck import Luck
from pipeline.evaluation.scores import POOLED, skill_of
from pipeline.evaluation.significance.clark_west import clark_west
from pipeline.evaluation.significance.diebold_mariano import diebold_mariano, diebold_mariano_each, long_lags
from pipeline.evaluation.significance.false_discovery import benjamini_hochberg
from pipeline.evaluation.significance.giacomini_white import giacomini_white
from pipeline.evaluation.significance.losses import loss_by_ticker
from pipeline.evaluation.significance.resampling import block_length, resampled_counts, skill_error_bar
from pipeline.evaluation.significance.session_means import mean_per_session
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasters.registry import BASELINES
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK

SIMPLE = tuple(spec.kind for spec in BASELINES)
"""The baselines that a model has to beat."""
OWN = (NETWORK, CALIBRATED)
NO_CHANGE = "last_close"
"""The baseline whose median is the last close: the model within every other, for a test of the mean."""
USUALLY_HARDEST = "ewma"
SIGNIFICANT = 0.05

Word = Literal["better", "no evidence", "worse"]
Losses = Mapping[str, Floats]  # forecaster -> mean pinball loss over levels [ticker, session], NaN where not scored


@dataclass(frozen=True)
class Standing:
    """Where a model stands at one horizon, for one ticker or pooled: against all simple baselines, and the best."""

    word: Word
    best_baseline: str
    skill: float  # over the best baseline
    p: float  # against the best baseline, adjusted for what was tried

    @property
    def passed(self) -> bool:
        """Return whether the model beat the best baseline beyond luck."""
        return self.word == "better"


def judge(t: float, p: float) -> Word:
    """Return better or worse where the test is significant, by its sign, else no evidence."""
    if not p <= SIGNIFICANT:  # NaN is no evidence
        return "no evidence"
    return "better" if t < 0 else "worse"


def opponents_of(backtest: Backtest, model: str) -> tuple[str, ...]:
    """Return what a model is compared with: the simple baselines, and the network with the rivals too."""
    if model in OWN:
        return tuple(name for name in backtest.quantiles if name not in OWN)
    return tuple(name for name in backtest.quantiles if name in SIMPLE)


def models_of(backtest: Backtest) -> tuple[str, ...]:
    """Return the forecasters that have to pass the gate: all that are not simple baselines."""
    return tuple(name for name in backtest.quantiles if name not in SIMPLE)


def gate_table(backtest: Backtest, luck: Luck) -> pd.DataFrame:
    """Return a row per horizon, model, opponent and ticker (or POOLED): what every test says.

    Columns: horizon, forecaster, baseline, ticker, loss, skill, t, p (Diebold-Mariano), p_adjusted, word, sessions, and
    where pooled skill_error, lags, p_short_lags (h - 1 lags), gw_p (Giacomini-White, conditional, at horizon 1 alone)
    and, against the last close, cw_p (Clark-West, of the median as a forecast of the mean). p_adjusted accounts for the
    specifications tested on these sessions before and, per ticker, for the number of tickers (Benjamini-Hochberg); the
    word follows it. Nothing is adjusted over the horizons: each has a gate of its own.
    """
    parts = [_at_horizon(backtest, h, luck) for h in range(1, backtest.horizons + 1)]
    return pd.DataFrame([row for rows in parts for row in rows])


def _at_horizon(backtest: Backtest, horizon: int, luck: Luck) -> Iterator[dict[str, object]]:
    losses = {name: loss_by_ticker(backtest, name, horizon) for name in backtest.quantiles}
    for model in models_of(backtest):
        nested = clark_west_p(backtest, model, horizon)
        for baseline in opponents_of(backtest, model):
            both = {"horizon": horizon, "forecaster": model, "baseline": baseline}
            own, other = losses[model], losses[baseline]
            yield both | _pooled(own, other, horizon, luck) | {"cw_p": nested if baseline == NO_CHANGE else np.nan}
            yield from (both | row for row in _per_ticker(backtest.tickers, own, other, horizon, luck))


def _pooled(own: Floats, other: Floats, horizon: int, luck: Luck) -> dict[str, object]:
    """Return the row of all tickers: a session's mean loss is one observation."""
    difference = mean_per_session(own - other)
    test = diebold_mariano(difference, horizon, long_lags(horizon))
    adjusted = luck.adjusted(test.p)
    # The mean over rows, not over sessions: the loss that is shown everywhere else.
    loss, against = _mean(own), _mean(other)
    return {
        "ticker": POOLED,
        "loss": loss,
        "skill": skill_of(loss, against),
        "skill_error": _skill_error(mean_per_session(own), mean_per_session(other), horizon),
        "t": test.t,
        "p": test.p,
        "p_adjusted": adjusted,
        "word": judge(test.t, adjusted),
        "sessions": test.sessions,
        "lags": test.lags,
        "p_short_lags": diebold_mariano(difference, horizon, horizon - 1).p_student,
        # Conditional on the last loss known it rejects too often beyond the first horizon, where losses overlap.
        "gw_p": giacomini_white(difference, horizon).p if horizon == 1 else np.nan,
    }


def _per_ticker(
    tickers: tuple[str, ...], own: Floats, other: Floats, horizon: int, luck: Luck
) -> Iterator[dict[str, object]]:
    """Yield the row of every ticker that was scored."""
    tests = diebold_mariano_each(own - other, horizon, long_lags(horizon))
    adjusted = benjamini_hochberg(np.array([luck.adjusted(p) for p in tests.p]))
    for row in np.flatnonzero(tests.sessions):
        loss, against = _mean(own[row]), _mean(other[row])
        yield {
            "ticker": tickers[row],
            "loss": loss,
            "skill": skill_of(loss, against),
            "t": float(tests.t[row]),
            "p": float(tests.p[row]),
            "p_adjusted": float(adjusted[row]),
            "word": judge(float(tests.t[row]), float(adjusted[row])),
            "sessions": int(tests.sessions[row]),
        }


def _skill_error(own: Floats, other: Floats, horizon: int) -> float:
    """Return the standard error of the skill, sessions drawn again in blocks; NaN with fewer than two sessions."""
    if len(own) < 2:
        return float("nan")
    counts = resampled_counts(len(own), block_length(len(own), horizon), 0)
    return float(skill_error_bar(own, other, counts).standard_error)


def _mean(values: Floats) -> float:
    """Return the mean of the known values, NaN without any."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def clark_west_p(backtest: Backtest, model: str, horizon: int) -> float:
    """Return the p-value that the median errs less than no change at all, in squares, after Clark and West."""
    where = backtest.scored[..., horizon - 1]
    outcome = np.where(where, backtest.realised[..., horizon - 1], np.nan).astype(np.float64)
    median = np.where(where, backtest.quantiles[model][..., horizon - 1, MEDIAN], np.nan).astype(np.float64)
    return clark_west(outcome, np.where(where, 0.0, np.nan), median, horizon, long_lags(horizon)).p


def pooled(gate: pd.DataFrame, model: str, horizon: int) -> pd.DataFrame:
    """Return the rows of one model against each opponent at one horizon, pooled, with the opponents as index."""
    own = gate[(gate["horizon"] == horizon) & (gate["forecaster"] == model) & (gate["ticker"] == POOLED)]
    return own.set_index("baseline")


def standing(gate: pd.DataFrame, model: str, horizon: int) -> Standing:
    """Return where a model stands, pooled, against the simple baselines.

    It is better only if it is better than every one of them, and worse if it is worse than any.
    """
    own = pooled(gate, model, horizon)
    own = own[own.index.isin(SIMPLE)]
    best = best_of(own)
    return Standing(_over_all(own["word"]), best, float(own["skill"][best]), float(own["p_adjusted"][best]))


def best_of(opponents: pd.DataFrame) -> str:
    """Return the opponent with the smallest loss; one that is never wrong (a price that stands still) is the best.

    Where nothing was scored at all it is the one that is usually the hardest.
    """
    if not opponents["sessions"].any() and USUALLY_HARDEST in opponents.index:
        return USUALLY_HARDEST
    return str(opponents["skill"].fillna(-np.inf).idxmin())


def words_by_ticker(gate: pd.DataFrame, model: str, horizon: int) -> dict[str, Word]:
    """Return ticker -> word of a model at one horizon against the simple baselines."""
    return {ticker: _over_all(rows["word"]) for ticker, rows in _tickers(gate, model, horizon)}


def best_by_ticker(gate: pd.DataFrame, model: str, horizon: int) -> dict[str, str]:
    """Return ticker -> its simple baseline with the smallest loss at one horizon."""
    return {ticker: best_of(rows.set_index("baseline")) for ticker, rows in _tickers(gate, model, horizon)}


def _tickers(gate: pd.DataFrame, model: str, horizon: int) -> Iterator[tuple[str, pd.DataFrame]]:
    of_model = (gate["horizon"] == horizon) & (gate["forecaster"] == model) & gate["baseline"].isin(SIMPLE)
    for ticker, rows in gate[of_model & (gate["ticker"] != POOLED)].groupby("ticker", sort=False):
        yield str(ticker), rows


def _over_all(words: "pd.Series[str]") -> Word:
    if (words == "worse").any():
        return "worse"
    return "better" if (words == "better").all() else "no evidence"
