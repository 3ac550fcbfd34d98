"""Delivery during a run: what a run waits for a store that is silent, locked, gone or slow."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.tracking.background import Delivery
from pipeline.tracking.delivery import deliver_left
from pipeline.tracking.outbox import Header, open_journal
from pipeline.tracking.patience import Patience
from pipeline.tracking.runs import Record
from pipeline.tracking.store import Destination, Store, prepare_store

from .conftest import THIRD_PARTY
from .faulty import free_port, silent_server
from .test_server import running_server
from .waiting import waiting_records

pytestmark = [*THIRD_PARTY, pytest.mark.timeout(300)]


def begun(uri: str, outbox: Path, patience: float = 15.0, shared: Patience | None = None) -> tuple[Record, Delivery]:
    """A record under way, whose run has been started."""
    header = Header.new("", uri, "tapecast")
    journal = open_journal(outbox, replace(header, job=header.id))
    delivery = Delivery(Destination(uri, None, "tapecast"), outbox, journal, shared or Patience(patience))
    record = Record(journal)
    record.start("a run", {})
    delivery.begin()
    return record, delivery


def seconds_of(delivery: Delivery, waits: int = 1) -> float:
    """How long a run waited in all, which was in vain."""
    began = time.monotonic()
    for _ in range(waits):
        assert not delivery.completed()
    return time.monotonic() - began


@pytest.mark.parametrize("trickles", [False, True])
def test_a_server_without_answer_costs_a_run_its_patience_once(tmp_path: Path, trickles: bool) -> None:
    with silent_server(trickles) as uri:
        record, delivery = begun(uri, tmp_path, patience=1.0)
        with pytest.raises(TrackingError, match="did not answer"):
            delivery.answer(lambda _: 1)
        record.end("FINISHED")
        assert seconds_of(delivery, waits=3) < 0.1, "its patience was used up before"
        delivery.close()
    assert waiting_records(tmp_path) == 1


def test_patience_is_shared_by_all_waits_of_a_run(tmp_path: Path) -> None:
    with silent_server() as uri:
        _, delivery = begun(uri, tmp_path, patience=1.0)
        assert 0.9 < seconds_of(delivery, waits=3) < 2.0


def test_patience_is_shared_by_all_records_of_a_use_case(tmp_path: Path) -> None:
    shared = Patience(1.0)
    with silent_server() as uri:
        first, second = (begun(uri, tmp_path, shared=shared)[1] for _ in range(2))
        assert 0.9 < seconds_of(first) < 2.0
        assert seconds_of(second, waits=3) < 0.1


def test_a_server_that_is_not_there_costs_nothing(tmp_path: Path) -> None:
    record, delivery = begun(f"http://127.0.0.1:{free_port()}", tmp_path)
    record.end("FINISHED")
    assert seconds_of(delivery, waits=3) < 2
    assert "no MLflow server answers" in delivery.problem
    delivery.close()


def test_an_interrupted_run_waits_less(tmp_path: Path) -> None:
    with silent_server() as uri:
        _, delivery = begun(uri, tmp_path)
        delivery.hurry(0.3)
        assert seconds_of(delivery) < 1


def test_our_own_mistakes_are_named_and_stop_no_run(tmp_path: Path, store: Store) -> None:
    record, delivery = begun(store.uri, tmp_path)
    record.journal.append({"call": "no such call", "run": "", "at": 0})
    assert not delivery.completed()
    assert "no such call" in delivery.problem


@pytest.fixture
def database(store: Store, tmp_path: Path) -> Path:
    """A copy of the store of all."""
    path = tmp_path / "mlflow.db"
    with (
        contextlib.closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as source,
        contextlib.closing(sqlite3.connect(path)) as target,
    ):
        source.backup(target)
    return path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


def test_a_database_that_is_locked_for_a_while_is_waited_for(database: Path, tmp_path: Path) -> None:
    with locked(database) as other:
        record, delivery = begun(f"sqlite:///{database}", tmp_path / "outbox")
        record.end("FINISHED")
        threading.Timer(2, lambda: other.execute("COMMIT")).start()
        assert delivery.completed(), delivery.problem
    delivery.close()
    assert waiting_records(tmp_path / "outbox") == 0


def test_a_database_that_stays_locked_costs_a_run_its_patience(database: Path, tmp_path: Path) -> None:
    with locked(database):
        record, delivery = begun(f"sqlite:///{database}", tmp_path / "outbox", patience=3.0)
        record.end("FINISHED")
        assert seconds_of(delivery, waits=3) < 4.5
        delivery.close()
    assert waiting_records(tmp_path / "outbox") == 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with running_server(tmp_path_factory.mktemp("server")) as found:
        yield found


def fill(record: Record, count: int = 40) -> None:
    for number in range(count):
        record.write(tags={f"t{number}": "x"})
    with record.files() as folder:
        (folder / "page.html").write_text("a page")
    record.end("FINISHED")


@pytest.mark.slow
def test_a_server_that_stops_in_the_middle_has_the_rest_later_and_once(
    server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    uri, process = server
    record, delivery = begun(uri, tmp_path, patience=2.0)
    assert delivery.completed(), delivery.problem
    os.killpg(process.pid, signal.SIGSTOP)  # its connections are accepted, and nothing answers
    try:
        fill(record)
        assert 1.5 < seconds_of(delivery, waits=3) < 3.5
        delivery.close()
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    del delivery
    store = prepare_store(Destination(uri, None, "tapecast"))
    until = time.monotonic() + 150  # the request that hung ends by itself, and with it the hold on the record
    while waiting_records(tmp_path) and time.monotonic() < until:
        deliver_left(store, tmp_path, lambda: None)
        time.sleep(0.5)
    client = MlflowClient(uri)
    (run,) = client.search_runs([store.experiment_id], f"tags.`tapecast.record` = '{record.id}'")
    assert run.info.status == "FINISHED"
    assert sum(name.startswith("t") and name[1:].isdigit() for name in run.data.tags) == 40
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["page.html"]


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_and_comes_back_has_the_rest(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    with running_server(tmp_path) as (uri, process):
        record, delivery = begun(uri, outbox)
        assert delivery.completed(), delivery.problem
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        fill(record)
        assert seconds_of(delivery, waits=2) < 15.5
        delivery.close()
    with running_server(tmp_path, port=int(uri.rpartition(":")[2])):
        store = prepare_store(Destination(uri, None, "tapecast"))
        until = time.monotonic() + 60
        while waiting_records(outbox) and time.monotonic() < until:
            deliver_left(store, outbox, lambda: None)
            time.sleep(0.2)
        (run,) = MlflowClient(uri).search_runs([store.experiment_id])
        assert run.info.status == "FINISHED"
