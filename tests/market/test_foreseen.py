"""Sessions as they were foreseen: unforeseen closings are among them, and half days are those that were planned."""

import numpy as np
import pytest

from pipeline.market.calendars import foreseen_sessions, half_days, sessions_between, unforeseen_closings


def days(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[D]")


def test_attacks_storms_and_mourning_closed_new_york_unforeseen_and_no_holiday_did() -> None:
    closings = unforeseen_closings("XNYS")
    expected = days(
        "1994-04-27",
        *(f"2001-09-{day}" for day in (11, 12, 13, 14)),
        "2004-06-11",
        "2007-01-02",
        "2012-10-29",
        "2012-10-30",
        "2018-12-05",
        "2025-01-09",
    )
    assert set(expected) <= set(closings)
    early = closings[closings <= np.datetime64("2025-01-09")]
    np.testing.assert_array_equal(early, expected)


@pytest.mark.parametrize("calendar", ["XLON", "XBOM", "XTKS", "24/7"])
def test_elsewhere_every_holiday_counts_as_announced(calendar: str) -> None:
    assert len(unforeseen_closings(calendar)) == 0
    first, last = np.datetime64("1990-01-01"), np.datetime64("2027-12-31")
    np.testing.assert_array_equal(foreseen_sessions(calendar), sessions_between(calendar, first, last))


@pytest.mark.parametrize("calendar", ["XNYS", "XTSE", "CMES"])
def test_foreseen_are_the_sessions_held_and_the_days_of_those_closings(calendar: str) -> None:
    foreseen, closings = foreseen_sessions(calendar), unforeseen_closings(calendar)
    held = sessions_between(calendar, foreseen[0], foreseen[-1])
    assert (np.diff(foreseen).astype(int) > 0).all()
    assert not set(closings) & set(held)
    assert set(foreseen) == {*held, *closings}
    assert len(closings) > 0


def test_half_days_are_those_that_end_early_by_plan() -> None:
    asked = days("2024-07-03", "2024-07-05", "2024-11-28", "2024-11-29", "2024-12-24", "2024-12-26", "2024-12-31")
    np.testing.assert_array_equal(half_days("XNYS", asked), [True, False, False, True, True, False, False])
    np.testing.assert_array_equal(half_days("XLON", asked), [False, False, False, False, True, False, True])
    assert not half_days("24/7", asked).any()
    # trading stopped at 15:30 on the day of the circuit breaker, which nobody had planned
    assert not half_days("XNYS", days("1997-10-27")).any()
