"""The dated list of special sessions: its content, that the calendar follows it, and that a bad row is refused."""

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.market import calendars
from pipeline.market.special_sessions import SPECIAL_SESSION_COLUMNS, SpecialSession, amended, special_sessions

HEADER = ",".join(SPECIAL_SESSION_COLUMNS)
INDIA = timedelta(hours=5, minutes=30)


def test_each_year_from_2000_to_2026_has_one_muhurat_session_in_the_season_of_diwali() -> None:
    days = [
        special_session.session for special_session in special_sessions() if special_session.why.startswith("Muhurat")
    ]
    assert [day.year for day in days] == list(range(2000, 2027))
    assert all(date(day.year, 10, 14) <= day <= date(day.year, 11, 16) for day in days)


def test_the_list_is_sorted_has_each_day_once_and_closes_on_the_day_itself() -> None:
    listed = special_sessions()
    days = [(special_day.calendar, special_day.session) for special_day in listed]
    assert days == sorted(set(days))
    for special_day in listed:
        if special_day.closes_at_utc:
            local = special_day.closes_at_utc + INDIA
            assert local.date() == special_day.session
            assert 11 <= local.hour < 20
    assert {special_day.source.split(" ")[0].rstrip(",") for special_day in listed} == {"press", "list", "circular"}


def test_a_session_said_to_be_on_a_weekend_is_on_one() -> None:
    for special_session in special_sessions():
        for name, weekday in (("Saturday", 5), ("Sunday", 6)):
            if name in special_session.why:
                assert special_session.session.weekday() == weekday


def test_the_calendar_follows_every_row_of_the_list() -> None:
    for special_session in special_sessions():
        day = np.array([special_session.session], "datetime64[D]")
        assert (len(calendars.unknown_sessions(special_session.calendar, day)) == 0) == (
            special_session.closes_at_utc is not None
        )
        if special_session.closes_at_utc:
            assert (
                calendars.closed_at(special_session.calendar, special_session.session).replace(tzinfo=None)
                == special_session.closes_at_utc
            )


def days(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[D]")


def special(session: str, closes_at: str | None) -> SpecialSession:
    end = datetime.fromisoformat(closes_at) if closes_at else None
    return SpecialSession("XBOM", date.fromisoformat(session), end, "why", "press")


def test_a_session_is_added_moved_or_taken_away_and_nothing_else_changes() -> None:
    sessions = days("2024-10-30", "2024-10-31", "2024-11-04", "2024-11-05")
    closes = sessions.astype("datetime64[s]") + np.timedelta64(10, "h")
    rows = (
        special("2024-11-01", "2024-11-01T13:30"),  # added
        special("2024-10-31", "2024-10-31T11:00"),  # moved
        special("2024-11-04", None),  # taken away
        special("2024-11-02", None),  # taken away where there was none
        special("2024-10-29", "2024-10-29T10:00"),  # before all that is known
        special("2024-11-06", "2024-11-06T10:00"),  # after it
    )
    found, ends = amended(sessions, closes, rows)
    assert [str(day) for day in found] == ["2024-10-30", "2024-10-31", "2024-11-01", "2024-11-05"]
    assert [str(end)[11:16] for end in ends] == ["10:00", "11:00", "13:30", "10:00"]
    assert (found.dtype, ends.dtype) == (np.dtype("datetime64[D]"), np.dtype("datetime64[s]"))


def test_a_list_of_one_s_own_is_read_and_may_have_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        f"\ufeff{HEADER}\n\nXBOM,2030-01-05,2030-01-05T07:15,Saturday,press\nXBOM,2030-01-07,,closed,press\n"
    )
    assert [
        (str(special_session.session), special_session.closes_at_utc is None)
        for special_session in special_sessions(path)
    ] == [
        ("2030-01-05", False),
        ("2030-01-07", True),
    ]


@pytest.mark.parametrize(
    "row",
    [
        "XBOM,2030-01-05",
        "XBOM,05.01.2030,,why,press",
        "XBOM,2030-01-05,noon,why,press",
        "XBOM,2030-01-05,2030-01-05T07:15Z,a,b",
    ],
)
def test_a_row_that_cannot_be_read_is_reported_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(UsageError, match=r"line 2 of .*own\.csv: found .*expected calendar,session"):
        special_sessions(path)


def test_a_file_without_its_header_or_that_is_not_there_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,b\n")
    with pytest.raises(UsageError, match="found no header calendar,session"):
        special_sessions(path)
    with pytest.raises(UsageError, match="cannot read the special sessions"):
        special_sessions(tmp_path / "none.csv")
