"""Where studies are stored: separate from MLflow's tables, which they never touch."""

from pathlib import Path

import optuna
import pytest

from pipeline.errors import TrackingError, UsageError
from pipeline.tuning.storage import Storage, storage_for, translate_errors
from pipeline.tuning.study import open_study

HOME = Path("/home/me/.tapecast")


@pytest.mark.parametrize(
    ("tracking", "uri", "schema"),
    [
        ("sqlite:////x/mlflow/mlflow.db", "sqlite:////x/mlflow/mlflow-optuna.db", None),
        ("sqlite:////x/a%20b/runs.db?timeout=5", "sqlite:////x/a b/runs-optuna.db", None),
        ("sqlite:////x/a%2541/runs.db", "sqlite:////x/a%2541/runs-optuna.db", None),
        ("postgresql://me:secret@host/db", "postgresql://me:secret@host/db", "optuna"),
        ("postgresql+psycopg2://host/db", "postgresql+psycopg2://host/db", "optuna"),
        ("http://127.0.0.1:5000", "sqlite:////home/me/.tapecast/mlflow/optuna.db", None),
        ("mysql://host/db", "sqlite:////home/me/.tapecast/mlflow/optuna.db", None),
    ],
)
def test_each_kind_of_store_has_its_storage(tracking: str, uri: str, schema: str | None) -> None:
    assert storage_for(tracking, HOME) == Storage(uri, schema)


def test_a_password_is_not_shown() -> None:
    assert storage_for("postgresql://me:secret@host/db", HOME).display_uri == "postgresql://host/db (schema optuna)"


def test_in_postgresql_the_schema_is_on_the_search_path() -> None:
    options = Storage("postgresql://host/db", "optuna").engine_options
    assert options["connect_args"] == {"options": "-csearch_path=optuna"}


def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot create"):
        Storage(f"sqlite:///{tmp_path / 'file' / 'x.db'}").make_ready()


def test_a_missing_postgresql_server_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="create the schema"):
        Storage("postgresql+nosuchdriver://127.0.0.1:1/db", "optuna").make_ready()


def test_a_driver_that_is_not_installed_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="No module named 'psycopg'"):
        Storage("postgresql://127.0.0.1:1/db", "optuna").make_ready()


def test_errors_of_ours_are_not_translated() -> None:
    with pytest.raises(UsageError, match="ours"), translate_errors(Storage("sqlite:///x"), "ask"):
        raise UsageError("ours")
    with pytest.raises(TrackingError, match="could not ask"), translate_errors(Storage("sqlite:///x"), "ask"):
        raise optuna.exceptions.StorageInternalError("locked")


def test_each_library_refuses_the_tables_of_the_other(tmp_path: Path) -> None:
    """Why a SQLite store has two files: once this fails, one file is enough."""
    from pipeline.tracking.environment import MLFLOW_DEFAULTS  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        for name, value in MLFLOW_DEFAULTS.items():
            patch.setenv(name, value)
        from pipeline.tracking.store import Destination, prepare_store  # noqa: PLC0415

        uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
        prepare_store(Destination(uri, None, "tapecast"))
        with pytest.raises(TrackingError, match="cannot store a study in"):
            open_study(Storage(uri), "s", {}, {}, {}, 0).__enter__()
        # in a second file they do not conflict, and MLflow's database is opened again as before
        with open_study(storage_for(uri, tmp_path), "s", {}, {}, {}, 0) as study:
            assert study.name == "s"
        prepare_store(Destination(uri, None, "again"))
