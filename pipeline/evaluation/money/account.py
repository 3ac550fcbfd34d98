"""Accounts of simulated trading: weights decided at a close are filled at the next open, at a cost."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Indices, Sessions
from pipeline.dataset.panel import Panel
from pipeline.evaluation.specification import MoneySpec

GONE_SESSIONS = 20
"""Sessions in a row without a bar after which a ticker counts as delisted: it is not known earlier."""


@dataclass(frozen=True)
class Opens:
    """The opens of a panel: arrays [ticker, session]."""

    tickers: tuple[str, ...]
    sessions: Sessions  # [session]
    tradable: Booleans  # whether there is an open to trade at
    gone: Booleans  # whether it is GONE_SESSIONS or more since the last bar
    growth: Floats  # worth at the next session's open over worth at this one's, NaN at the last session


def opens_of(panel: Panel) -> Opens:
    """Return the opens of a panel."""
    tradable = panel.present & np.isfinite(panel.open)
    latest = last_seen(tradable)
    gone = (latest >= 0) & (np.arange(tradable.shape[-1]) - latest >= GONE_SESSIONS)
    return Opens(panel.tickers, panel.sessions, tradable, gone, opening_returns(panel) + 1.0)


def opening_returns(panel: Panel) -> Floats:
    """Return the total return from this session's open to the next one's [ticker, session], NaN at the last session.

    A simple return: the session's open to close, times the overnight return that makes the next session's total
    return complete (total return over its own open to close). Splits cancel. A dividend goes to the holder overnight
    into its session and is reinvested at that open. Without a bar a holding is worth what it was at its last close, and
    the next open's return spans the gap.
    """
    tradable = panel.present & np.isfinite(panel.open)
    during = np.where(tradable, np.log(np.where(tradable, panel.close / panel.open, 1.0)), 0.0)
    overnight = np.where(tradable, np.nan_to_num(panel.log_return) - during, 0.0)
    result = np.full(during.shape, np.nan)
    result[:, :-1] = np.expm1(during[:, :-1] + overnight[:, 1:])
    return result


def last_seen(tradable: Booleans) -> Indices:
    """Return the index of the latest session up to each one with a bar [..., session], -1 before the first."""
    place = np.where(tradable, np.arange(tradable.shape[-1]), -1)
    latest: Indices = np.maximum.accumulate(place, axis=-1)
    return latest


@dataclass(frozen=True)
class Fills:
    """The opens at which orders are filled: arrays [period, ticker]; a period lasts from its fill to the next one."""

    tradable: Booleans  # whether there is an open to trade at
    gone: Booleans  # whether the ticker counts as delisted: a holding is closed at its last close
    growth: Floats  # worth at the next fill over worth at this one


@dataclass(frozen=True)
class Account:
    """The history of each strategy's account; shares are of its equity right before the fill, [strategy, period]."""

    equity: Floats  # [strategy, period + 1], right before each fill, one at the first
    gross_return: Floats  # before all costs
    cost: Floats  # of trading
    borrowing: Floats  # cost of borrowing
    turnover: Floats  # amount bought plus amount sold
    long: Floats  # exposure right after the fill
    short: Floats  # of short positions, positive
    delisted: Booleans  # [ticker], closed at its last close while some strategy held it

    @property
    def net_return(self) -> Floats:
        """Return after all costs [strategy, period]; zero once nothing is left."""
        before = self.equity[:, :-1]
        return np.divide(self.equity[:, 1:], before, out=np.ones(before.shape), where=before > 0) - 1.0


def run_account(weights: Floats, fills: Fills, spec: MoneySpec) -> Account:
    """Return the account of weights [period, strategy, ticker], shares of its equity right before the fill.

    A NaN weight is no order: the holding stays. A ticker without an open cannot be traded and is worth what it was at
    its last close; one that is gone is closed at that. Between fills holdings drift with their prices; the amount
    traded is the difference from the drifted holding. Trading costs are taken at the fill, the cost of borrowing
    (shares sold short, cash below zero) at the end of the period. Cash earns nothing. An account without equity is
    closed at zero. Final holdings are not sold.
    """
    periods, strategies, tickers = weights.shape
    state = _State(np.zeros((strategies, tickers)), np.ones(strategies))
    delisted = np.zeros(tickers, dtype=bool)
    shares, equity = np.zeros((periods, 6, strategies)), np.ones((periods + 1, strategies))
    for k in range(periods):
        delisted |= fills.gone[k] & (state.held != 0).any(axis=0)
        shares[k] = _over_equity(state.advance(weights[k], fills, k, spec), equity[k])
        equity[k + 1] = state.equity
    gross, cost, borrowing, turnover, long, short = np.moveaxis(shares, 0, 2)
    return Account(equity.T, gross, cost, borrowing, turnover, long, short, delisted)


@dataclass
class _State:
    """Holdings [strategy, ticker] and cash [strategy], in money."""

    held: Floats
    cash: Floats

    @property
    def equity(self) -> Floats:
        equity: Floats = self.cash + self.held.sum(axis=1)
        return equity

    def advance(self, weights: Floats, fills: Fills, k: int, spec: MoneySpec) -> Floats:
        """Advance to the next fill; return gain, cost, borrowing, amount traded, long and short [6, strategy]."""
        order = np.where(fills.gone[k], 0.0, weights)
        filled = (fills.tradable[k] | fills.gone[k]) & np.isfinite(order)
        trade = np.where(filled, order * self.equity[:, None] - self.held, 0.0)
        traded = np.abs(trade).sum(axis=1)
        cost = spec.cost_share * traded
        self.held = self.held + trade
        self.cash = self.cash - trade.sum(axis=1) - cost
        long, short = np.maximum(self.held, 0.0).sum(axis=1), np.maximum(-self.held, 0.0).sum(axis=1)
        borrowing = spec.borrow_share_per_session * (short + np.maximum(-self.cash, 0.0))
        gains = self.held * (fills.growth[k] - 1.0)
        self.held = self.held + gains
        self.cash = self.cash - borrowing
        self._close_ruined()
        return np.stack([gains.sum(axis=1), cost, borrowing, traded, long, short])

    def _close_ruined(self) -> None:
        ruined = self.equity <= 0
        self.held[ruined] = 0.0
        self.cash[ruined] = 0.0


def _over_equity(money: Floats, equity: Floats) -> Floats:
    return np.divide(money, equity, out=np.zeros(money.shape), where=equity > 0)
