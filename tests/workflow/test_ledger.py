"""The ledger of a home, and its chain against what days' files and MLflow have of it."""

import json
import shutil
import time
from pathlib import Path

import pytest

from pipeline.errors import LedgerError, TrackingError, UsageError
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.reading import listed
from pipeline.operation.ledger.writing import Appended, append
from pipeline.settings import Settings
from pipeline.sqlite import sqlite_path, sqlite_uri
from pipeline.tracking.ledger_heads import NotedHead
from pipeline.workflow import ledger as workflow_ledger
from pipeline.workflow.ledger import (
    LedgerCheck,
    check_ledger,
    entry_json,
    existing_ledger,
    heads_of_days,
    last_heads,
    ledger_to_issue_into,
    merged_heads,
)
from tests.operation.ledger.issued import days, issue
from tests.tracking.faulty import silent_server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def appended(settings: Settings) -> list[Appended]:
    """Three issues in the ledger, the digest of each in a file of its day."""
    ledger = open_ledger(settings.ledger_url)
    found = [append(ledger, issue(as_of=day)) for day in days(3)]
    (settings.days / "daily").mkdir(parents=True)
    for day, entry in zip(days(3), found, strict=True):
        noted = [{"sequence": entry.sequence, "digest": entry.digest}]
        (settings.days / "daily" / f"{day}.json").write_text(json.dumps({"status": "ok", "ledger": noted}))
    return found


def test_the_ledger_lies_under_home_unless_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(home=tmp_path).ledger_url == f"sqlite:///{tmp_path}/ledger/ledger.db"
    monkeypatch.setenv("TAPECAST_LEDGER", "postgresql+psycopg2://host/ledger")
    assert Settings().ledger_url == "postgresql+psycopg2://host/ledger"


def test_a_ledger_that_is_not_there_is_not_made_by_reading(settings: Settings) -> None:
    with pytest.raises(UsageError, match="found no ledger at"):
        existing_ledger(settings, "daily")
    assert not (settings.root / "ledger").exists()


def test_a_model_name_without_an_issue_is_refused_with_those_that_have_one(
    settings: Settings, appended: list[Appended]
) -> None:
    assert existing_ledger(settings, "daily")
    with pytest.raises(UsageError, match=r"found no forecast issued under 'weekly' .* one of: daily"):
        existing_ledger(settings, "weekly")


def test_the_chain_is_compared_with_the_days_files(settings: Settings, appended: list[Appended]) -> None:
    found = check_ledger(settings, existing_ledger(settings, "daily"), "daily")
    assert (found.status, dict(found.noted)) == ("ok", {str(settings.days / "daily"): 3, "MLflow": 0})
    (settings.days / "daily" / "2024-02-01.json").write_text('{"ledger": [{"sequence": 4, "digest": "ab"}]}')
    cut = check_ledger(settings, existing_ledger(settings, "daily"), "daily")
    assert (cut.status, cut.as_json()["fault"]["sequence"]) == ("failed", 4)


def check_with(settings: Settings, monkeypatch: pytest.MonkeyPatch, *heads: NotedHead) -> LedgerCheck:
    """The check of a ledger where MLflow's runs have these heads."""
    monkeypatch.setattr(workflow_ledger, "_heads_in_mlflow", lambda *_: list(heads))
    return check_ledger(settings, existing_ledger(settings, "daily"), "daily")


