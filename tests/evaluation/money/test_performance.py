"""Figures of an account, by hand."""

from dataclasses import asdict

import numpy as np
import pytest

from pipeline.evaluation.money.account import Account
from pipeline.evaluation.money.performance import (
    compound,
    max_drawdown,
    performance_of,
    sortino_ratio,
    yearly_return,
)
from tests.evaluation.money.small_markets import days


def made_account(equity: list[float], **shares: list[float]) -> Account:
    zeros = np.zeros((1, len(equity) - 1))
    names = ("gross_return", "cost", "borrowing", "turnover", "long", "short")
    given = {name: np.array([shares[name]]) if name in shares else zeros for name in names}
    return Account(equity=np.array([equity]), delisted=np.zeros(1, dtype=bool), **given)


def test_returns_compound() -> None:
    assert compound(np.array([0.1, -0.1])) == pytest.approx(-0.01)
    assert compound(np.array([0.1, -1.2, 0.5])) == -1.0
    assert compound(np.zeros(0)) == 0.0
    # 1 % in 126 sessions, half a year: 1.01 squared
    assert yearly_return(np.array([0.01, *[0.0] * 125])) == pytest.approx(0.0201)


def test_sortino_by_hand() -> None:
    # mean 0.005; losses 0.01 and 0.02: sqrt((0.0001 + 0.0004) / 4) = 0.0111803; 0.4472136 x sqrt(252)
    assert sortino_ratio(np.array([0.02, -0.01, 0.03, -0.02])) == pytest.approx(0.4472136 * np.sqrt(252))
    assert np.isnan(sortino_ratio(np.array([0.01, 0.02])))
    assert np.isnan(sortino_ratio(np.zeros(0)))


def test_drawdown_is_from_the_high_before_the_low() -> None:
    # highs 1.2 then 1.3; lows 0.9 / 1.2 = -25 % and 1.04 / 1.3 = -20 %
    worst = max_drawdown(np.array([1.0, 1.2, 1.1, 0.9, 1.3, 1.04]), days(6))
    assert worst.depth == pytest.approx(-0.25)
    assert (worst.since, worst.until) == (days(6)[1], days(6)[3])


def test_the_capital_is_a_high_and_without_a_loss_there_are_no_dates() -> None:
    worst = max_drawdown(np.array([1.0, 0.8]), days(2))
    assert (worst.depth, worst.since, worst.until) == (pytest.approx(-0.2), days(2)[0], days(2)[1])
    none = max_drawdown(np.array([1.0, 1.0, 1.1]), days(3))
    assert none.depth == 0.0
    assert np.isnat(none.since)
    assert np.isnat(none.until)


def test_figures_by_hand() -> None:
    # net returns +10 %, 0, -10 %, +5 %; in the second session nothing is held
    equity = [1.0, 1.1, 1.1, 0.99, 1.0395]
    one = made_account(
        equity,
        gross_return=[0.11, 0.0, -0.1, 0.06],
        cost=[0.01, 0.0, 0.0, 0.004],
        borrowing=[0.0, 0.0, 0.0, 0.006],
        turnover=[1.0, 1.0, 0.5, 0.5],
        long=[1.0, 0.0, 0.5, 0.5],
        short=[0.0, 0.0, 0.25, 0.25],
    )
    figures = performance_of(one, 0, days(5), trials=1)
    mean, deviation = 0.0125, np.std([0.1, 0.0, -0.1, 0.05], ddof=1)
    assert figures.sessions == 4
    assert figures.net_return == pytest.approx(0.0395)
    assert figures.gross_return == pytest.approx(1.11 * 0.9 * 1.06 - 1)
    assert figures.yearly_return == pytest.approx(1.0395**63 - 1)
    assert figures.yearly_gross_return == pytest.approx((1.11 * 0.9 * 1.06) ** 63 - 1)
    assert figures.yearly_volatility == pytest.approx(deviation * np.sqrt(252))
    assert figures.sharpe == pytest.approx(mean / deviation * np.sqrt(252))
    assert figures.sharpe_error == pytest.approx(np.sqrt(252 * (1 + (mean / deviation) ** 2 / 2) / 4))
    assert figures.sortino == pytest.approx(mean / 0.05 * np.sqrt(252))  # sqrt(0.01 / 4)
    assert figures.max_drawdown == pytest.approx(-0.1)
    assert (figures.drawdown_since, figures.drawdown_until) == (days(5)[1], days(5)[3])
    assert figures.hit_rate == pytest.approx(2 / 3)  # of the three sessions with a position
    assert figures.invested == pytest.approx(0.75)
    assert figures.gross_exposure == pytest.approx((1.0 + 0.0 + 0.75 + 0.75) / 4)
    assert figures.net_exposure == pytest.approx((1.0 + 0.0 + 0.25 + 0.25) / 4)
    assert figures.turnover_per_session == pytest.approx(0.75)
    assert figures.turnover_per_year == pytest.approx(189.0)
    assert figures.costs_per_year == pytest.approx(252 * 0.02 / 4)
    assert figures.deflated_sharpe == figures.probabilistic_sharpe
    assert performance_of(one, 0, days(5), trials=9).deflated_sharpe < figures.deflated_sharpe


@pytest.mark.parametrize("equity", [[1.0], [1.0, 1.0], [1.0] * 40])
def test_an_account_that_never_traded_has_no_ratio_and_no_warning(equity: list[float]) -> None:
    figures = asdict(performance_of(made_account(equity), 0, days(len(equity)), trials=5))
    undefined = ("sharpe", "sharpe_error", "sharpe_adjusted", "deflated_sharpe", "sortino", "hit_rate")
    assert all(np.isnan(figures[name]) for name in undefined)
    assert figures["net_return"] == 0.0
    assert figures["max_drawdown"] == 0.0


def test_a_ruined_account_is_minus_one_hundred_percent() -> None:
    figures = performance_of(made_account([1.0, 0.0, 0.0], long=[1.0, 0.0]), 0, days(3), trials=1)
    assert figures.net_return == -1.0
    assert figures.yearly_return == -1.0
    assert figures.max_drawdown == -1.0
