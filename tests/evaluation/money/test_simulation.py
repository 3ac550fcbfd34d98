"""The whole simulation by hand, passive portfolios, and the table of results."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.dataset.panel import Panel
from pipeline.errors import UsageError
from pipeline.evaluation.money.account import GONE_SESSIONS, opens_of
from pipeline.evaluation.money.simulation import money_table, simulate
from pipeline.evaluation.specification import MoneySpec
from tests.evaluation.money.small_markets import (
    FREE,
    NAN,
    TEN_BPS,
    backtest_of,
    days,
    made_panel,
    normal_quantiles,
    random_case,
    result,
    run,
)
from tests.panels import panel_of, random_market

UP, DOWN = 0.002, -0.002
SHORT = FREE.model_copy(update={"rules": ("long_short",)})


def test_decided_at_the_close_filled_at_the_next_open() -> None:
    # A opens at 100 100 110 99; B at 50 50 45 54. At the first close both are up: halves, bought at 100 and 50, at 110
    # and 45 at the next open; then A alone, at most one half. The same arithmetic, with costs, as in test_account:
    # 1 -> 0.999 -> 0.9485495. What happens between the first close and the first fill earns nothing.
    panel = made_panel([[70.0, 100.0, 110.0, 99.0], [80.0, 50.0, 45.0, 54.0]])
    money = run(panel, [[UP, UP, UP, UP], [UP, DOWN, UP, UP]], TEN_BPS.model_copy(update={"max_weight": 0.5}))
    assert result(money).equity == pytest.approx([1.0, 0.999, 0.9485495], abs=1e-7)
    assert money.opened.tolist() == days(4)[1:].tolist()
    assert result(money).performance.turnover_per_session == pytest.approx((1.0 + 0.5005 / 0.999) / 2)


def test_origins_whose_next_two_opens_are_not_known_earn_nothing_yet() -> None:
    panel = made_panel([[100.0, 100.0, 110.0]])
    money = run(panel, [[UP, UP, UP]])
    assert result(money).net_return == pytest.approx([0.1])
    short = run(made_panel([[100.0, 100.0]]), [[UP, UP]])
    assert result(short).net_return.shape == (0,)
    assert money_table(short)["sessions"].tolist() == [0, 0, 0]


def test_a_split_while_holding_changes_nothing() -> None:
    panel = made_panel([[100.0, 100.0, 50.0, 55.0]], splits=[[1.0, 1.0, 2.0, 1.0]])
    assert result(run(panel, [[UP] * 4])).equity == pytest.approx([1.0, 1.0, 1.1])


def test_who_is_short_pays_the_dividend() -> None:
    # one half short of a share that falls by its dividend of 2 of 100: nothing gained, nothing lost; without the
    # dividend the fall is a gain of 0.5 x 2 %
    prices = [[100.0, 100.0, 98.0, 98.0]]
    paid = made_panel(prices, dividends=[[0.0, 0.0, 2.0, 0.0]])
    assert result(run(paid, [[DOWN] * 4], SHORT)).equity == pytest.approx([1.0, 1.0, 1.0])
    assert result(run(made_panel(prices), [[DOWN] * 4], SHORT)).equity == pytest.approx([1.0, 1.01, 1.01])


def test_long_and_short_by_hand() -> None:
    # half long A, half short B: A +10 %, B +20 %: 0.05 - 0.1; then halves of 0.95: A -10 %, B -50 %: -0.0475 + 0.2375
    panel = made_panel([[1.0, 100.0, 110.0, 99.0], [1.0, 50.0, 60.0, 30.0]])
    money = run(panel, [[UP] * 4, [DOWN] * 4], SHORT)
    assert result(money).equity == pytest.approx([1.0, 0.95, 1.14])
    assert result(money).performance.net_exposure == pytest.approx(0.0, abs=1e-7)
    assert result(money).performance.gross_exposure == pytest.approx(1.0)


def test_volatility_target_by_hand() -> None:
    # 0.16 / 0.32 = one half of the account in the only ticker, which gains 10 % and loses 10 %
    panel = made_panel([[1.0, 100.0, 110.0, 99.0]])
    spec = FREE.model_copy(update={"rules": ("volatility_target",), "target_volatility": 0.16})
    assert result(run(panel, [[UP] * 4], spec)).equity == pytest.approx([1.0, 1.05, 1.05 * 0.95], rel=1e-5)


def test_without_a_bar_the_order_is_filled_at_the_next_open() -> None:
    # bought at 100, closes at 104 (session 1). Decided there to sell, but there is no bar on session 2, where the
    # forecaster says nothing that counts; sold at 130 on session 3: 1.04, then 1.3, then nothing held
    panel = made_panel([[100.0, 100.0, NAN, 130.0, 260.0]], [[100.0, 104.0, NAN, 130.0, 260.0]])
    money = run(panel, [[UP, DOWN, UP, DOWN, UP]])
    assert result(money).equity == pytest.approx([1.0, 1.04, 1.3, 1.3])


def test_the_latest_forecast_is_used_where_there_is_no_bar() -> None:
    # held through the missing bar as decided before it, next to B, which keeps its half
    panel = made_panel([[100.0, 100.0, NAN, 130.0, 130.0], [10.0] * 5])
    money = run(panel, [[UP, UP, NAN, UP, UP], [UP] * 5])
    held = result(money)
    # halves; A's gap 100 -> 130 over the session without a bar: 0.5 x 30 %
    assert held.equity == pytest.approx([1.0, 1.0, 1.15, 1.15])
    assert held.performance.gross_exposure == pytest.approx(1.0)


def test_a_ticker_with_a_bar_and_no_forecast_is_sold() -> None:
    panel = made_panel([[100.0, 100.0, 110.0, 220.0, 220.0]])
    money = run(panel, [[UP, NAN, NAN, NAN, NAN]])
    assert result(money).equity == pytest.approx([1.0, 1.1, 1.1, 1.1])


def delisted_panel(after: int) -> Panel:
    """A gains 10 % to its last close on session 2 and has no bar after it; B stands still."""
    ends = [100.0, 100.0, 105.0, *[NAN] * after]
    return made_panel([ends, [10.0] * (3 + after)], [[100.0, 100.0, 110.0, *[NAN] * after], [10.0] * (3 + after)])


def test_a_delisted_ticker_is_closed_at_its_last_close() -> None:
    after = GONE_SESSIONS + 4
    panel = delisted_panel(after)
    medians = [[UP, UP, UP, *[NAN] * after], [NAN] * (3 + after)]
    money = run(panel, medians, TEN_BPS)
    # bought at 100 for 10 bps: 1.05 and cash -0.001 at the next open, 1.049 in all; to hold that much 0.001 is sold,
    # which costs 0.000001; at the last close 1.049 x 110 / 105, less that; 20 sessions later all is sold for 10 bps
    equity = result(money).equity
    held, closed = 1.049 * 110 / 105, 1 + GONE_SESSIONS  # the fill on session 2 + GONE_SESSIONS
    assert equity[2 : closed + 1] == pytest.approx(np.full(GONE_SESSIONS, held - 0.000001), abs=1e-12)
    assert equity[closed + 1 :] == pytest.approx(np.full(4, held * 0.999 - 0.000001), abs=1e-12)
    assert any("closed at the last close after 20 sessions without one: A." in said for said in money.caveats)
    # never traded between: 1.1 - 0.001, and 0.0011 to close it
    assert result(money, "passive", "buy_and_hold").equity[-1] == pytest.approx(1.0979)


def test_a_delisting_is_not_known_before_it_counts() -> None:
    waiting = run(delisted_panel(GONE_SESSIONS - 1), [[UP, UP, UP, *[NAN] * (GONE_SESSIONS - 1)], [NAN] * 22], TEN_BPS)
    assert len(waiting.caveats) == 1
    after = GONE_SESSIONS + 4
    known = run(delisted_panel(after), [[UP, UP, UP, *[NAN] * after], [NAN] * (3 + after)], TEN_BPS)
    count = len(result(waiting).equity)
    assert np.array_equal(result(known).equity[:count], result(waiting).equity)


def test_a_gone_ticker_leaves_its_place_to_the_others() -> None:
    after = GONE_SESSIONS + 4
    money = run(delisted_panel(after), [[UP, UP, UP, *[NAN] * after], [UP] * (3 + after)])
    for name in (("network", "long_only"), ("passive", "equal_weight")):
        account = result(money, *name)
        assert account.performance.gross_exposure == pytest.approx(1.0, abs=0.03)  # one half while it is being closed
    last = run(delisted_panel(after), [[UP, UP, UP, *[NAN] * after], [UP] * (3 + after)], TEN_BPS)
    assert result(last).equity[-1] < result(last).equity[-4]  # B is bought with what A left, which costs


def test_persistence_never_trades() -> None:
    panel = panel_of(random_market(count=120, tickers=3, seed=0))
    zero = np.zeros((3, 120)).tolist()
    money = run(panel, zero, MoneySpec())
    for rule in MoneySpec().rules:
        figures = result(money, rule=rule).performance
        assert (figures.net_return, figures.turnover_per_session, figures.invested) == (0.0, 0.0, 0.0)
        assert np.isnan(figures.sharpe)


def test_a_move_as_large_as_the_threshold_pays_for_its_trades_and_no_more() -> None:
    # 10 bps a trade: 1 / 1.001 is bought with all of the account, moves by the threshold and is sold
    costly = TEN_BPS.model_copy(update={"entry_bps": None, "max_weight": 1 / 1.001})
    move = costly.entry_threshold_bps / 10_000
    panel = made_panel([[100.0, 100.0, 100.0 * np.exp(move), 100.0, 100.0]])
    money = run(panel, [[0.01, DOWN, DOWN, DOWN, DOWN]], costly)
    assert result(money).performance.turnover_per_session > 0.5
    assert result(money).equity[-1] == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize(("median", "traded"), [(0.0019, False), (0.0021, True), (-0.0019, False), (-0.0021, True)])
def test_a_median_within_the_cost_of_a_round_trip_is_not_traded(median: float, traded: bool, horizon: int) -> None:
    """10 bps a trade are 20 for both, however far ahead the forecast is; the other horizon would decide otherwise."""
    panel = made_panel([[100.0, 100.0, 110.0, 110.0]])
    decides, other = normal_quantiles([[median] * 4]), normal_quantiles([[0.0 if traded else 0.05] * 4])
    both = np.concatenate((decides, other) if horizon == 1 else (other, decides), axis=2)
    backtest = backtest_of(panel, {"network": both})
    costly = SHORT.model_copy(update={"commission_bps": 10.0, "horizon": horizon})
    invested = [
        result(simulate(backtest, opens_of(panel), spec, trials=1)).performance.invested
        for spec in (costly, costly.model_copy(update={"entry_bps": 0.0}))
    ]
    assert invested == [float(traded), 1.0]


def test_passive_portfolios_by_hand() -> None:
    # A doubles, B stands, C is not forecast. Held: 0.5 -> 1.0 and 0.5; A doubles again: 2.0 and 0.5.
    # Equal weight: 1.5, then 0.75 each, A doubles: 2.25; it trades 1.0, then 0.25 + 0.25 of 1.5.
    panel = made_panel([[9.0, 1.0, 2.0, 4.0], [5.0] * 4, [1.0, 1.0, 9.0, 99.0]])
    money = run(panel, [[UP] * 4, [DOWN] * 4, [NAN] * 4])
    held, equal = (result(money, "passive", rule) for rule in ("buy_and_hold", "equal_weight"))
    assert held.equity == pytest.approx([1.0, 1.5, 2.5])
    assert equal.equity == pytest.approx([1.0, 1.5, 2.25])
    assert held.performance.turnover_per_session == pytest.approx(0.5)
    assert equal.performance.turnover_per_session == pytest.approx((1.0 + 0.5 / 1.5) / 2)
    costly = run(panel, [[UP] * 4, [DOWN] * 4, [NAN] * 4], TEN_BPS)
    assert result(costly, "passive", "buy_and_hold").equity == pytest.approx([1.0, 1.499, 2.499])


def test_buy_and_hold_waits_for_the_first_open() -> None:
    panel = made_panel([[1.0, NAN, 1.0, 2.0], [5.0] * 4])
    money = run(panel, [[UP] * 4, [UP] * 4])
    # B bought at the first fill, A at the second: one half, doubled
    assert result(money, "passive", "buy_and_hold").equity == pytest.approx([1.0, 1.0, 1.5])


def test_buy_and_hold_does_not_know_its_tickers_before_they_are_forecast() -> None:
    # the first forecast is that of session 1: bought on session 2, after the doubling
    panel = made_panel([[1.0, 1.0, 2.0, 3.0]])
    money = run(panel, [[NAN, UP, UP, UP]])
    assert result(money, "passive", "buy_and_hold").equity == pytest.approx([1.0, 1.0, 1.5])
    assert result(money, "passive", "equal_weight").equity == pytest.approx([1.0, 1.0, 1.5])


def test_between_folds_nothing_is_held() -> None:
    panel = made_panel([[100.0, 100.0, 110.0, 220.0, 440.0, 440.0, 484.0]])
    backtest = backtest_of(panel, {"network": normal_quantiles([[UP] * 7])})
    gap = np.array([0, 4])  # forecast on sessions 0 and 4 alone
    cut = replace(
        backtest,
        sessions=backtest.sessions[gap],
        fold_of_origin=gap,
        quantiles={"network": backtest.quantiles["network"][:, gap]},
        realised=backtest.realised[:, gap],
        reference_close=backtest.reference_close[:, gap],
        target_sessions=backtest.target_sessions[gap],
    )
    money = simulate(cut, opens_of(panel), FREE, trials=1)
    assert result(money).equity == pytest.approx([1.0, 1.1, 1.1, 1.1, 1.1, 1.21])


# --- No look-ahead ---


# --- The table ---


def test_the_table_has_every_forecaster_under_every_rule_and_the_passive_portfolios() -> None:
    panel, backtest = random_case(0)
    spec = MoneySpec()
    money = simulate(backtest, opens_of(panel), spec, trials=7)
    table = money_table(money)
    names = list(zip(table["forecaster"], table["rule"], strict=True))
    assert names == [
        *[(name, rule) for name in ("network", "drift") for rule in spec.rules],
        ("passive", "buy_and_hold"),
        ("passive", "equal_weight"),
    ]
    assert table["trials"].tolist() == [21] * 6 + [1] * 2  # seven specifications, each under three rules
    assert (table["sessions"] == 100).all()
    for one, net in zip(money.results, table["net_return"], strict=True):
        assert one.equity[-1] - 1 == pytest.approx(net)
    assert (table["gross_return"] > table["net_return"]).all()


def test_costs_make_every_strategy_poorer() -> None:
    panel, backtest = random_case(0)
    spec = MoneySpec(commission_bps=0, half_spread_bps=0, slippage_bps=0, borrow_bps_per_year=0)
    free = money_table(simulate(backtest, opens_of(panel), spec, trials=1))
    paid = money_table(simulate(backtest, opens_of(panel), MoneySpec(), trials=1))
    assert (paid["net_return"] < free["net_return"]).all()
    assert free["net_return"].to_numpy() == pytest.approx(free["gross_return"].to_numpy())
    assert (free["costs_per_year"] == 0).all()


def test_the_horizon_that_decides() -> None:
    panel = made_panel([[1.0, 100.0, 110.0, 99.0]])
    both = np.concatenate([normal_quantiles([[DOWN] * 4]), normal_quantiles([[UP] * 4])], axis=2)
    backtest = backtest_of(panel, {"network": both})
    equities = [
        result(simulate(backtest, opens_of(panel), FREE.model_copy(update={"horizon": h}), trials=1)).equity
        for h in (1, 2)
    ]
    assert equities[0] == pytest.approx([1.0, 1.0, 1.0])
    assert equities[1] == pytest.approx([1.0, 1.1, 0.99])


def test_what_does_not_fit_is_refused() -> None:
    panel = made_panel([[1.0] * 6, [2.0] * 6])
    backtest, opens = backtest_of(panel, {"network": normal_quantiles([[UP] * 6] * 2)}), opens_of(panel)
    with pytest.raises(UsageError, match="found horizon 3 for money, expected at most 1"):
        simulate(backtest, opens, FREE.model_copy(update={"horizon": 3}), trials=1)
    with pytest.raises(UsageError, match="found no opens of B"):
        simulate(backtest, replace(opens, tickers=("A", "Z")), FREE, trials=1)
    with pytest.raises(UsageError, match="expected every session of the backtest"):
        simulate(backtest, replace(opens, sessions=opens.sessions + 1), FREE, trials=1)
    with pytest.raises(UsageError, match="expected every session of the backtest"):
        simulate(backtest, replace(opens, sessions=opens.sessions - 1), FREE, trials=1)


def test_tickers_are_found_by_name() -> None:
    panel, backtest = random_case(0)
    opens = opens_of(panel)
    order = [2, 0, 3, 1]
    turned = replace(
        opens,
        tickers=tuple(opens.tickers[k] for k in order),
        **{name: getattr(opens, name)[order] for name in ("tradable", "gone", "growth")},
    )
    one, other = (simulate(backtest, some, MoneySpec(), trials=1) for some in (opens, turned))
    assert np.array_equal(result(one).equity, result(other).equity)
