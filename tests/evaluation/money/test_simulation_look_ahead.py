"""Simulated trading has no look-ahead: later bars and forecasts change nothing before."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.dataset.panel import Panel
from pipeline.evaluation.money.account import opens_of
from pipeline.evaluation.money.simulation import simulate
from pipeline.evaluation.specification import MoneySpec
from tests.evaluation.money.small_markets import random_case, result


def other_bars_from(panel: Panel, session: int, seed: int) -> Panel:
    """The same panel with other bars, and other missing ones, from a session on."""
    draws = np.random.default_rng(seed)
    shape = (len(panel.tickers), len(panel.sessions) - session)
    gone = draws.uniform(size=shape) < 0.3
    gone[0] = True  # delisted
    fresh = {
        "open": np.where(gone, np.nan, draws.uniform(1, 900, shape)),
        "close": np.where(gone, np.nan, draws.uniform(1, 900, shape)),
        "log_return": np.where(gone, np.nan, draws.normal(0, 0.5, shape)),
    }
    return replace(
        panel, **{name: np.concatenate([getattr(panel, name)[:, :session], new], 1) for name, new in fresh.items()}
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("session", [43, 70, 129])
def test_bars_and_forecasts_of_later_sessions_change_nothing_before(seed: int, session: int) -> None:
    panel, backtest = random_case(seed)
    before = simulate(backtest, opens_of(panel), MoneySpec(), trials=1)
    later = {name: values.copy() for name, values in backtest.quantiles.items()}
    for values in later.values():
        values[:, session - 40 :] = -values[:, session - 40 :, :, ::-1] * 3
    changed = simulate(
        replace(backtest, quantiles=later), opens_of(other_bars_from(panel, session, seed)), MoneySpec(), trials=1
    )
    known = int(np.searchsorted(before.opened, panel.sessions[session]))  # worths at opens before the session
    assert known == session - 41
    for one, other in zip(before.results, changed.results, strict=True):
        assert np.array_equal(one.equity[:known], other.equity[:known]), (one.forecaster, one.rule)
        assert not np.allclose(one.equity[known:], other.equity[known:])


@pytest.mark.parametrize("session", [43, 70, 129])
def test_forecasts_reach_the_account_two_opens_later(session: int) -> None:
    """A forecast of session t is filled at t + 1 and first changes the equity at t + 2."""
    panel, backtest = random_case(1)
    before = simulate(backtest, opens_of(panel), MoneySpec(), trials=1)
    later = {name: values.copy() for name, values in backtest.quantiles.items()}
    for values in later.values():
        values[:, session - 40] = -values[:, session - 40, :, ::-1] * 3
    changed = simulate(replace(backtest, quantiles=later), opens_of(panel), MoneySpec(), trials=1)
    affected = int(np.searchsorted(before.opened, panel.sessions[session + 2]))
    one, other = result(before), result(changed)
    assert np.array_equal(one.equity[:affected], other.equity[:affected])
    assert one.equity[affected] != other.equity[affected]


def test_a_shorter_panel_is_a_prefix() -> None:
    panel, backtest = random_case(2)
    whole = simulate(backtest, opens_of(panel), MoneySpec(), trials=1)
    names = ("open", "high", "low", "close", "volume", "log_return")
    cut = replace(panel, sessions=panel.sessions[:140], **{name: getattr(panel, name)[:, :140] for name in names})
    part = simulate(backtest, opens_of(cut), MoneySpec(), trials=1)
    for one, other in zip(whole.results, part.results, strict=True):
        assert np.array_equal(one.equity[: len(other.equity)], other.equity)
    assert len(result(whole).equity) == len(result(part).equity) + 2
