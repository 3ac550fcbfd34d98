"""Fitting GJR-GARCH with Student t innovations by maximum likelihood, and forecasting with it."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.arrays import Floats, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.models.garch import Gjr, next_variances, summed_variances, unit_quantiles

PERCENT = 100.0  # the optimiser is at its best with returns of about one
FEWEST_RETURNS = 100  # below this a ticker has no say in the pooled parameters
ENOUGH_RETURNS = 250  # below this it takes them: its own are too uncertain
SMALLEST_STD = 1e-3  # per cent; a price that stands still has no parameters
SMALLEST_DEGREES_OF_FREEDOM = 2.05


def fit_garch(frames: Frames, train: Range) -> Mapping[str, Floats32]:
    """Return the parameters [ticker + 1, parameter] of every ticker's returns in the training range, in per cent.

    Columns are omega, alpha, gamma, beta, degrees of freedom and the variance of the training returns, from which the
    recursion starts. The last row is the median over the tickers; it stands for a ticker with too few returns or
    for whose likelihood no maximum is found. Raises FitError where no ticker has one.
    """
    rows = PERCENT * frames.log_return[:, train.start : train.stop].astype(np.float64)
    returns = [own[np.isfinite(own)] for own in rows]
    found = [_parameters(own) for own in returns]
    known = [own for own in found if own is not None]
    if not known:
        raise FitError(
            f"GARCH found parameters for none of {len(found)} tickers between {train.first} and {train.until}; "
            f"expected one with {FEWEST_RETURNS} returns that move; train on more or leave garch out of the rivals"
        )
    pooled = np.median(known, axis=0)
    enough = [len(own) >= ENOUGH_RETURNS for own in returns]
    kept = [own if own is not None and sure else pooled for own, sure in zip(found, enough, strict=True)]
    return {"parameters": np.array([*kept, pooled], dtype=np.float32)}


def _parameters(returns: Floats) -> Floats | None:
    """Return omega, alpha, gamma, beta, degrees of freedom and the sample variance, or None where none are found."""
    if len(returns) < FEWEST_RETURNS or returns.std() < SMALLEST_STD:
        return None
    from arch.univariate import GARCH, StudentsT, ZeroMean  # noqa: PLC0415  heavy, and forecasts do without it
    from arch.utility.exceptions import ConvergenceWarning, StartingValueWarning  # noqa: PLC0415

    with warnings.catch_warnings():
        # What they warn of is looked at below: a fit that did not converge is not used.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", StartingValueWarning)
        model = ZeroMean(returns, volatility=GARCH(p=1, o=1, q=1), distribution=StudentsT(), rescale=False)
        try:
            result = model.fit(disp="off", show_warning=False)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return None
    found = np.array([*result.params, returns.var()])
    sound = np.isfinite(found).all() and found[4] >= SMALLEST_DEGREES_OF_FREEDOM
    return found if result.convergence_flag == 0 and sound else None


def garch_quantiles(
    arrays: Mapping[str, Floats32], frames: Frames, origins: slice, rows: Sequence[int], horizons: int
) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]; `rows` are the tickers' parameters.

    The sum of h returns is taken as the ticker's Student t, scaled to the summed variance: exact at horizon 1, beyond
    it the tails are those of one session.
    """
    gjr = Gjr(*arrays["parameters"][list(rows)].astype(np.float64).T)
    returns = PERCENT * frames.log_return.astype(np.float64)
    following = next_variances(returns, gjr)[:, origins]  # [ticker, origin]
    scale = np.sqrt(summed_variances(following, gjr, horizons)) / PERCENT  # [ticker, origin, horizon]
    quantiles = scale[..., None] * unit_quantiles(gjr)[:, None, None, :]
    return quantiles.astype(np.float32)
