"""Performance figures of an account: return, risk, exposure, turnover and costs per year."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats, Sessions
from pipeline.evaluation.money.account import Account
from pipeline.evaluation.money.sharpe import (
    autocorrelation_adjusted,
    deflated_sharpe,
    robust_standard_error,
    sharpe_ratio,
    standard_error,
)
from pipeline.evaluation.specification import SESSIONS_PER_YEAR

NAN = float("nan")
YEARLY = float(np.sqrt(SESSIONS_PER_YEAR))


@dataclass(frozen=True)
class Drawdown:
    """The largest loss from a former high, as a negative share of it, from open `since` to open `until`."""

    depth: float
    since: np.datetime64
    until: np.datetime64


@dataclass(frozen=True)
class Performance:
    """Figures of one strategy; returns are simple, years have 252 sessions, cash earns nothing.

    NaN where a figure is undefined: no session, or an account that never traded and so never varied.
    """

    sessions: int
    net_return: float  # total
    gross_return: float  # total, before all costs
    yearly_return: float  # net, compound
    yearly_gross_return: float
    yearly_volatility: float
    sharpe: float  # yearly, net
    sharpe_error: float  # Lo's standard error, independent normal returns
    sharpe_error_robust: float  # Lo's standard error, stationary returns
    sharpe_adjusted: float  # yearly, adjusted for autocorrelation
    probabilistic_sharpe: float  # probability that the true ratio is above zero
    deflated_sharpe: float  # probability that it is above the best of `trials` without skill
    trials: int
    sortino: float  # yearly, net
    max_drawdown: float
    drawdown_since: np.datetime64
    drawdown_until: np.datetime64
    hit_rate: float  # share of sessions with a gain after costs, of those with a position
    invested: float  # share of sessions with a position
    gross_exposure: float  # mean
    net_exposure: float  # mean
    turnover_per_session: float  # bought plus sold, mean
    turnover_per_year: float
    costs_per_year: float  # of trading and borrowing, share of the account


def performance_of(
    account: Account, strategy: int, opened: Sessions, trials: int, trials_variance: float | None = None
) -> Performance:
    """Return the figures of one strategy of an account; `opened` [period + 1] are the sessions of its fills."""
    net, gross = account.net_return[strategy], account.gross_return[strategy]
    long, short = account.long[strategy], account.short[strategy]
    held = long + short > 0
    sharpe, turnover = sharpe_ratio(net), mean_of(account.turnover[strategy])
    drawdown = max_drawdown(account.equity[strategy], opened)
    return Performance(
        sessions=len(net),
        net_return=compound(net),
        gross_return=compound(gross),
        yearly_return=yearly_return(net),
        yearly_gross_return=yearly_return(gross),
        yearly_volatility=YEARLY * float(net.std(ddof=1)) if len(net) > 1 else NAN,
        sharpe=YEARLY * sharpe,
        sharpe_error=YEARLY * standard_error(sharpe, len(net)),
        sharpe_error_robust=YEARLY * robust_standard_error(net),
        sharpe_adjusted=autocorrelation_adjusted(net, SESSIONS_PER_YEAR),
        probabilistic_sharpe=deflated_sharpe(net, 1),
        deflated_sharpe=deflated_sharpe(net, trials, trials_variance),
        trials=trials,
        sortino=sortino_ratio(net),
        max_drawdown=drawdown.depth,
        drawdown_since=drawdown.since,
        drawdown_until=drawdown.until,
        hit_rate=mean_of(net[held] > 0),
        invested=mean_of(held),
        gross_exposure=mean_of(long + short),
        net_exposure=mean_of(long - short),
        turnover_per_session=turnover,
        turnover_per_year=SESSIONS_PER_YEAR * turnover,
        costs_per_year=SESSIONS_PER_YEAR * mean_of(account.cost[strategy] + account.borrowing[strategy]),
    )


def mean_of(values: np.typing.NDArray[np.generic]) -> float:
    """Return the mean of values, NaN of none."""
    return float(np.asarray(values, dtype=np.float64).mean()) if len(values) else NAN


def compound(returns: Floats) -> float:
    """Return the total of successive simple returns; all is lost at the first of -1 or less."""
    return float(np.prod(np.maximum(1 + returns, 0.0)) - 1)


def yearly_return(returns: Floats) -> float:
    """Return the yearly return that compounds to the same total, NaN of none."""
    return float((1 + compound(returns)) ** (SESSIONS_PER_YEAR / len(returns)) - 1) if len(returns) else NAN


def sortino_ratio(returns: Floats) -> float:
    """Return the yearly ratio mean / downside deviation, sqrt(mean(min(r, 0)^2)) over all sessions; NaN without a loss.

    Sortino and van der Meer (1991), with a minimal acceptable return of zero.
    """
    downside = np.sqrt(mean_of(np.minimum(returns, 0.0) ** 2))
    return float(YEARLY * returns.mean() / downside) if downside > 0 else NAN


def max_drawdown(equity: Floats, opened: Sessions) -> Drawdown:
    """Return the deepest loss of equity [fill] since a former high; zero, without dates, where there is none."""
    high = np.maximum.accumulate(equity)
    loss = equity / high - 1
    deepest = int(loss.argmin()) if len(loss) else 0
    if not len(loss) or loss[deepest] >= 0:
        return Drawdown(0.0, np.datetime64("NaT"), np.datetime64("NaT"))
    since = int(equity[: deepest + 1].argmax())
    return Drawdown(float(loss[deepest]), opened[since], opened[deepest])
