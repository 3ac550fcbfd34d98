"""Opens and accounts by hand: returns, fills, drift, costs, borrowing, ruin; and against slow twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.dataset.panel import Panel
from pipeline.evaluation.money.account import GONE_SESSIONS, Account, Fills, opening_returns, opens_of, run_account
from pipeline.evaluation.specification import MoneySpec
from tests.evaluation.money.small_markets import FREE, NAN, TEN_BPS, made_panel
from tests.panels import panel_of, random_market


def test_the_return_is_from_open_to_open() -> None:
    panel = made_panel([[100.0, 110.0, 99.0]], [[105.0, 108.0, 101.0]])
    # 100 -> 110 -> 99, whatever the closes between them
    assert opening_returns(panel)[0] == pytest.approx([0.1, -0.1, NAN], nan_ok=True)


def test_a_split_changes_nothing() -> None:
    # two for one before the second session: a share of 100 is two of 52 at the open
    panel = made_panel([[100.0, 52.0]], [[100.0, 50.0]], splits=[[1.0, 2.0]])
    assert opening_returns(panel)[0, 0] == pytest.approx(104 / 100 - 1)


def test_a_dividend_goes_to_who_held_overnight() -> None:
    # bought at 100; the share opens at 98 on the session of a dividend of 2, and nothing is lost
    panel = made_panel([[100.0, 98.0, 98.0]], dividends=[[0.0, 2.0, 0.0]])
    assert opening_returns(panel)[0] == pytest.approx([0.0, 0.0, NAN], nan_ok=True)


def test_without_a_bar_a_holding_is_worth_its_last_close_until_the_next_open() -> None:
    panel = made_panel([[100.0, NAN, NAN, 120.0, 126.0]], [[102.0, NAN, NAN, 120.0, 126.0]])
    # to the last close 102, nothing, the gap 102 -> 120, then 120 -> 126
    expected = [0.02, 0.0, 120 / 102 - 1, 0.05, NAN]
    assert opening_returns(panel)[0] == pytest.approx(expected, nan_ok=True)


def test_before_its_first_bar_a_ticker_returns_nothing() -> None:
    opens = opens_of(made_panel([[NAN, NAN, 10.0, 11.0]]))
    assert opens.growth[0] == pytest.approx([1.0, 1.0, 1.1, NAN], nan_ok=True)
    assert opens.tradable[0].tolist() == [False, False, True, True]
    assert not opens.gone.any()


def test_a_ticker_is_gone_after_enough_sessions_without_a_bar_and_back_with_its_next() -> None:
    bars = [10.0, *[NAN] * (GONE_SESSIONS + 1), 12.0]
    gone = opens_of(made_panel([bars])).gone[0]
    assert np.flatnonzero(gone).tolist() == [GONE_SESSIONS, GONE_SESSIONS + 1]


def slow_worth(panel: Panel, ticker: int) -> dict[int, float]:
    """What one share bought at the first open is worth at every later open with a bar, total returns reinvested."""
    worth, former, result = 1.0, None, {}
    for t in range(len(panel.sessions)):
        open_, close = panel.open[ticker, t], panel.close[ticker, t]
        if np.isnan(close):
            continue
        if former is not None:
            worth *= np.exp(panel.log_return[ticker, t]) / (close / open_)  # overnight
        result[t] = worth
        worth *= close / open_
        former = close
    return result


def test_returns_add_up_to_what_a_holder_has_with_gaps_splits_and_dividends() -> None:
    panel = panel_of(random_market(count=260, tickers=3, seed=4))
    growth = opens_of(panel).growth
    assert not panel.present.all()
    for ticker in range(3):
        worth = slow_worth(panel, ticker)
        first = min(worth)
        for t, expected in worth.items():
            assert np.prod(growth[ticker, first:t]) == pytest.approx(expected, rel=1e-10)


def test_closes_are_worth_the_sum_of_total_returns() -> None:
    panel = panel_of(random_market(count=200, tickers=3, seed=1))
    during = np.log(panel.close[0] / panel.open[0])
    growth = np.log(opens_of(panel).growth[0, :-1].prod())
    # open to open is close to close, plus the first session's open to close, less the last one's
    assert growth == pytest.approx(panel.log_return[0, 1:].sum() + during[0] - during[-1], rel=1e-10)


BORROWED = FREE.model_copy(update={"borrow_bps_per_year": 252.0})  # one basis point per session


def account(
    weights: list[list[float]],
    growth: list[list[float]],
    spec: MoneySpec = FREE,
    tradable: list[list[bool]] | None = None,
    gone: list[list[bool]] | None = None,
) -> Account:
    """The account of one strategy; all arguments [period][ticker]."""
    shape = np.array(growth).shape
    can = np.ones(shape, dtype=bool) if tradable is None else np.array(tradable)
    ended = np.zeros(shape, dtype=bool) if gone is None else np.array(gone)
    return run_account(np.array(weights)[:, None], Fills(can, ended, np.array(growth)), spec)


def test_a_holding_earns_its_growth() -> None:
    # half in a share that gains 10 %, half in cash: 1 -> 1.05; then half of it in a share that loses 20 %: x 0.9
    one = account([[0.5], [0.5]], [[1.1], [0.8]])
    assert one.equity[0] == pytest.approx([1.0, 1.05, 0.945])
    assert one.net_return[0] == pytest.approx([0.05, -0.1])
    assert one.gross_return[0] == pytest.approx([0.05, -0.1])


def test_the_amount_traded_is_counted_against_what_holdings_drifted_to() -> None:
    # halves; the first doubles: 1.0 and 0.5 of 1.5. Back to 0.75 each: 0.25 sold, 0.25 bought, 0.5 / 1.5 of the account
    one = account([[0.5, 0.5], [0.5, 0.5]], [[2.0, 1.0], [1.0, 1.0]])
    assert one.turnover[0] == pytest.approx([1.0, 0.5 / 1.5])


def test_costs_are_taken_from_the_amount_traded() -> None:
    # 10 bps. Buys 0.5 + 0.5: 0.001. A 0.5 -> 0.55, B 0.5 -> 0.45, cash -0.001: 0.999.
    # Then half of 0.999 in A, nothing in B: sells 0.55 - 0.4995 = 0.0505 and 0.45: 0.5005, costs 0.0005005.
    # A 0.4995 -> 0.44955; cash -0.001 + 0.5005 - 0.0005005 = 0.4989995; together 0.9485495.
    one = account([[0.5, 0.5], [0.5, 0.0]], [[1.1, 0.9], [0.9, 1.2]], TEN_BPS)
    assert one.equity[0] == pytest.approx([1.0, 0.999, 0.9485495], abs=1e-12)
    assert one.cost[0] == pytest.approx([0.001, 0.0005005 / 0.999], abs=1e-12)
    assert one.turnover[0] == pytest.approx([1.0, 0.5005 / 0.999], abs=1e-12)
    assert one.gross_return[0] == pytest.approx([0.0, -0.04995 / 0.999], abs=1e-12)


@pytest.mark.parametrize("named", ["commission_bps", "half_spread_bps", "slippage_bps"])
def test_each_cost_counts(named: str) -> None:
    one = account([[1.0], [0.0]], [[1.0], [1.0]], FREE.model_copy(update={named: 100.0}))
    # 1 % of 1.0 bought leaves 0.99; then 1.0 is sold for another 0.01
    assert one.equity[0] == pytest.approx([1.0, 0.99, 0.98])


def test_a_short_position_gains_when_the_price_falls_and_pays_what_it_borrows() -> None:
    # 0.5 short, 1 bp of 0.5 per session: 0.00005. The price falls by 10 %: 0.05 gained.
    one = account([[-0.5]], [[0.9]], BORROWED)
    assert one.equity[0] == pytest.approx([1.0, 1.05 - 0.00005])
    assert one.borrowing[0] == pytest.approx([0.00005])
    assert (one.long[0, 0], one.short[0, 0]) == (0.0, 0.5)


def test_cash_beyond_the_capital_is_borrowed_and_other_cash_earns_nothing() -> None:
    # 1.5 long with a capital of 1: 0.5 borrowed
    assert account([[1.5]], [[1.0]], BORROWED).equity[0] == pytest.approx([1.0, 1.0 - 0.00005])
    assert account([[0.5]], [[1.0]], BORROWED).equity[0] == pytest.approx([1.0, 1.0])


def test_what_cannot_be_traded_stays_and_drifts() -> None:
    # bought at 0.5, to be sold at the second fill, where it has no open: it goes on to 0.55 x 1.2 = 0.66, sold then
    one = account([[0.5], [0.0], [0.0]], [[1.1], [1.2], [9.0]], TEN_BPS, tradable=[[True], [False], [True]])
    assert one.equity[0] == pytest.approx([1.0, 1.0495, 1.1595, 1.1595 - 0.00066])
    assert one.turnover[0] == pytest.approx([0.5, 0.0, 0.66 / 1.1595])


def test_what_is_gone_is_closed_at_its_last_worth_and_reported() -> None:
    one = account([[0.5], [0.5]], [[1.1], [1.0]], TEN_BPS, tradable=[[True], [False]], gone=[[False], [True]])
    assert one.equity[0] == pytest.approx([1.0, 1.0495, 1.0495 - 0.00055])  # 0.55 sold for 10 bps of it
    assert one.long[0] == pytest.approx([0.5, 0.0])
    assert one.delisted.tolist() == [True]


def test_what_is_gone_without_being_held_is_not_reported() -> None:
    one = account([[0.0]], [[1.0]], gone=[[True]])
    assert one.delisted.tolist() == [False]


def test_no_order_is_no_trade() -> None:
    # 0.5 grows to 0.75 and then to 1.5, never traded again
    one = account([[0.5], [NAN]], [[1.5], [2.0]], TEN_BPS)
    assert one.equity[0] == pytest.approx([1.0, 1.2495, 1.9995])
    assert one.turnover[0] == pytest.approx([0.5, 0.0])


def test_who_loses_everything_is_out() -> None:
    # short 1.0 of what grows to three times: cash 2, owed 3
    one = account([[-1.0], [-1.0]], [[3.0], [0.5]])
    assert one.equity[0] == pytest.approx([1.0, 0.0, 0.0])
    assert one.net_return[0] == pytest.approx([-1.0, 0.0])
    assert (one.turnover[0, 1], one.short[0, 1]) == (0.0, 0.0)


def test_strategies_do_not_touch_each_other() -> None:
    weights = np.array([[[0.5], [-1.0]], [[0.5], [-1.0]]])  # [period, strategy, ticker]
    fills = Fills(np.ones((2, 1), dtype=bool), np.zeros((2, 1), dtype=bool), np.array([[3.0], [1.1]]))
    both = run_account(weights, fills, FREE)
    assert both.equity[0] == pytest.approx([1.0, 2.0, 2.1])
    assert both.equity[1] == pytest.approx([1.0, 0.0, 0.0])


def slow_equity(
    weights: np.ndarray, growth: np.ndarray, tradable: np.ndarray, gone: np.ndarray, spec: MoneySpec
) -> list[float]:
    """The worth of one strategy's account before each fill, counted ticker by ticker; arrays [period, ticker]."""
    held, cash, worth = [0.0] * growth.shape[1], 1.0, [1.0]
    for k in range(len(growth)):
        equity = cash + math.fsum(held)
        for i in range(len(held)):
            wanted = 0.0 if gone[k, i] else weights[k, i]
            if math.isnan(wanted) or not (tradable[k, i] or gone[k, i]):
                continue
            trade = wanted * equity - held[i]
            held[i] += trade
            cash -= trade + abs(trade) * (spec.commission_bps + spec.half_spread_bps + spec.slippage_bps) / 1e4
        borrowed = math.fsum(-h for h in held if h < 0) + (-cash if cash < 0 else 0.0)
        cash -= borrowed * spec.borrow_bps_per_year / 1e4 / 252
        held = [h * growth[k, i] for i, h in enumerate(held)]
        if cash + math.fsum(held) <= 0:
            held, cash = [0.0] * len(held), 0.0
        worth.append(cash + math.fsum(held))
    return worth


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    arrays(np.float64, (6, 3), elements=st.sampled_from([NAN, -1.0, -0.3, 0.0, 0.0, 0.2, 0.5, 1.3])),
    arrays(np.float64, (6, 3), elements=st.sampled_from([0.4, 0.9, 1.0, 1.02, 1.3, 2.5])),
    arrays(np.bool_, (6, 3)),
    arrays(np.bool_, (6, 3), elements=st.sampled_from([False, False, False, True])),
)
def test_the_account_equals_a_slow_twin(
    weights: np.ndarray, growth: np.ndarray, tradable: np.ndarray, gone: np.ndarray
) -> None:
    spec = TEN_BPS.model_copy(update={"borrow_bps_per_year": 700.0})
    fast = run_account(weights[:, None], Fills(tradable, gone, growth), spec)
    assert fast.equity[0] == pytest.approx(slow_equity(weights, growth, tradable, gone, spec), abs=1e-10)
    # what is left is what was gained less what was paid
    alive = fast.equity[0, 1:] > 0
    parts = fast.gross_return - fast.cost - fast.borrowing
    assert fast.net_return[0, alive] == pytest.approx(parts[0, alive], abs=1e-10)


def test_no_period_is_an_account_of_one() -> None:
    none = np.zeros((0, 2), dtype=bool)
    empty = run_account(np.zeros((0, 3, 2)), Fills(none, none, np.zeros((0, 2))), FREE)
    assert empty.equity.tolist() == [[1.0]] * 3
    assert empty.net_return.shape == (3, 0)
