"""Pruning a home: what outlived its lifetime goes as a whole, what the ledger's last entries need stays."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipeline.market.calendars import closed_at
from pipeline.operation.aliases import ALIASES, one_daily_run
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.issues import Issue
from pipeline.operation.ledger.writing import append
from pipeline.operation.lifetimes import Lifetimes
from pipeline.operation.model_versions import publish, read_version, versions
from pipeline.operation.version_files import ModelVersion
from pipeline.settings import Settings
from pipeline.sqlite import sqlite_path
from pipeline.tracking.outbox import HEADER, Header, open_journal
from pipeline.training.jobs import FitResult
from pipeline.workflow import prune as pruning
from pipeline.workflow.prune import PruneFlowRuns, prune
from pipeline.workflow.prune_result import FLOW_RUNS, PruneResult, Removed
from pipeline.workflow.run_context import new_context
from tests.operation.fitted_models import small_fits, trained
from tests.operation.ledger.issued import forecast_rows, provenance
from tests.operation.test_versions_killed import killed_at

NOW = datetime(2026, 1, 9, 12, tzinfo=UTC)
LONG_AGO = datetime(2023, 1, 9, 12, tzinfo=UTC)
SHORT = Lifetimes(ledger_days=30, reports_days=30, day_files_days=30, fits_days=30, versions_days=30, states_days=30)
ISSUED = (
    (date(2024, 1, 2), 1, "aa"),
    (date(2024, 1, 3), 2, "bb"),
    (date(2024, 1, 4), 3, "cc"),  # the last one before the days that are kept
    (date(2025, 12, 30), 4, "dd"),
    (date(2025, 12, 31), 4, "ee"),
)
"""Origin, version and first letters of the digest of the state of every entry of the ledger."""
VERSIONS = 16


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[FitResult]:
    return small_fits(tmp_path_factory.mktemp("fits"), ("climatology",))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, results: list[FitResult]) -> Path:
    """A home with something of every kind, old and young."""
    home = tmp_path_factory.mktemp("made")
    settings = Settings(home=home)
    for k in range(VERSIONS):
        publish(settings.models, "daily", [trained((f"T{k}",), results)], LONG_AGO)
    issue_all(settings)
    for name in ("reports/old", "reports/young", "fits/old", "fits/young", f"fits/{results[0].job.key}"):
        add_folder(home / name, NOW if name.endswith("young") else LONG_AGO)
    add_outbox(settings)
    return home


def issue_all(settings: Settings) -> None:
    """The entries of the ledger, with the file of their day and the state after each; one state no entry has."""
    (settings.root / "ledger").mkdir()
    ledger = open_ledger(settings.ledger_url)
    for origin, version, letters in ISSUED:
        known = provenance(version=version, calibration_digest=letters * 32)
        entry = append(ledger, Issue(known, closed_at("XNYS", origin), forecast_rows(origin)))
        head = {"ledger": [{"sequence": entry.sequence, "digest": entry.digest}]}
        put(settings.days / "daily" / f"{origin}-XNYS.json", json.dumps(head).encode())
        put(settings.models / "daily" / "states" / "XNYS" / f"{origin}-{letters * 6}.safetensors", b"state")
    put(settings.models / "daily" / "states" / "XNYS" / f"2024-01-04-{'f0' * 6}.safetensors", b"state")


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def add_folder(folder: Path, at: datetime) -> None:
    """A folder of two files, last changed at an instant."""
    put(folder / "one", b"1" * 1000)
    put(folder / "two", b"2" * 1000)
    os.utime(folder, (at.timestamp(), at.timestamp()))


def add_outbox(settings: Settings) -> None:
    """An old record that MLflow does not have, what is left of a delivered one, and a draft of a gone process."""
    open_journal(settings.outbox, Header.new("some job", "sqlite:///elsewhere.db", "tapecast")).release()
    add_folder(settings.outbox / "000007-delivered", LONG_AGO)
    add_folder(settings.work / ".draft-4194305-frames", LONG_AGO)  # no process has so large a number
    add_folder(settings.work / f".draft-{os.getpid()}-frames", NOW)
    for record in settings.outbox.iterdir():
        os.utime(record, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the home, which is the one in use."""
    shutil.copytree(made, tmp_path / "home", copy_function=shutil.copy2)
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def pruned(lifetimes: Lifetimes = SHORT, dry_run: bool = False, flow_runs: PruneFlowRuns | None = None) -> PruneResult:
    return prune(new_context("prune", clock=lambda: NOW), lifetimes, dry_run, flow_runs)


