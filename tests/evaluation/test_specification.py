"""Settings of simulated trading: refused values, costs and their description."""

import pytest
from pydantic import ValidationError

from pipeline.evaluation.specification import MoneySpec


@pytest.mark.parametrize(
    "values",
    [
        {"commission_bps": -1.0},
        {"max_weight": 0.0},
        {"target_volatility": 0.0},
        {"rules": ()},
        {"rules": ("long_only", "long_only")},
        {"rules": ("martingale",)},
        {"entry_bps": float("inf")},
        {"entry_bps": -1.0},
        {"costs": 3},
    ],
)
def test_what_cannot_be_simulated_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MoneySpec(**values)


def test_shares_of_costs() -> None:
    spec = MoneySpec(commission_bps=5, half_spread_bps=3, slippage_bps=2, borrow_bps_per_year=252)
    assert spec.cost_share == pytest.approx(0.001)  # 10 bps
    assert spec.borrow_share_per_session == pytest.approx(0.0001)  # 252 bps over 252 sessions


def test_a_median_must_pay_for_a_round_trip_unless_a_size_is_given() -> None:
    costs = {"commission_bps": 5, "half_spread_bps": 3, "slippage_bps": 2}
    assert MoneySpec().entry_threshold_bps == pytest.approx(10.0)  # 1 + 2 + 2, at each of two trades
    assert MoneySpec(**costs).entry_threshold_bps == pytest.approx(20.0)
    assert MoneySpec(**costs, horizon=5, borrow_bps_per_year=900).entry_threshold_bps == pytest.approx(20.0)
    assert MoneySpec(**costs, entry_bps=0).entry_threshold_bps == 0.0
    assert MoneySpec(**costs, entry_bps=7).entry_threshold_bps == 7.0
    assert MoneySpec(commission_bps=0, half_spread_bps=0, slippage_bps=0).entry_threshold_bps == 0.0


def test_the_size_that_is_traded_is_described() -> None:
    assert "Only medians of more than 10 bps, the cost of a round trip, are traded." in MoneySpec().describe()
    assert "Only medians of more than 7.5 bps are traded." in MoneySpec(entry_bps=7.5).describe()
    assert "Every median but zero is traded." in MoneySpec(entry_bps=0).describe()


def test_costs_and_limits_are_described() -> None:
    description = MoneySpec(commission_bps=5, half_spread_bps=3, slippage_bps=2, horizon=2, max_weight=0.25).describe()
    assert "forecasts over 2 sessions, filled at the next open. A trade costs 10 bps of its amount" in description
    assert "At most 25 % in one ticker and 100 % in all" in description
