"""The home's ledger is moved into the configured database whole, once, and only where its chains verify."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import LedgerError, UsageError
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.reading import listed, model_names
from pipeline.operation.ledger.writing import append
from pipeline.settings import Settings
from pipeline.sqlite import sqlite_path, sqlite_uri
from pipeline.workflow.ledger import check_ledger, existing_ledger, ledger_to_issue_into
from pipeline.workflow.ledger_copy import copy_home_ledger
from tests.operation.ledger.issued import days, issue

DAYS = days(4)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home whose SQLite ledger has issues of two model names, with another, empty ledger configured."""
    home = Settings(home=tmp_path)
    for day in DAYS[:3]:
        noted(home, issue_into(home, "daily", DAYS.index(day)))
    issue_into(home, "weekly", 0)
    return Settings(home=tmp_path, ledger=sqlite_uri(tmp_path / "elsewhere.db"))


def issue_into(settings: Settings, model: str, day: int) -> dict[str, object]:
    entry = append(open_ledger(settings.ledger_url), issue(model, as_of=DAYS[day]))
    return {"sequence": entry.sequence, "digest": entry.digest}


def noted(settings: Settings, entry: dict[str, object]) -> None:
    """Write the day's file of an entry."""
    (folder := settings.days / "daily").mkdir(parents=True, exist_ok=True)
    (folder / f"{DAYS[int(str(entry['sequence'])) - 1]}-XNYS.json").write_text(json.dumps({"ledger": [entry]}))


def target(settings: Settings) -> Ledger:
    return open_ledger(settings.ledger_url)


def test_until_it_is_copied_nothing_is_issued_and_then_the_chain_goes_on(settings: Settings) -> None:
    for model in ("daily", "weekly"):
        with pytest.raises(LedgerError, match="tapecast ledger copy"):
            ledger_to_issue_into(settings, model)
    found = copy_home_ledger(settings)
    assert [(it.verification.model, it.verification.entries) for it in found.checks] == [("daily", 3), ("weekly", 1)]
    assert (found.rows["ledger_entries"], found.rows["ledger_forecasts"]) == (4, 48)
    noted(settings, issue_into(settings, "daily", 3))
    ledger_to_issue_into(settings, "daily")
    check = check_ledger(settings, existing_ledger(settings, "daily"), "daily")
    assert (check.status, check.verification.entries) == ("ok", 4)
    # A second call does no harm, though the ledger has gone on.
    assert copy_home_ledger(settings).rows == {}
    assert len(listed(target(settings), "daily", 9)) == 4
    # Once it is in a backup the file may go.
    shutil.rmtree(sqlite_path(settings.home_ledger_url).parent)
    ledger_to_issue_into(settings, "daily")


def test_a_chain_that_is_not_as_written_is_not_copied(settings: Settings) -> None:
    with sqlite3.connect(sqlite_path(settings.home_ledger_url)) as connection:
        connection.execute("DROP TRIGGER ledger_forecasts_no_update")
        connection.execute("UPDATE ledger_forecasts SET q50 = q50 + 1e-9 WHERE sequence = 2 AND horizon = 1")
    connection.close()
    with pytest.raises(LedgerError, match=r"daily is not as written, entry 2: .*Nothing was copied"):
        copy_home_ledger(settings)
    assert model_names(target(settings)) == []


def test_an_old_file_without_the_last_issues_is_not_copied(settings: Settings) -> None:
    noted(settings, {"sequence": 4, "digest": "ab"})
    with pytest.raises(LedgerError, match="the tail was cut off"):
        copy_home_ledger(settings)
    assert model_names(target(settings)) == []


def test_a_database_with_other_entries_stays_as_it_is(settings: Settings) -> None:
    append(target(settings), issue("daily", as_of=DAYS[0], seed=5))
    with pytest.raises(LedgerError, match="found no entry 3 of daily"):
        copy_home_ledger(settings)
    assert (model_names(target(settings)), len(listed(target(settings), "daily", 9))) == (["daily"], 1)


def test_where_there_is_nothing_to_copy_that_is_said(tmp_path: Path) -> None:
    home, other = Settings(home=tmp_path), Settings(home=tmp_path, ledger=sqlite_uri(tmp_path / "elsewhere.db"))
    with pytest.raises(UsageError, match=r"expected TAPECAST_LEDGER to name the database"):
        copy_home_ledger(home)
    with pytest.raises(UsageError, match=r"found no ledger at .*ledger/ledger\.db"):
        copy_home_ledger(other)
    assert not (tmp_path / "ledger").exists()
    open_ledger(home.ledger_url)
    with pytest.raises(UsageError, match="found no issued forecast"):
        copy_home_ledger(other)
