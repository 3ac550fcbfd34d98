"""Known-future covariates and target sessions: by hand foreseen Thanksgiving, by plain loops, and the same when cut."""

import calendar as months
import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from pipeline.dataset.covariates.known_future import (
    CALENDAR_COLUMNS,
    calendar_columns,
    calendar_covariates,
    known_future_values,
    target_sessions,
)
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import SCALED_LIMIT, fit_known_future_scaler
from pipeline.errors import FitError, TapecastError
from pipeline.market.calendars import foreseen_sessions, half_days, next_sessions, sessions_between
from tests.panels import TINY, changed, frames_from, random_market, random_rows

ALL = tuple(CALENDAR_COLUMNS)
NAMES = calendar_columns(ALL)


def days(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[D]")


def values_from(calendar: str, origin: str, horizons: int = 3) -> list[dict[str, float]]:
    """The values of each target session from one origin, by the columns' names."""
    values = known_future_values(calendar_covariates(ALL, calendar), calendar, days(origin), horizons)[0]
    return [dict(zip(NAMES, (float(value) for value in row), strict=True)) for row in values]


def columns(calendar: str, origin: str, name: str, horizons: int = 3) -> list[float]:
    return [target[name] for target in values_from(calendar, origin, horizons)]


def test_thanksgiving_is_a_gap_before_and_the_half_day_after_it_has_a_weekend_ahead() -> None:
    # from Tuesday: Wednesday 27, the half day on Friday 29, Monday 2
    assert columns("XNYS", "2024-11-26", "days_since_previous") == [1, 2, 3]
    assert columns("XNYS", "2024-11-26", "days_to_next") == [2, 3, 1]
    assert columns("XNYS", "2024-11-26", "half_day") == [0, 1, 0]
    assert columns("XNYS", "2024-11-26", "month_end") == [0, 1, 0]
    # from Friday over New Year: Monday 30, Tuesday 31, Thursday 2, Friday 3
    assert columns("XNYS", "2024-12-27", "days_since_previous", 4) == [3, 1, 2, 1]
    assert columns("XNYS", "2024-12-27", "month_end", 4) == [0, 1, 0, 0]
    # the half day before Christmas, and the long weekend of Martin Luther King
    assert columns("XNYS", "2024-12-23", "half_day", 2) == [1, 0]
    assert columns("XNYS", "2025-01-16", "days_to_next", 2) == [4, 1]


def test_around_the_clock_every_day_is_a_session_and_there_is_no_gap() -> None:
    assert columns("24/7", "2024-11-29", "days_since_previous", 5) == [1] * 5
    assert columns("24/7", "2024-11-29", "days_to_next", 5) == [1] * 5
    assert columns("24/7", "2024-11-29", "half_day", 5) == [0] * 5
    assert columns("24/7", "2024-11-29", "month_end", 5) == [1, 0, 0, 0, 0]  # Saturday the 30th


def test_no_origin_knows_of_a_closing_that_nobody_expected() -> None:
    assert target_sessions("XNYS", days("2001-09-10"), 2).tolist() == [[date(2001, 9, 11), date(2001, 9, 12)]]
    assert columns("XNYS", "2001-09-10", "days_since_previous", 5) == [1, 1, 1, 1, 3]
    assert columns("XNYS", "2001-09-17", "days_since_previous", 2) == [1, 1]
    assert columns("XNYS", "2012-10-26", "days_since_previous", 4) == [3, 1, 1, 1]  # the storm closed the first two
    assert columns("XNYS", "2012-10-26", "month_end", 4) == [0, 0, 1, 0]


def slow_columns(foreseen: list[date], half: set[date], target: date) -> list[float]:
    """The values of a target session, as the documentation defines them."""
    k = foreseen.index(target)
    previous, later = foreseen[k - 1], foreseen[k + 1]
    turn = 2 * math.pi * target.weekday() / 7
    last = date(target.year, target.month, months.monthrange(target.year, target.month)[1])
    rest = {target + timedelta(n) for n in range(1, (last - target).days + 1)}
    return [
        *(math.sin(turn), math.cos(turn), math.sin(2 * turn), math.cos(2 * turn)),
        float(not rest & set(foreseen)),
        float((target - previous).days),
        float((later - target).days),
        float(target in half),
    ]


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XBOM", "24/7", "XTKS"])
def test_values_equal_a_plain_loop(calendar: str) -> None:
    origins = sessions_between(calendar, np.datetime64("2001-08-01"), np.datetime64("2002-09-30"))
    foreseen = foreseen_sessions(calendar)
    foreseen = foreseen[(foreseen >= np.datetime64("2001-07-01")) & (foreseen <= np.datetime64("2002-12-31"))]
    half = {day.item() for day in foreseen[half_days(calendar, foreseen)]}
    found, listed = known_future_values(calendar_covariates(ALL, calendar), calendar, origins, 3), foreseen.tolist()
    for row, origin in zip(found, origins.tolist(), strict=True):
        targets = [day for day in listed if day > origin][:3]
        expected = [slow_columns(listed, half, target) for target in targets]
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-7)