def test_the_chain_is_compared_with_mlflow(
    settings: Settings, appended: list[Appended], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = (it.digest for it in appended)
    good = [NotedHead("r1", first, 1, first), NotedHead("r2", first, 2, second), NotedHead("r2", "", 2, second)]
    found = check_with(settings, monkeypatch, *good)
    assert (found.status, found.noted["MLflow"], found.not_compared) == ("ok", 2, None)
    cut = check_with(settings, monkeypatch, *good, NotedHead("r9", first, 9, "ab"))
    assert (cut.status, cut.as_json()["fault"]["sequence"]) == ("failed", 4)
    assert check_with(settings, monkeypatch, NotedHead("r9", "", 9, "ab")).status == "failed"
    lost = check_with(settings, monkeypatch, *good, NotedHead("r4", first, 4, "ab")).verification.fault
    assert lost is not None
    assert lost.sentence.endswith("the tail was cut off (entry 4 is noted in MLflow's run r4)")


def test_another_home_that_shares_mlflow_is_no_fault(
    settings: Settings, appended: list[Appended], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = appended[0].digest
    others = [NotedHead(f"o{n}", "ab" * 32, n, f"{n}" * 64) for n in range(1, 6)]
    found = check_with(settings, monkeypatch, NotedHead("r1", first, 1, first), *others)
    assert (found.status, found.noted["MLflow"]) == ("ok", 1)
    assert found.not_compared == (
        "MLflow has 5 runs of another ledger under this name; their digests were not compared."
    )


def test_mlflow_is_the_witness_of_a_chain_that_was_written_anew(
    settings: Settings, appended: list[Appended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a later entry on, whatever became of the days' files, and from the first one on."""
    shutil.rmtree(settings.days)
    chain = appended[0].digest
    later = check_with(settings, monkeypatch, NotedHead("r2", chain, 2, "ab" * 32))
    assert later.verification.fault is not None
    assert (later.verification.fault.sequence, later.noted["MLflow"]) == (2, 1)
    from_first = check_with(settings, monkeypatch, NotedHead("r1", "ab" * 32, 1, "ab" * 32))
    assert from_first.verification.fault is not None
    assert "MLflow has 1 run of another ledger under this name and none of this one" in (
        from_first.verification.fault.sentence
    )


def test_a_day_that_mlflow_contradicts_is_a_fault_that_names_both(
    settings: Settings, appended: list[Appended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a ledger was restored from an older backup and went on: MLflow keeps what was given up."""
    chain = appended[0].digest
    given_up = [NotedHead(f"r{n}", chain, n, f"{n}" * 64) for n in (2, 3, 4)]
    found = check_with(settings, monkeypatch, NotedHead("r1", chain, 1, chain), *given_up)
    fault = found.verification.fault
    assert fault is not None
    assert (found.status, fault.sequence, found.verification.entries) == ("failed", 2, 3)
    assert "entry 2 noted with the digest 222222222222 in MLflow's run r2, expected " in fault.sentence
    assert f"as in {settings.days / 'daily' / str(days(3)[1])}.json" in fault.sentence


def test_mlflow_that_does_not_answer_is_said(
    settings: Settings, appended: list[Appended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[NotedHead]:
        raise TrackingError("no answer")

    monkeypatch.setattr(workflow_ledger, "_heads_in_mlflow", refuse)
    found = check_ledger(settings, existing_ledger(settings, "daily"), "daily")
    assert found.status == "ok"
    assert found.not_compared is not None
    assert found.not_compared.startswith("no answer. MLflow was not asked to the end")


@pytest.mark.parametrize("trickles", [False, True])
def test_a_silent_mlflow_is_waited_for_no_longer_than_stated(
    tmp_path: Path, appended: list[Appended], trickles: bool
) -> None:
    with silent_server(trickles) as uri:
        settings = Settings(home=tmp_path, tracking_uri=uri)
        ledger, began = existing_ledger(settings, "daily"), time.monotonic()
        found = check_ledger(settings, ledger, "daily", mlflow_seconds=0.5)
    assert time.monotonic() - began < 5
    assert (found.status, dict(found.noted)) == ("ok", {str(settings.days / "daily"): 3})
    assert found.not_compared == (
        f"{uri} did not answer within 0.5 s. MLflow was not asked to the end: the ledger was verified against the "
        "days' files alone."
    )


def test_without_mlflow_a_ledger_that_the_days_contradict_fails(tmp_path: Path, appended: list[Appended]) -> None:
    (tmp_path / "days" / "daily" / "2024-02-01.json").write_text('{"ledger": [{"sequence": 4, "digest": "ab"}]}')
    with silent_server() as uri:
        settings = Settings(home=tmp_path, tracking_uri=uri)
        found = check_ledger(settings, existing_ledger(settings, "daily"), "daily", mlflow_seconds=0.1)
    assert (found.status, found.noted.get("MLflow")) == ("failed", None)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"ledger": [{"sequence": 1}]}', '{"ledger": 3}'])
def test_a_damaged_file_of_a_day_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "2024-01-02.json").write_text(content)
    with pytest.raises(LedgerError, match=r"2024-01-02\.json"):
        heads_of_days(tmp_path)


def test_places_that_contradict_each_other_are_named() -> None:
    assert merged_heads({"a": {1: "x"}, "b": {1: "x", 2: "y"}}) == ({1: "x", 2: "y"}, None)
    merged, fault = merged_heads({"a": {1: "x", 3: "w"}, "b": {2: "y", 3: "v"}, "c": {2: "z"}})
    assert merged == {1: "x", 2: "y", 3: "w"}
    assert fault is not None
    assert (fault.sequence, fault.sentence.split(":")[0]) == (
        2,
        "found entry 2 noted with the digest z in c, expected y as in b",
    )


@pytest.fixture
def moved(settings: Settings, tmp_path: Path) -> Settings:
    """The settings of the same home with another ledger, which is empty."""
    return Settings(home=settings.home, ledger=sqlite_uri(tmp_path / "elsewhere" / "ledger.db"))


def test_the_ledger_of_what_was_issued_is_issued_into(settings: Settings, appended: list[Appended]) -> None:
    last = settings.days / "daily" / f"{days(3)[2]}.json"
    assert last_heads(settings, "daily") == {str(last): {3: appended[2].digest}}
    ledger_to_issue_into(settings, "daily")
    ledger_to_issue_into(settings, "weekly")


def test_an_empty_ledger_is_refused_where_a_days_file_names_an_entry(
    settings: Settings, appended: list[Appended], moved: Settings
) -> None:
    sqlite_path(settings.ledger_url).unlink()
    for it in (settings, moved):
        with pytest.raises(
            LedgerError, match=rf"found no .*, expected entry 3 .*{days(3)[2]}\.json: .*`tapecast ledger copy`"
        ):
            existing_ledger(it, "daily")
    assert not sqlite_path(moved.ledger_url).exists()
    for it in (settings, moved):
        with pytest.raises(LedgerError, match="found no entry 3 of daily in the ledger sqlite"):
            ledger_to_issue_into(it, "daily")
        with pytest.raises(LedgerError, match="found no entry 3 of daily in the ledger sqlite"):
            existing_ledger(it, "daily")


def test_an_empty_ledger_is_refused_where_the_home_has_a_former_one(
    settings: Settings, appended: list[Appended], moved: Settings
) -> None:
    shutil.rmtree(settings.days)
    with pytest.raises(LedgerError, match=r"expected entry 3 of daily .* as noted in .*/ledger/ledger\.db"):
        ledger_to_issue_into(moved, "daily")
    ledger_to_issue_into(moved, "weekly")  # of which the former one has nothing
    ledger_to_issue_into(settings, "daily")


def test_a_ledger_that_was_begun_anew_is_refused(settings: Settings, appended: list[Appended], moved: Settings) -> None:
    for day in days(4):
        append(open_ledger(moved.ledger_url), issue(as_of=day, seed=1))
    with pytest.raises(LedgerError, match="found entry 3 with another digest of daily"):
        ledger_to_issue_into(moved, "daily")
    assert check_ledger(moved, existing_ledger(moved, "daily"), "daily").status == "failed"
    shutil.rmtree(settings.days)
    found = check_ledger(moved, existing_ledger(moved, "daily"), "daily")
    assert (found.status, found.noted[str(sqlite_path(settings.ledger_url))]) == ("failed", 1)


def test_of_each_calendar_the_newest_readable_file_counts(settings: Settings) -> None:
    (folder := settings.days / "daily").mkdir(parents=True)
    for name, content in {
        "2024-01-02-XNYS": '{"ledger": [{"sequence": 1, "digest": "a"}]}',
        "2024-01-03-XNYS": '{"ledger": [{"sequence": 3, "digest": "c"}, {"sequence": 4, "digest": "d"}]}',
        "2024-01-04-XNYS": '{"ledger": []}',
        "2024-01-05-XNYS": "{",
        "2024-01-02-XTKS": '{"ledger": [{"sequence": 2, "digest": "b"}]}',
    }.items():
        (folder / f"{name}.json").write_text(content)
    found = {Path(place).stem: heads for place, heads in last_heads(settings, "daily").items()}
    assert found == {"2024-01-03-XNYS": {4: "d"}, "2024-01-02-XTKS": {2: "b"}}


def test_an_entry_is_plain_json_with_all_that_is_known_of_its_rows(
    appended: list[Appended], settings: Settings
) -> None:
    entry = listed(existing_ledger(settings, "daily"), "daily", 1)[0]
    found = entry_json(entry)
    assert (
        json.loads(json.dumps(found))
        == found
        == {
            "sequence": 3,
            "digest": appended[-1].digest,
            "issued_at": entry.issued_at.isoformat(),
            "rows": 12,
            "first_origin": str(days(3)[-1]),
            "last_origin": str(days(3)[-1]),
            "model": "daily",
            "version": 1,
            "calendar": "XNYS",
            "experiment_digest": "e" * 64,
            "calibration_digest": "c" * 64,
            "code_version": "0.1.0+abc",
            "lock_digest": "1" * 64,
            "cpu_capability": "AVX2",
            "known_at": "2024-01-02T21:30:00+00:00",
            "price_basis": "as_traded",
            "backtest": {
                "date": "2023-12-01",
                "verdict": "The network is better – p < 0.001.",
                "mlflow_run_id": "mlflow-1",
            },
            "run_id": "run-1",
        }
    )
