"""What a daily run, a failed run and the ledger give as alerts."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.writing import append
from pipeline.settings import Settings
from pipeline.workflow.alerts import daily_alerts, failed_alert, last_issued, missing, without_secrets
from pipeline.workflow.daily_result import DailyCalendar, DailyResult
from tests.operation.ledger.issued import days, issue

EXCLUDED = {"ticker": "AAA", "reason": "no bars"}
STALE = {"ticker": "BBB", "age_sessions": 2, "reason": "no answer"}


def issued(session: str = "2024-07-03", status: str = "on time") -> dict[str, Any]:
    return {"session": session, "status": status, "added": 4, "sequence": 1, "digest": "a" * 64}


def calendar(code: str = "XNYS", **values: Any) -> DailyCalendar:
    usual: dict[str, Any] = {
        "calendar": code, "version": 1, "origin": "2024-07-03", "entry": {}, "issued": [issued()], "skipped": "",
        "graded": 0, "regraded": 0, "forecasts": [], "backtest": None, "excluded": [], "stale": [], "restated": [],
        "behind": 0, "warnings": [],
    }  # fmt: skip
    return DailyCalendar(**{**usual, **values})


def result(*calendars: DailyCalendar, **values: Any) -> DailyResult:
    return DailyResult("daily", calendars or (calendar(),), **values)


# --- A daily run ---


def test_a_whole_day_raises_nothing() -> None:
    assert daily_alerts(result()) == ()
    assert daily_alerts(result(calendar(issued=[], skipped="a holiday"))) == ()
    assert daily_alerts(result(refit={"status": "champion"})) == ()


def test_what_a_calendar_lacks_is_named_with_its_counts() -> None:
    lacking = calendar(excluded=[EXCLUDED], stale=[STALE], warnings=["A state is lost.", "Another."])
    (alert,) = daily_alerts(result(lacking, calendar("XLON")))
    assert (alert.kind, alert.model, alert.calendar, alert.session) == ("partial", "daily", "XNYS", date(2024, 7, 3))
    assert alert.sentence == "On XNYS: excluded AAA; not up to date BBB; 2 warnings, first: A state is lost."
    assert alert.numbers == {"excluded": 1, "stale": 1, "warnings": 2}


def test_sessions_issued_late_raise_late_alone_and_what_else_is_missing_partial_too() -> None:
    rows = [issued("2024-07-01", "late"), issued("2024-07-02", "late"), issued("2024-07-03")]
    (alert,) = daily_alerts(result(calendar(issued=rows)))
    assert (alert.kind, alert.session, alert.numbers) == ("late", date(2024, 7, 2), {"sessions": 2})
    assert alert.sentence == "Issued late on XNYS: 2024-07-01, 2024-07-02."
    both = daily_alerts(result(calendar(issued=rows, excluded=[EXCLUDED])))
    assert [it.kind for it in both] == ["late", "partial"]


def test_a_session_of_old_bars_alone_is_partial() -> None:
    (alert,) = daily_alerts(result(calendar(issued=[issued(status="stale")])))
    assert (alert.kind, alert.sentence) == ("partial", "On XNYS: issued from old bars alone 2024-07-03.")


@pytest.mark.parametrize(
    ("values", "says", "numbers"),
    [
        ({"failed": (EXCLUDED,)}, "Nothing was issued for AAA.", {"failed": 1}),
        (
            {"unreadable": ({"number": 3, "reason": "weights.bin has another digest"},)},
            "The champion cannot be read: weights.bin has another digest.",
            {"unreadable": 1},
        ),
        (
            {"refit": {"status": "failed", "reason": "a fold has begun", "error": "no memory"}},
            "A refit made no champion: a fold has begun; it failed: no memory.",
            {"refits_refused": 1},
        ),
    ],
)
def test_what_is_no_calendars_is_of_the_model(values: dict[str, Any], says: str, numbers: dict[str, int]) -> None:
    (alert,) = daily_alerts(result(**values))
    assert (alert.kind, alert.calendar, alert.session) == ("partial", "", date(2024, 7, 3))
    assert (alert.sentence, alert.numbers) == (says, numbers)


@given(
    lists=st.lists(st.booleans(), min_size=6, max_size=6),
    status=st.sampled_from(["on time", "late", "stale"]),
    refit=st.sampled_from([None, "champion", "refused", "failed"]),
)
def test_a_partial_day_raises_an_alert_and_a_whole_one_none(lists: list[bool], status: str, refit: str | None) -> None:
    excluded, stale, warned, some, failed, unreadable = lists
    first = calendar(
        excluded=[EXCLUDED] * excluded,
        stale=[STALE] * stale,
        warnings=["x"] * warned,
        issued=[issued(status=status)] * some,
    )
    found = result(
        first,
        failed=(EXCLUDED,) * failed,
        unreadable=({"number": 3, "reason": "y"},) * unreadable,
        refit=refit and {"status": refit, "reason": "r", "error": "e", "version": 2, "sentence": "s"},
    )
    assert bool(daily_alerts(found)) == (found.status == "partial")


# --- A run that failed ---


def test_a_failed_run_names_its_model_calendar_and_last_session() -> None:
    evening = datetime(2024, 7, 5, 1, tzinfo=UTC)  # the 4th is a holiday
    alert = failed_alert("daily", {"model": "mine", "calendar": "XNYS"}, "LedgerError: no room", evening)
    assert (alert.kind, alert.model, alert.calendar, alert.session) == ("failed", "mine", "XNYS", date(2024, 7, 3))
    assert alert.sentence == "Flow daily failed: LedgerError: no room"
    other = failed_alert("ingest", {"model": None}, "x", evening)
    assert (other.model, other.calendar, other.session) == ("ingest", "", None)


def test_a_calendar_that_does_not_exist_loses_no_alert() -> None:
    alert = failed_alert(
        "daily", {"calendar": "XXXX"}, "no calendar is called 'XXXX'", datetime(2024, 7, 5, tzinfo=UTC)
    )
    assert (alert.calendar, alert.session) == ("XXXX", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql+psycopg2://me:pass/w0rd@host/db", "at postgresql+psycopg2://me:***@host/db"),
        ("at postgresql://me:p@ss@host/db failed", "at postgresql://me:***@host/db failed"),
        ("GET https://host/a?key=secret&b=1 failed", "GET https://host/a?*** failed"),
        ("at http://127.0.0.1:4200/api", "at http://127.0.0.1:4200/api"),
        ("12:30@noon", "12:30@noon"),
        ("x" * 601, "x" * 600 + "…"),
    ],
)
def test_passwords_and_queries_of_addresses_are_hidden_and_long_texts_cut(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


# --- Sessions that nothing issued ---


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_the_ledger_says_what_is_missing(settings: Settings) -> None:
    ledger = open_ledger(settings.ledger_url)
    for day in days(2):  # 2024-01-02 and 03
        append(ledger, issue(as_of=day))
    evening = datetime(2024, 1, 4, 3, tzinfo=UTC)
    ok = missing(settings, "daily", "XNYS", evening, timedelta(hours=6))
    assert (ok.status, ok.alerts, ok.last_issued) == ("ok", (), date(2024, 1, 3))
    assert ok.sentence == "No session of XNYS is missing; the last one issued by daily is 2024-01-03."
    found = missing(settings, "daily", "XNYS", evening + timedelta(days=1), timedelta(hours=6))
    assert (found.status, [it.session for it in found.alerts]) == ("partial", [date(2024, 1, 4)])
    assert found.as_json()["alerts"][0]["session"] == "2024-01-04"
    assert found.sentence == found.alerts[0].sentence
    for other in (replace(found, calendar="XLON"), replace(found, model="mine")):
        assert last_issued(settings, other.model, other.calendar) is None


def test_a_ledger_that_does_not_exist_is_not_made(settings: Settings) -> None:
    found = missing(settings, "daily", "XNYS", datetime(2024, 1, 4, 3, tzinfo=UTC), timedelta(hours=6))
    assert [it.session for it in found.alerts] == [date(2024, 1, 3)]
    assert not any(settings.root.iterdir())


def test_no_secret_setting_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HEARTBEAT_URL", "https://ping.example/s3cr3t")
    assert "s3cr3t" not in repr(Settings()) + str(Settings().model_dump())
