"""Every feature: against a plain loop, its declared warm-up, its prefix property, and what must not move it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.arrays import Floats32
from pipeline.dataset.context import Context, IndexSeries, MarketReturns, cross_market_returns
from pipeline.dataset.covariates.past import PastCovariate, past_values
from pipeline.dataset.covariates.sectors import Sectors
from pipeline.dataset.features import FEATURES, Feature, build_features, select_features
from pipeline.dataset.panel import Panel
from pipeline.dataset.targets import origin_volatility
from pipeline.errors import UsageError
from pipeline.market.bars import ReturnsFrom
from tests.panels import panel_of, random_market, random_rows

NAMES = [feature.name for feature in FEATURES]
BASES: tuple[ReturnsFrom, ...] = ("actions", "adj_close", "close")


def made_context() -> Context:
    """A made calendar and an index that close every day at noon UTC, long before the panels' first session; sectors."""
    days = np.arange(np.datetime64("2021-01-01"), np.datetime64("2024-12-31"))
    draws, noons = np.random.default_rng(3), days.astype("datetime64[s]") + np.timedelta64(12, "h")
    returns, of_index, ranges = (draws.normal(level, 0.02, len(days)) for level in (0.0, 0.0, -4.0))
    return Context(
        cross_market=(MarketReturns(noons, returns),),
        sectors=Sectors("made up", SECTORS),
        index=IndexSeries(
            MarketReturns(noons, of_index), PastCovariate("index_log_range", noons, ranges, False, 5.0, "the index")
        ),
    )


SECTORS = {"T0": "tech", "T1": "tech", "T3": "banks"}  # T2 has none


def values_of(
    panel: Panel, names: Sequence[str] = tuple(NAMES), market_members: tuple[str, ...] | None = None
) -> Floats32:
    members = panel.tickers if market_members is None else market_members
    return build_features(panel, select_features(tuple(names)), members, context=made_context())


class Slow:
    """One ticker's own sessions, and every feature of its session k as documented, without numpy."""

    def __init__(self, panel: Panel, i: int) -> None:
        self.at = [j for j in range(len(panel.sessions)) if math.isfinite(panel.close[i, j])]
        self.open, self.high, self.low, self.close, self.volume, self.r = (
            [float(getattr(panel, name)[i, j]) for j in self.at]
            for name in ("open", "high", "low", "close", "volume", "log_return")
        )

    @staticmethod
    def clip(value: float) -> float:
        return max(-0.3, min(0.3, value))

    def log_return(self, k: int) -> float:
        return self.clip(self.r[k])

    def open_to_close(self, k: int) -> float:
        return self.clip(math.log(self.close[k] / self.open[k]))

    def overnight_gap(self, k: int) -> float:
        return self.clip(self.r[k] - math.log(self.close[k] / self.open[k]))

    def log_range(self, k: int) -> float:
        return math.log(max(math.log(self.high[k] / self.low[k]), 1e-4))

    def close_location(self, k: int) -> float:
        spread = math.log(self.high[k] / self.low[k])
        return math.log(self.close[k] / self.low[k]) / spread if spread > 1e-4 else 0.5

    def volume_surprise(self, k: int) -> float:
        turnover = {m: math.log(self.close[m] * self.volume[m]) for m in range(k - 59, k + 1) if self.volume[m] > 0}
        return turnover[k] - sum(turnover.values()) / len(turnover) if k in turnover else 0.0

    def mean_absolute(self, k: int, window: int) -> float:
        return math.log(sum(abs(self.clip(self.r[m])) for m in range(k - window + 1, k + 1)) / window + 1e-4)

    def of(self, name: str, k: int, volatility: float) -> float:
        plain_name = name.removeprefix("market_").removeprefix("sector_")
        base = plain_name.replace("return", "log_return").replace("log_log", "log")
        if base.startswith("volatility_"):
            return self.mean_absolute(k, int(base.split("_")[1]))
        if base == "log_volatility":
            return math.log(volatility)
        return float(getattr(self, base)(k))


PER_VOLATILITY = (
    "log_return",
    "overnight_gap",
    "open_to_close",
    *(f"{of}_return" for of in ("market", "cross_market", "sector", "index")),
)


def joined_values(panel: Panel) -> dict[str, np.ndarray]:
    """The features that come from the context [session]; other tests compare them with plain loops."""
    context = made_context()
    return {
        "cross_market_return": cross_market_returns(panel, context.cross_market),
        "index_return": cross_market_returns(panel, (context.index.returns,)),
        "index_log_range": past_values(context.index.log_range, panel.calendar, panel.sessions),
    }


