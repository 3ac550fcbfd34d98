"""Past covariates joined by closing instant: the lag to the second, by plain loops, used no longer than allowed."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.arrays import Floats
from pipeline.dataset.context import Context
from pipeline.dataset.covariates.known_future import KnownFutureCovariate, known_future_values
from pipeline.dataset.covariates.past import PastCovariate, past_values
from pipeline.dataset.features import Feature, build_features, file_feature, select_features
from pipeline.dataset.panel import Panel, build_panel
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from pipeline.market.calendars import closing_instants
from tests.dataset.calendar_bars import at, bars_on

LAST = date(2024, 3, 28)


def bars(calendar: str, tickers: tuple[str, ...], seed: int, last: date = LAST) -> Bars:
    return bars_on(calendar, tickers, seed, last)


def panel_on(calendar: str, tickers: tuple[str, ...] = ("A",), seed: int = 1) -> Panel:
    return build_panel(bars(calendar, tickers, seed))


PANELS = {calendar: panel_on(calendar) for calendar in ("XNYS", "XBOM", "24/7")}


def series(known_from: list[str] | np.ndarray, values: list[float] | np.ndarray, **more: object) -> PastCovariate:
    settings = {"changes": False, "max_age_days": 3650.0, **more}
    return PastCovariate(
        "vix", np.array(known_from, "datetime64[s]"), np.array(values, float), source_name="x.csv", **settings
    )


def daily(seed: int = 5, lag_seconds: int = 86_400, **more: object) -> PastCovariate:
    """A value per weekday from December on, dated and lagged as a file's are."""
    days = np.arange(np.datetime64("2023-12-01"), np.datetime64("2024-06-01"))
    days = days[np.is_busday(days)]
    known_from = days.astype("datetime64[s]") + np.timedelta64(86_400 + lag_seconds, "s")
    return series(known_from, np.random.default_rng(seed).normal(15, 2, len(days)), **more)


def values_at(covariate: PastCovariate, panel: Panel) -> Floats:
    return past_values(covariate, panel.calendar, panel.sessions)


def slow_values(covariate: PastCovariate, panel: Panel) -> list[float]:
    """The last value known at each close, or its change since the previous close, by plain loops."""
    found, previous = [], math.nan
    for close in closing_instants(panel.calendar, panel.sessions):
        if np.isnat(close):
            found.append(math.nan)
            continue
        known = [v for at, v in zip(covariate.known_from, covariate.values, strict=True) if at <= close]
        value = float(known[-1]) if known else math.nan
        found.append(value - previous if covariate.changes else value)
        previous = value
    return found


@pytest.mark.parametrize("calendar", PANELS)
@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("lag_seconds", [0, 3_600, 86_400, 400_000])
def test_values_equal_a_plain_loop(calendar: str, changes: bool, lag_seconds: int) -> None:
    covariate = daily(lag_seconds=lag_seconds, changes=changes)
    np.testing.assert_array_equal(values_at(covariate, PANELS[calendar]), slow_values(covariate, PANELS[calendar]))


SECONDS = st.integers(-10 * 86_400, 100 * 86_400)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(SECONDS, min_size=1, max_size=60, unique=True), st.booleans(), st.sampled_from(sorted(PANELS)))
def test_any_instants_join_like_a_plain_loop(seconds: list[int], changes: bool, calendar: str) -> None:
    begin = np.datetime64("2024-01-02T21:00:00")
    covariate = series(
        np.array([begin + np.timedelta64(second, "s") for second in sorted(seconds)]),
        np.arange(len(seconds)) ** 1.5,
        changes=changes,
    )
    np.testing.assert_array_equal(values_at(covariate, PANELS[calendar]), slow_values(covariate, PANELS[calendar]))