def test_the_waves_express_any_function_of_five_weekdays_and_a_weekend_lies_within_their_range() -> None:
    week = known_future_values(calendar_covariates(("day_of_week",), "24/7"), "24/7", days("2024-06-02"), 7)[
        0
    ]  # from Monday
    assert np.linalg.matrix_rank(np.column_stack([week[:5], np.ones(5)])) == 5
    assert len(np.unique(week.round(6), axis=0)) == 7
    assert np.abs(week).max() <= 1


def test_the_columns_are_in_the_order_of_the_names() -> None:
    known = calendar_covariates(("half_day", "day_of_week"), "XNYS")
    assert tuple(covariate.name for covariate in known) == calendar_columns(("half_day", "day_of_week"))
    assert calendar_covariates((), "XNYS") == ()
    assert known_future_values((), "XNYS", days("2024-06-03"), 4).shape == (1, 4, 0)


def test_a_session_before_the_calendar_s_years_has_no_value_and_the_next_one_has() -> None:
    values = known_future_values(
        calendar_covariates(ALL, "XNYS"), "XNYS", days("1985-03-01", "1989-12-29", "1990-01-02"), 2
    )
    assert np.isnan(values[:2]).all()
    assert np.isfinite(values[2]).all()


def test_a_target_beyond_the_calendar_s_end_is_refused() -> None:
    last = foreseen_sessions("XNYS")[-1]
    with pytest.raises(TapecastError, match=f"XNYS is known to {last}, expected 2 sessions and one more"):
        known_future_values(calendar_covariates(ALL, "XNYS"), "XNYS", np.array([last - 1]), 2)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(300, 4), changed(TINY, calendar_covariates=ALL))


@pytest.mark.parametrize("count", [295, 250, 299])
def test_a_history_that_ends_has_the_same_target_sessions(frames: Frames, count: int) -> None:
    last = frames.sessions[count - 1]
    rows = {ticker: rows[rows["session"].to_numpy() <= last] for ticker, rows in random_market(300, 4).items()}
    cut = frames_from(rows, changed(TINY, calendar_covariates=ALL))
    assert cut.known_future_names == frames.known_future_names == NAMES
    assert cut.known_future.tobytes() == np.ascontiguousarray(frames.known_future[:count]).tobytes()
    assert cut.known_future.shape == (count, TINY.horizons, len(NAMES))


def test_the_targets_are_those_that_a_live_forecast_names(frames: Frames) -> None:
    last = frames.sessions[-1]
    found = target_sessions("XNYS", frames.sessions[-1:], 5)[0]
    np.testing.assert_array_equal(found, next_sessions("XNYS", last, 5))
    assert target_sessions("XNYS", frames.sessions[:-1], 1)[:, 0].tolist() == frames.sessions[1:].tolist()


def range_of(start: int, stop: int) -> Range:
    return Range(np.datetime64("2023-01-01"), np.datetime64("2023-01-01"), start, stop)


def test_the_known_future_scaler_sees_training_sessions_with_an_origin_alone(frames: Frames) -> None:
    part = range_of(20, 200)
    scaler = fit_known_future_scaler(frames, part)
    rows = [frames.known_future[j, h].tolist() for j in range(20, 200) if frames.usable[:, j].any() for h in range(2)]
    for column in range(len(NAMES)):
        values = [row[column] for row in rows]
        mean = sum(values) / len(values)
        assert scaler.mean[column] == pytest.approx(mean, rel=1e-5, abs=1e-6)
        std = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
        assert scaler.std[column] == pytest.approx(max(std, 1e-6), rel=1e-4)
    outside = np.array(frames.known_future)
    outside[200:] = outside[:20] = 1e6
    other = fit_known_future_scaler(replace(frames, known_future=outside), part)
    assert (other.mean.tobytes(), other.std.tobytes()) == (scaler.mean.tobytes(), scaler.std.tobytes())
    scaled = scaler.apply(frames.known_future)
    assert scaled.shape == frames.known_future.shape
    assert np.abs(scaled).max() <= SCALED_LIMIT


def test_unknown_values_scale_to_zero_and_do_not_enter_the_scaler(frames: Frames) -> None:
    part, holed = range_of(20, 200), np.array(frames.known_future)
    holed[:150] = np.nan
    scaler = fit_known_future_scaler(replace(frames, known_future=holed), part)
    np.testing.assert_array_equal(scaler.mean, fit_known_future_scaler(frames, range_of(150, 200)).mean)
    assert (scaler.apply(holed)[:150] == 0).all()
    with pytest.raises(FitError, match=r"found no session with weekday_sin_1, .*half_day between"):
        fit_known_future_scaler(replace(frames, known_future=np.full_like(frames.known_future, np.nan)), part)


def test_without_known_future_covariates_the_scaler_has_no_columns() -> None:
    plain = frames_from({"A": random_rows(80, 1)})
    scaler = fit_known_future_scaler(plain, range_of(0, 80))
    assert scaler.mean.shape == scaler.std.shape == (0,)
    assert scaler.apply(plain.known_future).shape == plain.known_future.shape
