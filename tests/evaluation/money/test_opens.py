"""Opens: total returns from one open to the next, by hand and against a holder who counts shares."""

import numpy as np
import pytest

from pipeline.dataset.panel import Panel
from pipeline.evaluation.money.opens import GONE_SESSIONS, opening_returns, opens_of
from tests.evaluation.money.made import NAN, made_panel
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