def peers_of(panel: Panel, i: int) -> list[int]:
    """The rows whose mean is that of a ticker's sector: all where it has none."""
    sector = SECTORS.get(panel.tickers[i])
    return [k for k, ticker in enumerate(panel.tickers) if sector is None or SECTORS.get(ticker) == sector]


def slow_values(panel: Panel, name: str, warm_up: int) -> list[list[float]]:
    """The feature [ticker][session] in loops."""
    by_ticker, volatility = [Slow(panel, i) for i in range(len(panel.tickers))], origin_volatility(panel)
    joined = joined_values(panel)
    raw = [[math.nan] * len(panel.sessions) for _ in by_ticker]
    for i, series in enumerate(by_ticker):
        for k in range(warm_up, len(series.at)):
            j = series.at[k]
            raw[i][j] = float(joined[name][j]) if name in joined else series.of(name, k, float(volatility[i, j]))
    if name.startswith(("market_", "sector_")):
        values = [list(row) for row in raw]
        for i, row in enumerate(raw):
            peers = range(len(raw)) if name.startswith("market_") else peers_of(panel, i)
            for j in range(len(panel.sessions)):
                known = [values[k][j] for k in peers if not math.isnan(values[k][j])]
                row[j] = sum(known) / len(known) if not math.isnan(row[j]) else math.nan
    unit = volatility if name in PER_VOLATILITY else np.ones_like(volatility)
    return [[value / float(unit[i, j]) for j, value in enumerate(row)] for i, row in enumerate(raw)]


@pytest.fixture(scope="module")
def market() -> dict[str, pd.DataFrame]:
    rows = random_market(150, 4)
    wild = rows["T0"]
    wild.loc[[70, 71, 120], "volume"] = 0.0  # sessions without trading
    wild.loc[80, ["open", "high", "low"]] = wild.loc[80, "close"]  # and one without movement
    rows["T2"].loc[100:, ["open", "high", "low", "close", "adj_close"]] *= 1.9  # a return beyond the limit
    return rows


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_a_feature_equals_a_plain_loop(feature: Feature, market: dict[str, pd.DataFrame]) -> None:
    panel = panel_of(market)
    found = values_of(panel, [feature.name])[..., 0]
    np.testing.assert_allclose(found, slow_values(panel, feature.name, feature.warm_up), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_the_first_value_is_right_after_the_declared_warm_up(feature: Feature) -> None:
    panel = panel_of(random_market(150, 4))
    values = values_of(panel, [feature.name])[..., 0]
    for i, where in enumerate(panel.present):
        is_finite = np.isfinite(values[i, where])
        assert not is_finite[: feature.warm_up].any()
        assert is_finite[feature.warm_up :].all()
    assert not np.isfinite(values[~panel.present]).any()


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_no_shorter_warm_up_would_do(feature: Feature) -> None:
    """Without the declared warm-up the session before it has no value, or one that still lacks a session."""
    rows = random_rows(90, 3)
    eager = replace(feature, warm_up=0)
    panel, k = panel_of({"A": rows}), feature.warm_up - 1
    before = random_rows(1, 4, np.datetime64("2023-01-03"), level=47.0)
    longer = panel_of({"A": pd.concat([before, rows])})
    if k < 0:
        return
    short, more = (
        build_features(p, (eager,), ("A",), context=made_context())[0, p.present[0], 0] for p in (panel, longer)
    )
    assert not np.isfinite(short[k]) or abs(short[k] - more[k + 1]) > 1e-9


def garbage_after(rows: dict[str, pd.DataFrame], last: np.datetime64) -> dict[str, pd.DataFrame]:
    """The rows with everything after a session replaced by other valid bars and actions."""
    spoilt = {}
    for number, (ticker, frame) in enumerate(rows.items()):
        other = random_rows(len(frame), 777 + number, level=900.0)
        later = frame["session"].to_numpy() > last
        mixed = frame.copy()
        mixed.loc[later, other.columns[1:]] = other.loc[later, other.columns[1:]]
        spoilt[ticker] = mixed
    return spoilt


@pytest.mark.parametrize("returns_from", BASES)
@pytest.mark.parametrize("at", [0, 25, 59, 60, 61, 90, 110, 148])
def test_values_on_a_prefix_are_the_prefix_of_values(
    at: int, returns_from: ReturnsFrom, market: dict[str, pd.DataFrame]
) -> None:
    panel = panel_of(market, returns_from)
    whole, last = values_of(panel), panel.sessions[at]
    cut = {ticker: frame[frame["session"].to_numpy() <= last] for ticker, frame in market.items()}
    truncated = values_of(panel_of({ticker: frame for ticker, frame in cut.items() if len(frame)}, returns_from))
    there = [i for i, ticker in enumerate(panel.tickers) if len(cut[ticker])]
    assert truncated.tobytes() == np.ascontiguousarray(whole[there, : at + 1]).tobytes()
    spoilt = values_of(panel_of(garbage_after(market, last), returns_from))
    assert spoilt[:, : at + 1].tobytes() == np.ascontiguousarray(whole[:, : at + 1]).tobytes()
    assert spoilt[:, at + 1 :].tobytes() != np.ascontiguousarray(whole[:, at + 1 :]).tobytes()


@pytest.mark.parametrize("returns_from", BASES)
@pytest.mark.parametrize("factor", [7.3, 1e-3, 1234.5])
def test_rescaling_all_prices_changes_no_feature(
    factor: float, returns_from: ReturnsFrom, market: dict[str, pd.DataFrame]
) -> None:
    prices = ["open", "high", "low", "close", "adj_close", "dividend"]
    scaled = {
        ticker: frame.assign(**{name: frame[name] * factor for name in prices}) for ticker, frame in market.items()
    }
    before, after = values_of(panel_of(market, returns_from)), values_of(panel_of(scaled, returns_from))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.nanmax(np.abs(before)))