def test_the_lag_is_honoured_to_the_second_around_the_close() -> None:
    us, close = PANELS["XNYS"], "2024-02-14T21:00:00"
    begun = ["2024-01-01T00:00:00"]
    in_time = values_at(series([*begun, close], [1, 2]), us)
    assert (at(us, in_time, "2024-02-13"), at(us, in_time, "2024-02-14")) == (1, 2)
    late = values_at(series([*begun, "2024-02-14T21:00:01"], [1, 2]), us)
    assert (at(us, late, "2024-02-14"), at(us, late, "2024-02-15")) == (1, 2)
    minute = values_at(series([*begun, "2024-02-14T20:59:00"], [1, 2]), us)
    assert (at(us, minute, "2024-02-13"), at(us, minute, "2024-02-14")) == (1, 2)


def test_a_day_s_value_reaches_new_york_a_day_late_without_a_lag_and_bitcoin_at_its_own_close() -> None:
    us, coins = PANELS["XNYS"], PANELS["24/7"]
    tuesday = series(["2024-01-01", "2024-02-14"], [1, 2])  # the day of February 13 ends
    found = values_at(tuesday, us), values_at(tuesday, coins)
    assert (at(us, found[0], "2024-02-13"), at(us, found[0], "2024-02-14")) == (1, 2)
    assert (at(coins, found[1], "2024-02-12"), at(coins, found[1], "2024-02-13")) == (1, 2)


def test_a_weekend_s_changes_are_summed_into_monday() -> None:
    us = PANELS["XNYS"]
    covariate = series(["2024-01-01", "2024-02-10", "2024-02-11", "2024-02-12"], [10, 11, 13, 12.5], changes=True)
    found = values_at(covariate, us)
    assert at(us, found, "2024-02-09") == 0
    assert at(us, found, "2024-02-12") == 2.5
    assert at(us, found, "2024-02-13") == 0


def test_days_that_the_calendar_does_not_have_have_no_value_and_the_next_change_spans_them() -> None:
    us, covariate = PANELS["XNYS"], daily(changes=True)
    sessions = np.where(us.sessions == np.datetime64("2024-02-16"), np.datetime64("2024-02-17"), us.sessions)
    stray = replace(us, sessions=sessions)
    found, whole = values_at(covariate, stray), values_at(covariate, us)
    place = int(np.flatnonzero(us.sessions == np.datetime64("2024-02-16"))[0])
    assert np.isnan(found[place])
    assert found[place + 1] == pytest.approx(whole[place] + whole[place + 1])


def test_a_value_is_used_as_long_as_allowed_and_no_second_longer() -> None:
    us = PANELS["XNYS"]

    def values_known_from(*known_from: str) -> Floats:
        return values_at(series(list(known_from), np.ones(len(known_from)), max_age_days=42.875), us)

    # from the first value to the close of February 12 it is 42 days and 21 hours
    assert np.isfinite(values_known_from("2024-01-01T00:00:00", "2024-02-13", "2024-03-01")).all()
    with pytest.raises(UsageError) as gap:
        values_known_from("2023-12-31T23:59:59", "2024-02-13", "2024-03-01")
    assert str(gap.value) == (
        "vix from x.csv: at the close of 2024-02-12T21:00:00 UTC its last value was known since 2023-12-31T23:59:59, "
        "expected at most 42.875 days; fill the gap, or allow older values (max_age_days)"
    )
    with pytest.raises(UsageError, match=r"close of 2024-03-27T20:00:00 .* since 2024-02-13T.*bring it up to date, or"):
        values_known_from("2024-01-01T00:00:00", "2024-02-13")


def test_before_its_first_value_a_series_has_none() -> None:
    us = PANELS["XNYS"]
    found = values_at(series(["2024-02-14T21:00:00"], [7]), us)
    assert np.isnan(found[us.sessions < np.datetime64("2024-02-14")]).all()
    assert (found[us.sessions >= np.datetime64("2024-02-14")] == 7).all()


VIX = {changes: file_feature("vix", int(changes)) for changes in (False, True)}


def features_of(panel: Panel, feature: Feature, covariate: PastCovariate) -> np.ndarray:
    return build_features(panel, (feature,), panel.tickers, context=Context(past=(covariate,)))[..., 0]


