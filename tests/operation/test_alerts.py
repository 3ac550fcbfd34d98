"""Alerts: their kinds and messages, and which sessions are missing on a weekend, a holiday or a short day."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import TapecastError
from pipeline.market.calendars import closed_at, sessions_between
from pipeline.operation.alerts import (
    ADVICE,
    KINDS,
    MEANINGS,
    Alert,
    body,
    missing_alert,
    overdue_sessions,
    subject,
)

SIX_HOURS = timedelta(hours=6)
WEDNESDAY, FRIDAY, MONDAY = date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)  # 07-03 is a short day, 07-04 none


def utc(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2024, 7, day, hour, minute, second, tzinfo=UTC)


# --- Kinds and messages ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_event_of_its_name_a_meaning_and_what_to_do(kind: Any) -> None:
    alert = Alert(kind, "daily", "XNYS", WEDNESDAY, "It was found.", {"some_sessions": 3, "share": 0.123456789})
    assert alert.event == f"tapecast.{kind}"
    assert MEANINGS[kind]
    assert subject(alert) == f"Tapecast {kind.replace('_', ' ')}: daily, XNYS, 2024-07-03"
    assert body(alert, "http://127.0.0.1/x").splitlines() == [
        "It was found.",
        "Model daily, calendar XNYS, session 2024-07-03.",
        "Numbers: some sessions 3, share 0.123457.",
        f"What to do: {ADVICE[kind]}",
        "http://127.0.0.1/x",
    ]


def test_the_kinds_are_those_that_are_documented() -> None:
    assert KINDS == ("partial", "failed", "late", "missing", "decayed", "rolled_back", "drift")
    assert set(MEANINGS) == set(ADVICE) == set(KINDS)


def test_an_alert_of_all_calendars_and_no_session_says_so() -> None:
    alert = Alert("failed", "daily", "", None, "It was found.")
    assert subject(alert) == "Tapecast failed: daily"
    assert body(alert).splitlines()[1:] == [
        "Model daily, all calendars, no single session.",
        f"What to do: {ADVICE['failed']}",
    ]


@pytest.mark.parametrize("values", [{"kind": "other"}, {"model": ""}, {"sentence": ""}])
def test_what_is_no_alert_is_refused(values: dict[str, Any]) -> None:
    usual = {"kind": "late", "model": "daily", "calendar": "XNYS", "session": None, "sentence": "x"}
    with pytest.raises(TapecastError, match="expected"):
        Alert(**{**usual, **values})


# --- Missing ---


@pytest.mark.parametrize(
    ("last_issued", "now", "missing"),
    [
        # a short day ends at 17:00 UTC: it is missing from 23:00 on, a usual one (20:00 UTC) from 02:00 on
        (date(2024, 7, 2), utc(3, 22, 59, 59), []),
        (date(2024, 7, 2), utc(3, 23), [WEDNESDAY]),
        (WEDNESDAY, utc(6, 1, 59, 59), []),
        (WEDNESDAY, utc(6, 2), [FRIDAY]),
        # a holiday, and a weekend after the last session
        (WEDNESDAY, utc(4, 23), []),
        (WEDNESDAY, utc(5, 2, 30), []),
        (FRIDAY, utc(6, 2, 30), []),
        (FRIDAY, utc(7, 2, 30), []),
        (FRIDAY, utc(8, 19), []),
        (FRIDAY, utc(9, 2), [MONDAY]),
        # what is missing stays missing over the weekend
        (WEDNESDAY, utc(7, 2, 30), [FRIDAY]),
        (date(2024, 7, 2), utc(9, 2, 30), [WEDNESDAY, FRIDAY, MONDAY]),
        # nothing was ever issued: the last session alone
        (None, utc(7, 2, 30), [FRIDAY]),
        (None, utc(3, 23), [WEDNESDAY]),
        # issued ahead of the clock of who looks
        (MONDAY, utc(6, 2, 30), []),
    ],
)
def test_which_sessions_are_missing(last_issued: date | None, now: datetime, missing: list[date]) -> None:
    assert overdue_sessions("XNYS", last_issued, now, SIX_HOURS).tolist() == missing
    alert = missing_alert("daily", "XNYS", last_issued, now, SIX_HOURS)
    if not missing:
        assert alert is None
        return
    assert alert is not None
    assert (alert.kind, alert.model, alert.calendar) == ("missing", "daily", "XNYS")
    assert (alert.session, alert.numbers) == (missing[-1], {"sessions": len(missing)})


def test_the_sentence_says_which_sessions_and_which_was_the_last() -> None:
    several = missing_alert("daily", "XNYS", date(2024, 7, 2), utc(9, 2, 30), SIX_HOURS)
    assert several is not None
    assert several.sentence == (
        "Not issued: 3 sessions, 2024-07-03 to 2024-07-08, of XNYS, more than 6 h after the close. "
        "The last session issued is 2024-07-02."
    )
    single = missing_alert("daily", "XNYS", None, utc(7, 2, 30), timedelta(minutes=90))
    assert single is not None
    assert single.sentence == (
        "Not issued: session 2024-07-05 of XNYS, more than 1.5 h after the close. Nothing was ever issued."
    )


def overdue_day_by_day(calendar: str, last_issued: date, now: datetime, grace: timedelta) -> list[date]:
    """The same, asking of every day whether it is a session that ended long enough ago."""
    found, day = [], last_issued
    while (day := day + timedelta(days=1)) <= now.date() + timedelta(days=2):
        if sessions_between(calendar, day, day).size and closed_at(calendar, day) + grace <= now:
            found.append(day)
    return found


@settings(max_examples=200, deadline=None)
@given(
    calendar=st.sampled_from(["XNYS", "XBOM", "XLON", "24/7"]),
    last_issued=st.dates(date(2022, 1, 1), date(2024, 12, 31)),
    later=st.timedeltas(timedelta(days=-2), timedelta(days=12)),
    grace_minutes=st.integers(0, 3000),
)
def test_the_missing_sessions_are_those_found_day_by_day(
    calendar: str, last_issued: date, later: timedelta, grace_minutes: int
) -> None:
    now = datetime(last_issued.year, last_issued.month, last_issued.day, tzinfo=UTC) + later
    grace = timedelta(minutes=grace_minutes)
    found = overdue_sessions(calendar, last_issued, now, grace).tolist()
    assert found == overdue_day_by_day(calendar, last_issued, now, grace)


@pytest.mark.parametrize("grace_minutes", [360])
def test_no_evening_of_a_year_gives_a_false_alarm_where_every_session_is_issued_by_the_deployment(
    grace_minutes: int,
) -> None:
    """`daily` issues at 18:30 New York time, and `missing` looks at 22:30, both as prefect.yaml has them."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    new_york, grace = ZoneInfo("America/New_York"), timedelta(minutes=grace_minutes)
    sessions = set(sessions_between("XNYS", date(2023, 12, 1), date(2024, 12, 31)).tolist())
    last = date(2023, 12, 29)
    for number in range(1, 366):
        day = date(2024, 1, 1) + timedelta(days=number - 1)
        last = day if day in sessions else last  # at 18:30, after every close
        evening = datetime(day.year, day.month, day.day, 22, 30, tzinfo=new_york).astimezone(UTC)
        at_half_past_six = evening - timedelta(hours=4)
        before = max(session for session in sessions if session < day)
        assert missing_alert("daily", "XNYS", last, evening, grace) is None, day
        assert missing_alert("daily", "XNYS", before, at_half_past_six, grace) is None, f"{day}: daily still runs"
        if day in sessions:  # and where it issued nothing, the same evening says so
            assert missing_alert("daily", "XNYS", before, evening, grace) is not None, day