def counts(result: PruneResult) -> dict[str, int]:
    return {it.kind: it.count for it in result.removed if it.count}


def contents(home: Path) -> dict[str, tuple[int, float]]:
    return {
        str(path.relative_to(home)): (path.stat().st_size, path.stat().st_mtime)
        for path in home.rglob("*")
        if path.is_file()
    }


def names(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths)


GONE = {"model versions": 4, "states": 3, "day files": 3, "reports": 1, "fits": 1, "leftovers": 2}


def test_what_the_last_entries_need_stays(home: Path) -> None:
    """Version 3 and state cc are of the entry before the first one that is kept: its replay begins there."""
    settings = Settings()
    result = pruned()
    assert (result.status, counts(result)) == ("ok", GONE)
    assert [it.number for it in versions(settings.models, "daily")] == [3, 4, *range(7, VERSIONS + 1)]
    assert [path[11:13] for path in names((settings.models / "daily" / "states" / "XNYS").iterdir())] == [
        "cc",
        "dd",
        "ee",
    ]
    assert names((settings.days / "daily").iterdir()) == ["2025-12-30-XNYS.json", "2025-12-31-XNYS.json"]


def test_what_is_young_or_in_use_stays(home: Path, results: list[FitResult]) -> None:
    pruned()
    assert names((home / "reports").iterdir()) == ["young"]
    assert names((home / "fits").iterdir()) == sorted([results[0].job.key, "young"]), "the champion's is kept"
    assert names((home / "work").iterdir()) == [f".draft-{os.getpid()}-frames"]


def test_a_record_that_is_not_delivered_stays_however_old(home: Path) -> None:
    pruned()
    (record,) = (home / "outbox").iterdir()
    assert json.loads((record / HEADER).read_text())["job"] == "some job"


def test_what_is_said_to_be_freed_is_freed(home: Path) -> None:
    before = sum(size for size, _ in contents(home).values())
    result = pruned()
    assert before - sum(size for size, _ in contents(home).values()) == result.freed_bytes > 10_000
    assert result.sentence == f"14 items removed, {result.freed_bytes / 1e6:.1f} MB freed"
    assert result.as_json()["removed"] == result.tables()["removed"]


def test_a_dry_run_says_the_same_and_removes_nothing(home: Path) -> None:
    before = contents(home)
    would = pruned(dry_run=True)
    assert contents(home) == before
    assert would.sentence.startswith("14 items would go")
    result = pruned()
    assert (would.removed, would.freed_bytes) == (result.removed, result.freed_bytes)


def test_a_second_run_frees_nothing(home: Path) -> None:
    pruned()
    left = contents(home)
    again = pruned()
    assert (counts(again), again.freed_bytes, again.status) == ({}, 0, "ok")
    assert contents(home) == left


def test_the_days_of_the_ledger_keep_what_the_lifetimes_would_not(home: Path) -> None:
    kept = SHORT.model_copy(update={"ledger_days": 3000})
    assert counts(pruned(kept)) == {"model versions": 2, "states": 1, "reports": 1, "fits": 1, "leftovers": 2}
    assert [it.number for it in versions(home / "models", "daily")] == [*range(1, 5), *range(7, VERSIONS + 1)]
    (unknown,) = {"f0"} - {path.name[11:13] for path in (home / "models" / "daily" / "states" / "XNYS").iterdir()}
    assert unknown, "the state that no entry has is gone"


