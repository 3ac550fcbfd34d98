"""Sessions and closing times against what the exchanges really did."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import TapecastError
from pipeline.market import calendars
from pipeline.market.calendars import foreseen_sessions, half_days, sessions_between, unforeseen_closings
from pipeline.market.in_memory import open_sample


def test_a_half_day_closes_early_and_is_completed_then() -> None:
    assert calendars.closed_at("XNYS", date(2024, 11, 29)) == datetime(2024, 11, 29, 18, tzinfo=UTC)
    assert calendars.closed_at("XNYS", date(2024, 11, 27)) == datetime(2024, 11, 27, 21, tzinfo=UTC)
    before, after = datetime(2024, 11, 29, 17, 59, 59, tzinfo=UTC), datetime(2024, 11, 29, 18, tzinfo=UTC)
    assert str(calendars.last_completed_session("XNYS", before)) == "2024-11-27"
    assert str(calendars.last_completed_session("XNYS", after)) == "2024-11-29"


def test_age_counts_completed_sessions_only() -> None:
    saturday = datetime(2024, 11, 30, 12, tzinfo=UTC)
    ages = [calendars.age_sessions("XNYS", date(2024, 11, day), saturday) for day in (26, 27, 28, 29, 30)]
    assert ages == [2, 1, 1, 0, 0]


def test_a_naive_or_numpy_or_pandas_day_means_the_same() -> None:
    days = (date(2024, 7, 3), np.datetime64("2024-07-03"), pd.Timestamp("2024-07-03"))
    assert {calendars.closed_at("XNYS", day) for day in days} == {datetime(2024, 7, 3, 17, tzinfo=UTC)}


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "session", "end"),
    [
        ("XNYS", "2024-03-08", "2024-03-08T21:00"),  # the last session on winter time,
        ("XNYS", "2024-03-11", "2024-03-11T20:00"),  # and the first on summer time
        ("XNYS", "2024-11-01", "2024-11-01T20:00"),
        ("XNYS", "2024-11-04", "2024-11-04T21:00"),
        ("XLON", "2024-03-28", "2024-03-28T16:30"),
        ("XLON", "2024-04-02", "2024-04-02T15:30"),
        ("XLON", "2024-10-25", "2024-10-25T15:30"),
        ("XLON", "2024-10-28", "2024-10-28T16:30"),
        ("XLON", "2024-12-24", "2024-12-24T12:30"),  # Christmas Eve
        ("XPAR", "2024-12-24", "2024-12-24T13:05"),
        ("XTKS", "2024-11-01", "2024-11-01T06:00"),  # before Tokyo closed half an hour later
        ("XTKS", "2024-11-05", "2024-11-05T06:30"),
        ("24/7", "2024-12-25", "2024-12-26T00:00"),
        ("24/5", "2024-11-29", "2024-11-30T00:00"),
        ("CMES", "2024-11-27", "2024-11-27T23:00"),
        ("CMES", "2024-11-28", "2024-11-28T18:00"),  # Thanksgiving: futures trade to noon in Chicago
        ("XBOM", "2024-10-31", "2024-10-31T10:00"),
        ("XBOM", "2024-11-01", "2024-11-01T13:30"),  # Muhurat
    ],
)
def test_a_session_ends_when_the_exchange_closed(calendar: str, session: str, end: str) -> None:
    assert calendars.closed_at(calendar, date.fromisoformat(session)) == instant(end)
    second_before = instant(end) - timedelta(seconds=1)
    assert str(calendars.last_completed_session(calendar, instant(end))) == session
    assert str(calendars.last_completed_session(calendar, second_before)) < session


def test_crypto_trades_every_day_of_the_year_and_currencies_on_weekdays() -> None:
    first, last = date(2024, 1, 1), date(2024, 12, 31)
    assert len(calendars.sessions_between("24/7", first, last)) == 366
    weekdays = calendars.sessions_between("24/5", first, last)
    assert len(weekdays) == 262
    assert set(np.is_busday(weekdays)) == {True}


@pytest.mark.parametrize(
    ("calendar", "after", "coming"),
    [
        ("XNYS", "2024-11-27", ["2024-11-29", "2024-12-02", "2024-12-03"]),  # Thanksgiving
        ("XBOM", "2024-10-31", ["2024-11-01", "2024-11-04", "2024-11-05"]),  # Diwali: an hour on Friday evening
        ("XBOM", "2025-10-20", ["2025-10-21", "2025-10-23", "2025-10-24"]),  # Diwali: an hour, then a holiday
        ("XBOM", "2023-11-10", ["2023-11-12", "2023-11-13", "2023-11-15"]),  # Diwali on a Sunday
        ("XBOM", "2024-01-19", ["2024-01-20", "2024-01-23", "2024-01-24"]),  # a Saturday for a Monday
        ("XBOM", "2024-11-19", ["2024-11-21", "2024-11-22", "2024-11-25"]),  # an election
        ("XBOM", "2026-01-14", ["2026-01-16", "2026-01-19", "2026-01-20"]),
        ("XBOM", "2026-01-30", ["2026-02-01", "2026-02-02", "2026-02-03"]),  # the budget on a Sunday
        ("XLON", "2024-12-24", ["2024-12-27", "2024-12-30", "2024-12-31"]),
        ("XTKS", "2024-12-30", ["2025-01-06", "2025-01-07", "2025-01-08"]),
        ("24/7", "2024-12-24", ["2024-12-25", "2024-12-26", "2024-12-27"]),
        ("24/5", "2024-11-28", ["2024-11-29", "2024-12-02", "2024-12-03"]),
        ("CMES", "2024-11-27", ["2024-11-28", "2024-11-29", "2024-12-02"]),
    ],
)
def test_a_forecast_is_dated_by_the_exchange_s_own_sessions(calendar: str, after: str, coming: list[str]) -> None:
    assert [str(day) for day in calendars.next_sessions(calendar, date.fromisoformat(after), 3)] == coming


def test_on_diwali_the_day_counts_from_the_evening_on() -> None:
    noon, evening = instant("2024-11-01T12:00"), instant("2024-11-01T13:30")
    assert [str(calendars.last_completed_session("XBOM", now)) for now in (noon, evening)] == [
        "2024-10-31",
        "2024-11-01",
    ]
    assert [calendars.age_sessions("XBOM", date(2024, 10, 31), now) for now in (noon, evening)] == [0, 1]
    days = np.array(["2024-11-01", "2024-11-02"], "datetime64[D]")
    assert [str(day) for day in calendars.unknown_sessions("XBOM", days)] == ["2024-11-02"]


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XBOM", "XTKS", "24/7", "24/5", "CMES"])
def test_sessions_ascend_and_each_ends_after_the_former(calendar: str) -> None:
    sessions = calendars.sessions_between(calendar, date(1990, 1, 1), date(2026, 12, 31))
    ends = calendars.closing_instants(calendar, sessions)
    assert (np.diff(sessions) > np.timedelta64(0, "D")).all()
    assert (np.diff(ends) > np.timedelta64(0, "s")).all()
    assert (np.abs(ends - sessions.astype("datetime64[s]")) <= np.timedelta64(24, "h")).all()
    assert [calendars.closed_at(calendar, day) for day in sessions[-3:]] == [
        end.replace(tzinfo=UTC) for end in ends[-3:].tolist()
    ]


def test_a_day_that_is_no_session_has_no_closing_instant() -> None:
    days = np.array(["1980-01-01", "2024-11-28", "2024-11-29", "2099-01-01"], "datetime64[D]")
    ends = calendars.closing_instants("XNYS", days)
    assert [str(end) for end in ends] == ["NaT", "NaT", "2024-11-29T18:00:00", "NaT"]
    assert ends.dtype == np.dtype("datetime64[s]")


def test_korea_and_tel_aviv_begin_where_their_present_week_does() -> None:
    """The Saturdays (Korea to 1998) and Sundays (Tel Aviv to 2025) of before are not known: they are not judged."""
    saturday, sunday = np.array(["1998-12-05"], "datetime64[D]"), np.array(["2025-12-28"], "datetime64[D]")
    assert len(calendars.unknown_sessions("XKRX", saturday)) == 0
    assert len(calendars.unknown_sessions("XTAE", sunday)) == 0
    assert str(calendars.sessions_between("XTAE", date(1990, 1, 1), date(2026, 1, 31))[0]) == "2026-01-05"
    assert str(calendars.sessions_between("XKRX", date(1990, 1, 1), date(1999, 1, 31))[0]) == "1998-12-07"


def test_the_sample_has_exactly_the_exchange_s_sessions() -> None:
    sample = open_sample()
    for ticker in sample.tickers():
        days = sample.rows(ticker)["session"].to_numpy("datetime64[D]")
        assert (days == calendars.sessions_between("XNYS", days[0], days[-1])).all()


def test_days_without_trading_are_unknown_but_days_out_of_range_are_not_judged() -> None:
    days = np.array(["1980-01-01", "2024-01-01", "2024-01-02"], "datetime64[D]")
    assert [str(day) for day in calendars.unknown_sessions("XNYS", days)] == ["2024-01-01"]


def test_what_a_calendar_does_not_know_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(TapecastError, match="no session of XNYS"):
        calendars.closed_at("XNYS", date(2024, 11, 28))
    with pytest.raises(TapecastError, match="update exchange_calendars"):
        calendars.next_sessions("XNYS", date(2024, 11, 28), 99_999)
    with pytest.raises(TapecastError, match="update exchange_calendars"):
        calendars.last_completed_session("XNYS", datetime(2999, 1, 1, tzinfo=UTC))
    with pytest.raises(TapecastError, match="XBOM is known to 2026-12-31, expected 5 sessions after 2026-12-28 too"):
        calendars.next_sessions("XBOM", date(2026, 12, 28), 5)
    with pytest.raises(TapecastError, match="no calendar is called"):
        calendars.sessions_between("XXXX", date(2024, 1, 1), date(2024, 1, 2))


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
    sessions = days("2024-07-03", "2024-07-05", "2024-11-28", "2024-11-29", "2024-12-24", "2024-12-26", "2024-12-31")
    np.testing.assert_array_equal(half_days("XNYS", sessions), [True, False, False, True, True, False, False])
    np.testing.assert_array_equal(half_days("XLON", sessions), [False, False, False, False, True, False, True])
    assert not half_days("24/7", sessions).any()
    # trading stopped at 15:30 on the day of the circuit breaker, which nobody had planned
    assert not half_days("XNYS", days("1997-10-27")).any()
