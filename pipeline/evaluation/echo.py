"""Echo detection: does the median of a forecaster have information beyond the last close?

The last close is the best simple forecast of the next one, so a correct median is near it and, plotted over the
outcomes, looks like them one session late: that lag in levels proves nothing. An echo is a forecaster that claims
more, the level or the direction, while its change from the last close is unrelated to the realised change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.errors import UsageError
from pipeline.evaluation.scores import skill_of
from pipeline.evaluation.significance.mean_test import long_lags, mean_per_session, mean_test
from pipeline.evaluation.significance.resampling import skill_error
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK
from pipeline.wording import adjusted_p_value, percent, relation_in_words

SHIFTS = (-2, -1, 0, 1, 2)
BOLD_SHARE = 0.05
"""A median whose changes have this share of the outcomes' variance claims direction, whatever it is declared as."""
NO_SHARE = 1e-9
"""A median whose changes have less than this share of the outcomes' variance is the last close itself."""
RELATED = 0.025
"""The one-sided p-value, adjusted for what was tried, up to which median and outcome are called related.

As with a comparison at 5 % two-sided, of which one side is better: some specification of a search is wrongly called
related with a probability of at most 5 % (`Trials.adjusted`).
"""

EchoName = Literal["informs", "too bold", "no claim", "unproven", "echo", "persistence"]


@dataclass(frozen=True)
class Echo:
    """The information in the median of one forecaster beyond the last close, at one horizon."""

    forecaster: str
    horizon: int
    name: EchoName
    claims: bool
    moved_share: float  # variance of the median's change over that of the outcome's: the R2 that it implies
    explained_share: float  # the out-of-sample R2 that it has, negative where it errs more than a constant
    explained_error: float  # standard error of `explained_share`
    relation_p: float  # of the covariance of median and outcome, one-sided
    relation_p_adjusted: float  # for the specifications tried: up to 0.025 they are called related
    best_shift: int  # the shift of the outcome, in units of the horizon, that the forecast is closest to
    sentence: str


def echo_of(backtest: Backtest, forecaster: str, claims: bool, trials: Trials, horizon: int = 1) -> Echo:
    """Return the classification of a median: informs, too bold, no claim, unproven, echo or persistence.

    `claims` is whether the forecaster claims level or direction, as one with a point or a direction head does. As in
    the comparisons, the p-value of every forecaster is adjusted for the specifications tried on these sessions.
    """
    where = backtest.scored[..., horizon - 1]  # [ticker, origin]
    change = _filled(backtest.quantiles[forecaster][..., horizon - 1, MEDIAN], where)
    outcome = _filled(backtest.realised[..., horizon - 1], where)
    return _classified(forecaster, _median_of(forecaster), (change, outcome), claims, trials, horizon)


def echo_of_line(name: str, forecast: Floats, closes: Floats) -> Echo:
    """Return the classification of a line of prices as a forecast of the closes [session] of one ticker.

    It is judged as the only one tried. Both have a price per session; the forecast of a session was made at the close
    before, so that the first one is not read. Raises UsageError where their lengths differ.
    """
    if forecast.shape != closes.shape:
        raise UsageError(f"found {len(forecast)} forecasts and {len(closes)} closes, expected one of each per session")
    change, outcome = np.log(forecast[1:] / closes[:-1]), np.log(closes[1:] / closes[:-1])
    changes = change[None].astype(np.float64), outcome[None].astype(np.float64)
    return _classified(name, f"The line “{name}”", changes, claims=True, trials=Trials(), horizon=1)


def _classified(
    forecaster: str, subject: str, changes: tuple[Floats, Floats], claims: bool, trials: Trials, horizon: int
) -> Echo:
    """Return the classification of changes from the last close [ticker, origin], forecast and realised.

    NaN where not scored. `subject` begins the sentence: the median of a forecaster, or a line.
    """
    change, outcome = changes
    where = np.isfinite(change) & np.isfinite(outcome)
    moved = moved_share(change[where], outcome[where])
    explained, error = explained_share(change, outcome, where, horizon)
    p = relation_p(change, outcome, where, horizon)
    echo = Echo(
        forecaster=forecaster,
        horizon=horizon,
        name="persistence",
        claims=claims or moved > BOLD_SHARE,
        moved_share=moved,
        explained_share=explained,
        explained_error=error,
        relation_p=p,
        relation_p_adjusted=trials.adjusted(p),
        best_shift=best_shift(change, outcome, where, horizon),
        sentence="",
    )
    named = replace(echo, name=_name(echo))
    return replace(named, sentence=_sentence(subject, named))


def echoes(backtest: Backtest, claims: Mapping[str, bool], trials: Trials, horizon: int = 1) -> dict[str, Echo]:
    """Return forecaster -> Echo; `claims` has those that claim level or direction."""
    return {name: echo_of(backtest, name, claims.get(name, False), trials, horizon) for name in backtest.quantiles}


def moved_share(change: Floats, outcome: Floats) -> float:
    """Return the variance of the median's change over the variance of the outcome's, NaN where nothing moved."""
    spread = float(np.var(outcome)) if len(outcome) else 0.0
    return float(np.var(change)) / spread if spread > 0 else float("nan")


