"""New York's clocks change: the schedules of prefect.yaml keep New York's hour, and each session is issued on time."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule

from pipeline.market.calendars import closed_at
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.issues import KEY, ON_TIME
from pipeline.operation.ledger.reading import exported, listed
from pipeline.settings import Settings
from pipeline.workflow.daily import DailyPlan, daily
from tests.panels import random_rows
from tests.workflow.daily_job import EXPERIMENT, context_at

NEW_YORK = ZoneInfo("America/New_York")
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())[
    "deployments"
]
SCHEDULED = {it["name"]: it for it in DEPLOYMENTS if it.get("schedules")}
CHANGES = [  # the sessions before and after the Sunday of the change, and the UTC hour of their close
    pytest.param(("2024-03-08", 21), ("2024-03-11", 20), id="forward"),
    pytest.param(("2024-11-01", 20), ("2024-11-04", 21), id="back"),
]
Close = tuple[str, int]


def slots(name: str, first: datetime, last: datetime) -> list[datetime]:
    """The instants in UTC at which Prefect starts a deployment."""
    (schedule,) = SCHEDULED[name]["schedules"]
    dates = asyncio.run(CronSchedule(**schedule).get_dates(1000, start=first, end=last))
    return [datetime.fromtimestamp(date.timestamp(), UTC) for date in dates]  # plain ones in place of Pendulum's


@pytest.mark.parametrize("name", SCHEDULED)
@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_schedule_keeps_new_yorks_hour_once_a_day(name: str, before: Close, after: Close) -> None:
    first = datetime.fromisoformat(before[0]).replace(tzinfo=NEW_YORK)
    found = slots(name, first - timedelta(weeks=1), first + timedelta(weeks=2))
    local = [slot.astimezone(NEW_YORK) for slot in found]
    minute, hour, *_ = SCHEDULED[name]["schedules"][0]["cron"].split()
    assert {(it.hour, it.minute) for it in local} == {(int(hour), int(minute))}
    assert len({it.date() for it in local}) == len(local) >= 3
    shift = timedelta(hours=after[1] - before[1])
    assert {slot.hour - found[0].hour for slot in found} == {0, shift // timedelta(hours=1)}


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_daily_issues_the_sessions_on_both_sides_once_and_on_time(
    before: Close, after: Close, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    monkeypatch.setenv("TAPECAST_TRACKING_URI", "http://127.0.0.1:9")  # no server: recorded later, or never
    sessions = [np.datetime64(day) for day, _ in (before, after)]
    closes = [closed_at("XNYS", session) for session in sessions]
    assert [close.hour for close in closes] == [hour for _, hour in (before, after)]
    rows = {name: random_rows(560, seed, sessions[-1] + 7) for seed, name in enumerate(EXPERIMENT.tickers)}
    plan = DailyPlan(delay_minutes=SCHEDULED["daily"]["parameters"]["delay_minutes"])
    at_work = slots("daily", closes[0], closes[1] + timedelta(hours=12))
    assert [slot - close for slot, close in zip(at_work, closes, strict=True)] == [timedelta(hours=2, minutes=30)] * 2
    early = closes[1] + timedelta(minutes=plan.delay_minutes - 1)
    for slot, session in [(at_work[0], sessions[0]), (early, None), (at_work[1], sessions[1])]:
        (calendar,) = daily(context_at(slot, rows=rows), EXPERIMENT, plan).calendars
        issued = [(row["session"], row["status"]) for row in calendar.issued if row["added"]]
        assert issued == ([] if session is None else [(str(session), ON_TIME)]), calendar.skipped
    daily(context_at(at_work[1] + timedelta(hours=1), rows=rows), EXPERIMENT, plan)
    ledger = open_ledger(Settings().ledger_url)
    assert len(listed(ledger, "daily", 99)) == len(sessions)
    table = exported(ledger, "daily")
    assert not table.duplicated(list(KEY)).any()
    assert set(table["as_of"]) == {*map(pd.Timestamp, sessions)}
    next_one = table[(table["as_of"] == pd.Timestamp(sessions[0])) & (table["horizon"] == 1)]
    assert set(next_one["target_session"]) == {pd.Timestamp(sessions[1])}
    assert next_one["actual"].notna().all()  # graded in the evening of its target