def split_at(rows: pd.DataFrame, at: int, factor: float) -> pd.DataFrame:
    """The same history with one more split: later prices divided, later volume multiplied."""
    later = rows.index >= at
    other = rows.copy()
    other.loc[later, ["open", "high", "low", "close", "dividend"]] /= factor
    other.loc[later, "volume"] *= factor
    other.loc[at, "split"] *= factor
    return other


def test_a_split_moves_no_feature() -> None:
    rows = random_rows(150, 5)
    whole, split = values_of(panel_of({"A": rows})), values_of(panel_of({"A": split_at(rows, 100, 4.0)}))
    surprise = NAMES.index("volume_surprise")
    np.testing.assert_allclose(split[..., surprise], whole[..., surprise], rtol=0, atol=1e-6)
    np.testing.assert_allclose(split, whole, rtol=1e-5, atol=1e-5)
    undeclared = split_at(rows, 100, 4.0).assign(split=1.0)  # without the action it is a crash
    crash = values_of(panel_of({"A": undeclared}))[0, 100, NAMES.index("log_return")]
    assert crash < -0.6
    assert abs(crash - whole[0, 100, NAMES.index("log_return")]) > 0.5


def test_only_members_make_the_market_and_another_ticker_changes_nothing() -> None:
    rows = random_market(120, 4)
    panel, members = panel_of(rows), ("T0", "T1", "T3")
    fewer = panel_of({ticker: rows[ticker] for ticker in members})
    with_other, without = values_of(panel, market_members=members), values_of(fewer, market_members=members)
    assert np.ascontiguousarray(with_other[[0, 1, 3]]).tobytes() == without.tobytes()
    other = with_other[2, 40:, NAMES.index("market_log_range")]
    np.testing.assert_array_equal(other, with_other[0, 40:, NAMES.index("market_log_range")])


def test_outside_its_membership_a_ticker_does_not_move_the_market_but_reads_its_own_past() -> None:
    panel, column = panel_of(random_market(120, 3)), NAMES.index("market_log_range")
    membership = np.ones(panel.present.shape, dtype=bool)
    membership[0, :60] = False
    context = replace(made_context(), membership=membership)
    found = build_features(panel, FEATURES, panel.tickers, context=context)
    always, without = values_of(panel), values_of(panel, market_members=panel.tickers[1:])
    assert found[:, :60].tobytes() == without[:, :60].tobytes()
    assert found[:, 60:].tobytes() == always[:, 60:].tobytes()
    assert (found[1, 1:60, column] != always[1, 1:60, column]).any()


def test_names_are_selected_in_their_order_and_unknown_ones_refused_with_the_list() -> None:
    assert [feature.name for feature in select_features(("log_range", "log_return"))] == ["log_range", "log_return"]
    with pytest.raises(UsageError) as refused:
        select_features(("log_range", "moon_phase", "tides"))
    assert "moon_phase, tides" in str(refused.value)
    assert all(name in str(refused.value) for name in NAMES)


def test_a_feature_with_look_ahead_breaks_the_prefix_property() -> None:
    """The property above can fail: a centred mean is caught by the same comparison."""
    centred = Feature(
        "centred", 1, lambda series: np.convolve(np.nan_to_num(series.log_return), np.ones(3) / 3, "same")
    )
    rows = {"A": random_rows(80, 1)}
    whole = build_features(panel_of(rows), (centred,), ("A",))
    spoilt = build_features(panel_of(garbage_after(rows, panel_of(rows).sessions[50])), (centred,), ("A",))
    assert spoilt[:, :51].tobytes() != np.ascontiguousarray(whole[:, :51]).tobytes()
