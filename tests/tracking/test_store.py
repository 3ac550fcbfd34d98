"""Stores: made where absent, by many at once, and refused in our own words."""

import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError, UsageError
from pipeline.tracking.store import Destination, Store, prepare_store, run_url, translated, without_password

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY


def sqlite(path: Path) -> str:
    return f"sqlite:///{path}"


def test_a_second_use_finds_the_first_ones_experiment(store: Store) -> None:
    assert prepare_store(Destination(store.uri, None, "tapecast")) == store
    found = MlflowClient(tracking_uri=store.uri).get_experiment(store.experiment_id)
    assert found.artifact_location.endswith("/not/there/files")
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"


def test_artifacts_are_next_to_the_database_by_default(store: Store) -> None:
    other = prepare_store(Destination(store.uri, None, "another"))
    location = MlflowClient(tracking_uri=store.uri).get_experiment(other.experiment_id).artifact_location
    assert location.endswith("/not/there/artifacts")


def test_threads_share_one_new_experiment(store: Store) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: prepare_store(Destination(store.uri, None, "by threads")), range(4)))
    assert len(set(found)) == 1


def test_two_processes_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    uri = sqlite(tmp_path / "new" / "mlflow.db")
    with get_context("spawn").Pool(2) as pool:
        first, second = pool.map(prepare_store, [Destination(uri, None, "tapecast")] * 2, chunksize=1)
    assert first == second
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"mlflow.db", "artifacts"}


def test_a_database_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Path, target: Path) -> None:
        assert not self.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_store(Destination(sqlite(tmp_path / "mlflow.db"), None, "tapecast"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["", "mlruns", "file:///tmp/mlruns", "ftp://host/x", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"expected sqlite:////absolute/path\.db"):
        prepare_store(Destination(uri, None, "tapecast"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"cannot write the MLflow database .*file/mlflow\.db.*writable folder"):
        prepare_store(Destination(sqlite(tmp_path / "file" / "mlflow.db"), None, "tapecast"))
    with pytest.raises(UsageError, match="cannot create the artifact folder"):
        prepare_store(Destination(sqlite(tmp_path / "mlflow.db"), (tmp_path / "file" / "x").as_uri(), "tapecast"))


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("ticker,date,close\n")
    with pytest.raises(UsageError, match="expected an MLflow database"):
        prepare_store(Destination(sqlite(path), None, "tapecast"))
    assert path.read_text() == "ticker,date,close\n"


def test_a_database_of_a_foreign_version_is_a_tracking_error(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    prepare_store(Destination(sqlite(path), None, "tapecast"))
    other = tmp_path / "older.db"
    with sqlite3.connect(path) as source, sqlite3.connect(other) as target:
        source.backup(target)
        target.execute("UPDATE alembic_version SET version_num = '000000000000'")
    source.close()
    target.close()
    with pytest.raises(TrackingError, match="schema"):
        prepare_store(Destination(sqlite(other), None, "tapecast"))


def test_a_deleted_experiment_is_not_written_to(store: Store) -> None:
    gone = prepare_store(Destination(store.uri, None, "gone"))
    MlflowClient(tracking_uri=store.uri).delete_experiment(gone.experiment_id)
    with pytest.raises(UsageError, match="mlflow experiments restore"):
        prepare_store(Destination(store.uri, None, "gone"))


def test_a_server_that_does_not_answer_is_reported_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TrackingError, match=f"no MLflow server answers at http://127.0.0.1:{port}"):
        prepare_store(Destination(f"http://someone:secret@127.0.0.1:{port}", None, "tapecast"))


def test_a_driver_that_is_not_installed_is_named() -> None:
    with pytest.raises(TrackingError, match=r"No module named 'psycopg'.*Check TAPECAST_TRACKING_URI"):
        prepare_store(Destination("postgresql://someone@127.0.0.1:1/db", None, "tapecast"))


def test_addresses_for_people_have_no_password() -> None:
    assert without_password("postgresql://me:secret@host/db") == "postgresql://host/db"
    store = Store("https://me:secret@mlflow.example.org/", "7")
    assert run_url(store, "abc") == "https://mlflow.example.org/#/experiments/7/runs/abc"
    assert run_url(Store("sqlite:////x/mlflow.db", "1"), "abc") == "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    seen = Store("http://mlflow:5000", "1", "http://127.0.0.1:5001/")  # from inside a container and from a browser
    assert run_url(seen, "abc") == "http://127.0.0.1:5001/#/experiments/1/runs/abc"


@pytest.mark.parametrize("error", [sqlite3.OperationalError("locked"), ConnectionResetError("gone")])
def test_errors_from_beneath_are_translated(error: Exception) -> None:
    message = f"could not write in the MLflow store sqlite:///x: found .*{error}"
    with pytest.raises(TrackingError, match=message), translated("sqlite:///x", "write"):
        raise error


@pytest.mark.parametrize("error", [KeyError("slip"), UsageError("ours"), TypeError("slip")])
def test_our_own_errors_are_not(error: Exception) -> None:
    with pytest.raises(type(error)), translated("sqlite:///x", "write"):
        raise error