def test_a_ledger_that_lost_entries_keeps_all_of_its_model(home: Path) -> None:
    with sa.create_engine(Settings().ledger_url).begin() as connection:
        triggers = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
        for trigger in triggers:
            connection.execute(sa.text(f'DROP TRIGGER "{trigger}"'))
        connection.execute(sa.text("DELETE FROM ledger_entries WHERE sequence = 5"))
    result = pruned()
    assert result.status == "partial"
    assert counts(result) == {"reports": 1, "fits": 2, "leftovers": 2}
    (warning,) = result.warnings
    assert "nothing of model daily was removed: found no entry 5" in warning


def test_without_any_ledger_where_one_is_noted_nothing_of_the_model_goes(home: Path) -> None:
    path = sqlite_path(Settings().ledger_url)
    path.unlink()
    assert counts(pruned()) == {"reports": 1, "fits": 2, "leftovers": 2}
    assert not path.exists()


def test_a_model_whose_daily_run_goes_on_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "LOCK_SECONDS", 0.1)
    with one_daily_run(home / "models" / "daily", 1.0):
        result = pruned()
    assert result.status == "partial"
    assert "another process has been making a daily run of model daily" in result.warnings[0]
    assert len(versions(home / "models", "daily")) == VERSIONS
    assert counts(pruned()) == {"model versions": 4, "states": 3, "day files": 3}, "and goes the next time"


def test_damaged_aliases_keep_all_versions(home: Path) -> None:
    (home / "models" / "daily" / ALIASES).write_text("{}")
    result = pruned()
    assert (result.status, len(versions(home / "models", "daily"))) == ("partial", VERSIONS)


def test_what_cannot_be_removed_is_said_and_the_rest_is_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pruning, "remove_whole", refusing)
    result = pruned()
    assert result.status == "partial"
    assert counts(result) == {"model versions": 4}
    assert any("reports: [Errno 13] Permission denied" in warning for warning in result.warnings)


def test_the_schedulers_runs_are_removed_by_what_is_given(home: Path) -> None:
    asked = []

    def flow_runs(before: datetime, dry_run: bool) -> Removed:
        asked.append((before, dry_run))
        return Removed(FLOW_RUNS, 3, problem="the server is slow")

    result = pruned(dry_run=True, flow_runs=flow_runs)
    assert asked == [(NOW - timedelta(days=SHORT.flow_runs_days), True)]
    assert result.removed[-1].count == 3
    assert result.warnings == ("Prefect's flow runs: the server is slow",)


def test_an_empty_home_has_nothing_to_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "new"))
    result = pruned()
    assert (result.status, counts(result), list((tmp_path / "new").iterdir())) == ("ok", {}, [])


def check_whole(home: Path) -> None:
    """Every version can be read, and every report and state has all of its bytes."""
    for it in versions(home / "models", "daily"):
        assert isinstance(read_version(home / "models", "daily", it.number), ModelVersion)
    for folder in (home / "reports").iterdir():
        if not folder.name.startswith("."):
            assert names(folder.iterdir()) == ["one", "two"]
    for path in (home / "models" / "daily" / "states" / "XNYS").iterdir():
        assert path.read_bytes() == b"state"


@pytest.mark.slow
def test_killed_anywhere_it_leaves_a_whole_home_and_goes_on(home: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.workflow.prune"])
    kills = 0
    for moment in range(1, 100):
        child = context.Process(target=killed_at, args=(moment, pruned))
        child.start()
        child.join()
        check_whole(home)
        if child.exitcode == 0:
            break
        assert child.exitcode == -9
        kills += 1
    assert kills >= 5
    for draft in {*home.rglob(".draft-*")} - {home / "work" / f".draft-{os.getpid()}-frames"}:
        os.utime(draft, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    pruned()
    assert [it.number for it in versions(home / "models", "daily")] == [3, 4, *range(7, VERSIONS + 1)]
    assert names((home / "reports").iterdir()) == ["young"]
    assert names(home.rglob(".draft-*")) == [f".draft-{os.getpid()}-frames"]