@pytest.mark.parametrize("changes", [False, True])
def test_the_feature_begins_right_after_its_warm_up_at_every_ticker_that_has_a_bar(changes: bool) -> None:
    whole = bars("XNYS", ("A", "B"), 1)
    late = whole.frame[(whole.frame["ticker"] == "A") | (whole.frame["session"] >= np.datetime64("2024-02-01"))]
    panel = build_panel(replace(whole, frame=late.reset_index(drop=True)))
    covariate, feature = daily(changes=changes), VIX[changes]
    found, expected = features_of(panel, feature, covariate), values_at(covariate, panel)
    assert feature.warm_up == int(changes)
    for i, where in enumerate(panel.present):
        ticker_values = found[i, where]
        assert np.isnan(ticker_values[: feature.warm_up]).all()
        np.testing.assert_array_equal(
            ticker_values[feature.warm_up :], expected[where][feature.warm_up :].astype(np.float32)
        )
    assert np.isnan(found[~panel.present]).all()
    eager = features_of(panel, replace(feature, warm_up=0), covariate)[0]
    assert np.isnan(eager[0]) == changes  # no shorter warm-up would do: the panel's first session has no previous one


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("origin", [1, 20, 40, 57])
def test_what_becomes_known_after_an_origin_changes_no_bit_at_it(origin: int, changes: bool) -> None:
    panel, covariate = panel_on("XNYS", ("A", "B")), daily(changes=changes)
    whole, close = features_of(panel, VIX[changes], covariate), closing_instants("XNYS", panel.sessions)[origin]

    def spoilt_from(instant: np.datetime64) -> np.ndarray:
        wild = np.random.default_rng(9).uniform(-1e6, 1e6, len(covariate.values))
        values = np.where(covariate.known_from >= instant, wild, covariate.values)
        return features_of(panel, VIX[changes], replace(covariate, values=values))

    later = spoilt_from(close + np.timedelta64(1, "s"))
    before, now = (np.ascontiguousarray(values[:, : origin + 1]).tobytes() for values in (whole, later))
    assert before == now
    assert (later[:, origin + 1 :] != whole[:, origin + 1 :]).any()
    newest = covariate.known_from[covariate.known_from <= close][-1]
    assert (spoilt_from(newest)[:, origin] != whole[:, origin]).all()  # the newest one that counts is read


@pytest.mark.parametrize("changes", [False, True])
def test_values_on_a_prefix_are_the_prefix_of_values(changes: bool) -> None:
    panel = panel_on("XNYS", ("A", "B"))
    whole = features_of(panel, VIX[changes], daily(changes=changes))
    for last in (date(2024, 1, 10), date(2024, 2, 20)):
        cut = features_of(build_panel(bars("XNYS", ("A", "B"), 1, last)), VIX[changes], daily(changes=changes))
        assert cut.tobytes() == np.ascontiguousarray(whole[:, : cut.shape[1]]).tobytes()


def test_a_feature_without_its_series_is_refused() -> None:
    with pytest.raises(UsageError, match="the feature vix needs a series of that name, found none"):
        build_features(PANELS["XNYS"], (VIX[True],), ("A",))
    for name, needs in (("index_return", "an index"), ("index_log_range", "an index"), ("sector_return", "sectors")):
        with pytest.raises(UsageError, match=f"{name} needs {needs}, found none"):
            build_features(PANELS["XNYS"], select_features((name,)), ("A",))


def test_a_past_covariate_cannot_be_read_as_a_known_future_one() -> None:
    with pytest.raises(AttributeError, match="days"):
        known_future_values((daily(),), "XNYS", PANELS["XNYS"].sessions, 2)  # mypy refuses it too
    fields = [set(kind.__dataclass_fields__) for kind in (PastCovariate, KnownFutureCovariate)]
    assert not issubclass(PastCovariate, KnownFutureCovariate)
    assert not issubclass(KnownFutureCovariate, PastCovariate)
    assert ("known_from" in fields[0], "known_from" in fields[1]) == (True, False)


# --- The index: one ticker of the run, of the own calendar or of another.
