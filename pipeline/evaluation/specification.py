"""Settings of an evaluation: simulated trading rules and costs, and when a baseline is published. Light to import."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.wording import count_of, percent

SESSIONS_PER_YEAR = 252

Abstain = Literal["never", "pooled", "ticker"]
"""Where a baseline replaces a model that is not better than all of them: nowhere, for all tickers, or per ticker."""
TradingRule = Literal["long_only", "long_short", "volatility_target"]
TRADING_RULES: tuple[TradingRule, ...] = ("long_only", "long_short", "volatility_target")


class MoneySpec(BaseModel, frozen=True, extra="forbid"):
    """Trading rules, their limits and their costs. A weight is a share of the account's equity."""

    rules: tuple[TradingRule, ...] = Field(
        TRADING_RULES, min_length=1, description="Rules to simulate, each at most once"
    )
    horizon: int = Field(1, ge=1, le=60, description="Horizon of the forecasts that are traded on, in sessions")
    entry_bps: float | None = Field(
        None,
        ge=0.0,
        allow_inf_nan=False,
        description="Size that a median over the horizon must exceed to be traded; empty: what a round trip costs",
    )
    commission_bps: float = Field(1.0, ge=0.0, le=1000.0, description="Commission, of the amount traded")
    half_spread_bps: float = Field(2.0, ge=0.0, le=1000.0, description="Half the bid-ask spread, of the amount traded")
    slippage_bps: float = Field(2.0, ge=0.0, le=1000.0, description="Slippage, of the amount traded")
    borrow_bps_per_year: float = Field(
        50.0, ge=0.0, le=10_000.0, description="Cost of what is borrowed: shares sold short, cash beyond the capital"
    )
    max_weight: float = Field(0.2, gt=0.0, le=10.0, description="Largest weight of a ticker, long or short")
    max_gross: float = Field(1.0, gt=0.0, le=10.0, description="Largest sum of the sizes of all weights")
    target_volatility: float = Field(
        0.15, gt=0.0, le=10.0, description="Yearly volatility that the rule volatility_target aims at"
    )

    @model_validator(mode="after")
    def _each_rule_once(self) -> Self:
        twice = sorted({rule for rule in self.rules if self.rules.count(rule) > 1})
        if twice:
            raise ValueError(f"found the rule {', '.join(twice)} more than once, expected each at most once")
        return self

    @property
    def cost_share(self) -> float:
        """Cost of a trade as a share of the amount traded: commission, half the spread and slippage."""
        return (self.commission_bps + self.half_spread_bps + self.slippage_bps) / 10_000

    @property
    def entry_threshold_bps(self) -> float:
        """Size that a median over the horizon must exceed to be traded, in basis points of log return.

        `entry_bps`, by default the cost of a round trip. With a trade's cost c as a share of its amount, what is bought
        for 1 + c is sold for (1 - c) exp(r): nothing is left at r = log((1 + c) / (1 - c)), which is 2c up to c^3, and
        at -r for what is sold short. The forecast is of the whole horizon, and a position held over it pays one round
        trip, so that the threshold is the same at every horizon. The cost of borrowing is not part of it.
        """
        return 2 * 10_000 * self.cost_share if self.entry_bps is None else self.entry_bps

    @property
    def borrow_share_per_session(self) -> float:
        """Cost of borrowing over one session, as a share of the amount borrowed: a year has 252 sessions."""
        return self.borrow_bps_per_year / 10_000 / SESSIONS_PER_YEAR

    def describe(self) -> str:
        """Return the sentences shown with every result: when trades happen, at what cost, within what limits."""
        return (
            f"Decided at the close from the forecasts over {count_of(self.horizon, 'session')}, filled at the next "
            f"open. A trade costs {10_000 * self.cost_share:g} bps of its amount, what is borrowed "
            f"{self.borrow_bps_per_year:g} bps a year; cash earns nothing. {self._entry_sentence()} At most "
            f"{percent(self.max_weight, 0)} in one ticker and {percent(self.max_gross, 0)} in all."
        )

    def _entry_sentence(self) -> str:
        if self.entry_threshold_bps == 0:
            return "Every median but zero is traded."
        reason = ", the cost of a round trip," if self.entry_bps is None else ""
        return f"Only medians of more than {self.entry_threshold_bps:g} bps{reason} are traded."
