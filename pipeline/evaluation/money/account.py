"""The account: what weights decided at a close earn once they are filled at the next open, and what they cost."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.evaluation.money.specification import MoneySpec


@dataclass(frozen=True)
class Fills:
    """The opens at which orders are filled: arrays [period, ticker]; a period lasts from its fill to the next one."""

    tradable: Booleans  # whether there is an open to trade at
    gone: Booleans  # whether the ticker counts as delisted: what is held is closed at its last close
    growth: Floats  # worth at the next fill over worth at this one


@dataclass(frozen=True)
class Account:
    """What each strategy's account went through; shares are of its worth right before the fill, [strategy, period]."""

    equity: Floats  # [strategy, period + 1], worth right before each fill, one at the first
    gross_return: Floats  # before all costs
    cost: Floats  # of trading
    borrowing: Floats  # cost of what was borrowed
    turnover: Floats  # amount bought plus amount sold
    long: Floats  # exposure right after the fill
    short: Floats  # the same of short positions, positive
    delisted: Booleans  # [ticker], closed at its last close while some strategy held it

    @property
    def net_return(self) -> Floats:
        """Return after all costs [strategy, period]; zero once nothing is left."""
        before = self.equity[:, :-1]
        return np.divide(self.equity[:, 1:], before, out=np.ones(before.shape), where=before > 0) - 1.0


def run_account(weights: Floats, fills: Fills, spec: MoneySpec) -> Account:
    """Return the account of weights [period, strategy, ticker], shares of its worth right before the fill.

    A NaN weight is no order: what is held stays. A ticker without an open cannot be traded and is worth what it was at
    its last close; one that is gone is closed at that. Between fills holdings drift with their prices; the amount
    traded is counted against what they have drifted to. Trading costs are taken at the fill, the cost of what is
    borrowed (shares sold short, cash below zero) at the end of the period. Cash earns nothing. Where nothing is left
    the account is closed at zero. What is held at the end is not sold.
    """
    periods, strategies, tickers = weights.shape
    state = _State(np.zeros((strategies, tickers)), np.ones(strategies))
    delisted = np.zeros(tickers, dtype=bool)
    shares, equity = np.zeros((periods, 6, strategies)), np.ones((periods + 1, strategies))
    for k in range(periods):
        delisted |= fills.gone[k] & (state.held != 0).any(axis=0)
        shares[k] = _over_equity(state.through(weights[k], fills, k, spec), equity[k])
        equity[k + 1] = state.equity
    gross, cost, borrowing, turnover, long, short = np.moveaxis(shares, 0, 2)
    return Account(equity.T, gross, cost, borrowing, turnover, long, short, delisted)


@dataclass
class _State:
    """What is held [strategy, ticker] and the cash beside it [strategy], in money."""

    held: Floats
    cash: Floats

    @property
    def equity(self) -> Floats:
        worth: Floats = self.cash + self.held.sum(axis=1)
        return worth

    def through(self, weights: Floats, fills: Fills, k: int, spec: MoneySpec) -> Floats:
        """Fill and go to the next fill; return gain, cost, borrowing, amount traded, long and short [6, strategy]."""
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
