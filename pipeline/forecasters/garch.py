"""GJR-GARCH(1,1) with Student t innovations, one model per ticker, by maximum likelihood."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters
from pipeline.forecasters.per_ticker import ticker_rows


class GarchSpec(BaseModel, frozen=True, extra="forbid"):
    """GJR-GARCH(1,1) around a zero mean with Student t innovations, one per ticker."""

    kind: Literal["garch"] = "garch"


@dataclass(frozen=True)
class Gjr:
    """Parameters of each ticker [ticker]: all finite, the variance positive, the t with a variance of its own.

    Glosten, Jagannathan and Runkle (1993): v_{t+1} = omega + (alpha + gamma 1[r_t < 0]) r_t^2 + beta v_t.
    """

    omega: Floats
    alpha: Floats
    gamma: Floats
    beta: Floats
    degrees_of_freedom: Floats
    start: Floats  # the variance of the first session

    def __post_init__(self) -> None:
        every = (self.omega, self.alpha, self.gamma, self.beta, self.degrees_of_freedom, self.start)
        if not (np.isfinite(every).all() and (self.start > 0).all() and (self.degrees_of_freedom > 2).all()):
            raise FitError(
                "found GARCH parameters that are not finite, or without a variance; expected finite ones, a positive "
                "start variance and more than 2 degrees of freedom; fit again"
            )

    @property
    def persistence(self) -> Floats:
        """Return alpha + gamma / 2 + beta [ticker]: half of all symmetric returns are negative."""
        return self.alpha + self.gamma / 2 + self.beta


def next_variances(returns: Floats, gjr: Gjr) -> Floats:
    """Return the variance of the next session known at each session [ticker, session]; absent sessions change none."""
    variance, result = gjr.start, np.empty(returns.shape)
    for session, session_returns in enumerate(returns.T):
        following = (
            gjr.omega + (gjr.alpha + gjr.gamma * (session_returns < 0)) * session_returns**2 + gjr.beta * variance
        )
        variance = np.where(np.isfinite(session_returns), following, variance)
        result[:, session] = variance
    return result


def summed_variances(following: Floats, gjr: Gjr, horizons: int) -> Floats:
    """Return the expected variance of the sum of the next h returns [ticker, origin, horizon].

    Each further session's variance is omega + persistence x that of the session before it; returns do not correlate.
    """
    variance, ahead = following, []
    for _ in range(horizons):
        ahead.append(variance)
        variance = gjr.omega[:, None] + gjr.persistence[:, None] * variance
    summed: Floats = np.cumsum(np.stack(ahead, axis=-1), axis=-1)
    return summed


def unit_quantiles(gjr: Gjr) -> Floats:
    """Return the quantiles [ticker, level] of each ticker's Student t, scaled to unit variance."""
    from scipy.stats import t as student  # noqa: PLC0415  slow to import

    degrees = gjr.degrees_of_freedom[:, None]
    unit: Floats = student.ppf(np.array(LEVELS), degrees) * np.sqrt(1 - 2 / degrees)
    return unit


PERCENT = 100.0  # the optimiser is at its best with returns of about one
MIN_RETURNS = 100  # below this a ticker does not count towards the pooled parameters
ENOUGH_RETURNS = 250  # below this it takes them: its own are too uncertain
MIN_STD_PERCENT = 1e-3  # per cent; a constant price has no parameters
MIN_DEGREES_OF_FREEDOM = 2.05


def fit(_spec: GarchSpec, data: FitData) -> Parameters:
    """Return the parameters [ticker + 1, parameter] of every ticker's returns in the training range, in per cent.

    Columns are omega, alpha, gamma, beta, degrees of freedom and the variance of the training returns, from which the
    recursion starts. The last row is the median over the tickers; it stands for a ticker with too few returns or
    for whose likelihood no maximum is found. Raises FitError where no ticker has one.
    """
    frames, train = data.frames, data.fold.train
    rows = PERCENT * frames.log_return[:, train.start : train.stop].astype(np.float64)
    returns = [row[np.isfinite(row)] for row in rows]
    found = [_parameters(row) for row in returns]
    known = [parameters for parameters in found if parameters is not None]
    if not known:
        raise FitError(
            f"GARCH found parameters for none of {len(found)} tickers between {train.first} and {train.until}; "
            f"expected one with {MIN_RETURNS} returns that move; train on more or leave garch out of the benchmarks"
        )
    pooled = np.median(known, axis=0)
    enough = [len(row) >= ENOUGH_RETURNS for row in returns]
    by_ticker = [
        parameters if parameters is not None and sure else pooled
        for parameters, sure in zip(found, enough, strict=True)
    ]
    return Parameters({"parameters": np.array([*by_ticker, pooled], dtype=np.float32)})


def _parameters(returns: Floats) -> Floats | None:
    """Return omega, alpha, gamma, beta, degrees of freedom and the sample variance, or None where none are found."""
    if len(returns) < MIN_RETURNS or returns.std() < MIN_STD_PERCENT:
        return None
    from arch.univariate import GARCH, StudentsT, ZeroMean  # noqa: PLC0415  heavy, and forecasts do without it
    from arch.utility.exceptions import ConvergenceWarning, StartingValueWarning  # noqa: PLC0415

    with warnings.catch_warnings():
        # What they warn of is checked below: a fit that did not converge is not used.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", StartingValueWarning)
        model = ZeroMean(returns, volatility=GARCH(p=1, o=1, q=1), distribution=StudentsT(), rescale=False)
        try:
            result = model.fit(disp="off", show_warning=False)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None
    parameters = np.array([*result.params, returns.var()])
    sound = np.isfinite(parameters).all() and parameters[4] >= MIN_DEGREES_OF_FREEDOM
    return parameters if result.convergence_flag == 0 and sound else None


def quantiles(_spec: GarchSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level].

    The sum of h returns is taken as the ticker's Student t, scaled to the summed variance: exact at horizon 1, beyond
    it the tails are those of one session.
    """
    gjr = Gjr(*fitted.arrays["parameters"][ticker_rows(fitted, frames)].astype(np.float64).T)
    returns = PERCENT * frames.log_return.astype(np.float64)
    following = next_variances(returns, gjr)[:, origins]  # [ticker, origin]
    scale = np.sqrt(summed_variances(following, gjr, fitted.horizons)) / PERCENT  # [ticker, origin, horizon]
    returns = scale[..., None] * unit_quantiles(gjr)[:, None, None, :]
    return returns.astype(np.float32)


FORECASTER = Forecaster(GarchSpec, fit, quantiles, "benchmark")