def explained_share(change: Floats, outcome: Floats, where: Booleans, horizon: int) -> tuple[float, float]:
    """Return the share of the variance of outcomes [ticker, origin] that the median explains, and its standard error.

    The out-of-sample R2 of Campbell and Thompson (2008), 1 - sum (y - m)^2 / sum (y - c)^2, over all tickers as in Gu,
    Kelly and Xiu (2020), of log returns as in `relation_p`. The constant c is no change, or the mean of the medians
    where that errs less: what is gained by drift alone is not explained. Around their mean, 2 cov(m, y) - var(m) is
    gained, with the covariance that `relation_p` tests. Error by block bootstrap over sessions. NaN without a row.
    """
    if not where.any():
        return float("nan"), float("nan")
    constants = (0.0, float(change[where].mean()))
    errors, *unmoved = (np.where(where, (outcome - level) ** 2, np.nan) for level in (change, *constants))
    least = min(unmoved, key=lambda squares: float(squares[where].sum()))
    share = skill_of(float(errors[where].mean()), float(least[where].mean()))
    return share, float(skill_error(mean_per_session(errors), mean_per_session(least), horizon))


def relation_p(change: Floats, outcome: Floats, where: Booleans, horizon: int) -> float:
    """Return the one-sided p-value of a positive covariance of median and outcome [ticker, origin].

    The mean over tickers of (median less its mean) x outcome, per session, against zero, with max(2h, 20) lags. NaN
    with fewer than 30 sessions, or where the median never moves.
    """
    if not where.any() or np.ptp(change[where]) == 0:
        return float("nan")
    product = np.where(where, (change - change[where].mean()) * outcome, np.nan)
    return mean_test(mean_per_session(product), horizon, long_lags(horizon)).p_above


def best_shift(change: Floats, outcome: Floats, where: Booleans, horizon: int) -> int:
    """Return the shift of the outcome, in units of the horizon, at which forecast levels are closest to it.

    With 0 the forecast is compared with the price at its target, with -1 with the last close, at its origin.
    Squared distance in log price, over the rows that have every shift.
    """
    distances = {shift: _distance(change, outcome, shift * horizon, horizon) for shift in SHIFTS}
    known = where & np.logical_and.reduce([np.isfinite(distance) for distance in distances.values()])
    if not known.any():
        return 0
    return min(SHIFTS, key=lambda shift: float(np.mean(distances[shift][known] ** 2)))


def _distance(change: Floats, outcome: Floats, sessions: int, horizon: int) -> Floats:
    """Return log forecast level less log level `sessions` after the target [ticker, origin], NaN where unknown.

    The level k horizons after the origin is the sum of the outcomes of origins h, 2h, ... apart.
    """
    steps = sessions // horizon + 1  # horizons from the origin to the level compared with
    level = np.zeros_like(outcome)
    for step in range(steps):
        level = level + _shifted(outcome, step * horizon)
    for step in range(steps, 0):
        level = level - _shifted(outcome, step * horizon)
    return change - level


def _shifted(values: Floats, sessions: int) -> Floats:
    """Return values [ticker, origin] of the origins `sessions` later, NaN beyond either end."""
    result = np.full_like(values, np.nan)
    if sessions >= 0:
        result[:, : values.shape[1] - sessions] = values[:, sessions:]
    else:
        result[:, -sessions:] = values[:, :sessions]
    return result


def _filled(values: Floats32, where: Booleans) -> Floats:
    filled: Floats = np.where(where, values.astype(np.float64), np.nan)
    return filled


def _name(echo: Echo) -> EchoName:
    if not echo.moved_share > NO_SHARE:
        return "persistence"
    if echo.relation_p_adjusted <= RELATED:
        return "informs" if echo.explained_share > 0 else "too bold"
    if not echo.claims:
        return "no claim"
    # Of a median that is related but for the adjustment it is not said that it has no relation.
    return "echo" if echo.best_shift < 0 and not echo.relation_p <= RELATED else "unproven"


def _sentence(subject: str, echo: Echo) -> str:
    moved = _share(echo.moved_share)
    chance = f" ({adjusted_p_value(echo.relation_p, echo.relation_p_adjusted)})" if echo.relation_p <= RELATED else ""
    match echo.name:
        case "persistence":
            return f"{subject} is the last close itself, or always as far from it (persistence): it gives no direction."
        case "informs" | "too bold":
            return f"{subject} {relation_of(echo)}."
        case "echo":
            return (
                f"{subject} is an echo: it moves as if it explained {moved} of what prices do, but its moves "
                "have no relation to those that came, and it lies closest to the price it was made from. Any accuracy "
                "in levels that is claimed for it is that of the last close."
            )
        case "unproven":
            return (
                f"{subject} moves as if it explained {moved} of what prices do; that its moves have to do with "
                f"those that came is not shown{chance}."
            )
    verb = "is not shown to carry" if chance else "carries no"
    return (
        f"{subject} {verb} information on direction{chance}, as expected of daily prices: the value is in the bands, "
        "which say how far the price may move."
    )


def relation_of(echo: Echo) -> str:
    """Return how much of the realised changes the median explains, as the predicate of a sentence."""
    p = adjusted_p_value(echo.relation_p, echo.relation_p_adjusted)
    return relation_in_words(echo.explained_share, echo.explained_error, p, echo.horizon)


def _share(moved: float) -> str:
    return percent(moved, 0 if moved >= 0.01 else 2)


def _median_of(forecaster: str) -> str:
    subjects = {
        NETWORK: "The network's median",
        COMBINED: "The combination's median",
        CALIBRATED: "The calibrated median",
    }
    return subjects.get(forecaster, f"The median of {forecaster}")
