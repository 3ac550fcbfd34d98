"""The Sharpe ratio, its standard errors, and its deflation for the number of trials.

All are of returns per session, without a risk-free rate; ratios per session unless they are named yearly.
"""

import numpy as np
from scipy.stats import norm

from pipeline.arrays import Floats
from pipeline.evaluation.significance.mean_test import MIN_LAGS, bartlett_variance


def sharpe_ratio(returns: Floats) -> float:
    """Return mean / standard deviation of returns [session], NaN where they do not vary."""
    deviation = _deviation(returns)
    return float(returns.mean() / deviation) if deviation > 0 else float("nan")


def _deviation(returns: Floats) -> float:
    """Return the standard deviation, zero where all are equal up to rounding."""
    if len(returns) < 2:
        return 0.0
    deviation = float(returns.std(ddof=1))
    return deviation if deviation > 1e-12 * float(np.abs(returns).max()) else 0.0


def standard_error(sharpe: float, sessions: int) -> float:
    """Return the standard error sqrt((1 + sharpe^2 / 2) / sessions) for independent normal returns.

    Lo (2002), eq. 9.
    """
    return float(np.sqrt((1 + sharpe**2 / 2) / sessions)) if sessions else float("nan")


def robust_standard_error(returns: Floats, lags: int = MIN_LAGS) -> float:
    """Return the standard error for stationary returns, which may be correlated, skewed and fat-tailed.

    Lo (2002), the estimator by the generalised method of moments: the Bartlett long-run variance of the influence
    z - sharpe (z^2 - 1) / 2 of each return on the ratio, with z its standardised value. NaN where there are not more
    sessions than lags, or returns do not vary.
    """
    sharpe, n = sharpe_ratio(returns), len(returns)
    if n <= lags or np.isnan(sharpe):
        return float("nan")
    z = (returns - returns.mean()) / returns.std()
    return float(np.sqrt(bartlett_variance(z - sharpe * (z**2 - 1) / 2, lags) / n))


def time_scale(autocorrelations: Floats, sessions: int) -> float:
    """Return the factor from the ratio of one session to that of `sessions` sessions.

    Lo (2002), eq. 20: q / sqrt(q + 2 sum over k < q of (q - k) rho_k), sqrt(q) for uncorrelated returns; of
    autocorrelations [lag] from lag one, zero beyond the last. NaN where they leave no variance.
    """
    known = autocorrelations[: sessions - 1]
    variance = sessions + 2 * float((sessions - np.arange(1, len(known) + 1)) @ known)
    return float(sessions / np.sqrt(variance)) if variance > 0 else float("nan")


def tapered_autocorrelations(returns: Floats, lags: int = MIN_LAGS) -> Floats:
    """Return autocorrelations [lag] from lag one, times the Bartlett weights 1 - k / (lags + 1)."""
    centred, n = returns - returns.mean(), len(returns)
    rho = np.array([centred[k:] @ centred[: n - k] for k in range(1, lags + 1)]) / (centred @ centred)
    weighted: Floats = rho * (1 - np.arange(1, lags + 1) / (lags + 1))
    return weighted


def autocorrelation_adjusted(returns: Floats, sessions: int) -> float:
    """Return the ratio over `sessions` sessions, adjusted for 20 autocorrelations; NaN with fewer returns."""
    sharpe = sharpe_ratio(returns)
    if len(returns) <= MIN_LAGS or np.isnan(sharpe):
        return float("nan")
    return sharpe * time_scale(tapered_autocorrelations(returns), sessions)


def probabilistic_sharpe(sharpe: float, benchmark: float, sessions: int, skewness: float, kurtosis: float) -> float:
    """Return the probability that the true ratio is above `benchmark`; kurtosis is 3 for the normal.

    Bailey and Lopez de Prado (2014), eq. 2 (the deflated ratio, where `benchmark` is the best expected of the trials).
    """
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not variance > 0 or sessions < 2:
        return float("nan")
    return float(norm.cdf((sharpe - benchmark) * np.sqrt((sessions - 1) / variance)))


def expected_best_sharpe(trials: int, variance: float) -> float:
    """Return the ratio expected of the best of independent trials without any skill, zero for a single one.

    Bailey and Lopez de Prado (2014), eq. 1; `variance` is that of the trials' ratios.
    """
    if trials < 2:
        return 0.0
    first, second = norm.isf(1 / trials), norm.isf(1 / (trials * np.e))
    return float(np.sqrt(variance) * ((1 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_sharpe(returns: Floats, trials: int, trials_variance: float | None = None) -> float:
    """Return the probability that the true ratio of returns [session] is above the best of trials without skill.

    Bailey and Lopez de Prado (2014). `trials_variance` is the variance of the trials' ratios per session; where it is
    not known, that of ratios that differ by chance alone: 1 / (sessions - 1). NaN where returns do not vary.
    """
    sharpe, n = sharpe_ratio(returns), len(returns)
    if np.isnan(sharpe):
        return float("nan")
    z = (returns - returns.mean()) / returns.std()
    best = expected_best_sharpe(trials, 1 / (n - 1) if trials_variance is None else trials_variance)
    return probabilistic_sharpe(sharpe, best, n, float((z**3).mean()), float((z**4).mean()))
