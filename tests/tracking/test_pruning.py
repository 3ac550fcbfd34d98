"""Old runs of an MLflow store: freed in a home's own database, marked on another's server, evidence never lost."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.operation.model_versions import publish
from pipeline.tracking import pruning
from pipeline.tracking.ledger_heads import heads_in_mlflow, ledger_tag
from pipeline.tracking.pruning import PrunedRuns, prune_runs
from pipeline.tracking.registry import mirror_version, registered_versions
from pipeline.tracking.store import Destination, Store, prepare_store
from pipeline.tracking.tested_specifications import count_tested
from tests.operation.fitted_models import NOW, small_fits, trained

from .conftest import THIRD_PARTY
from .test_tested_specifications import attempt

pytestmark = THIRD_PARTY

OLD, YOUNG, BEFORE = (datetime(2024, 1, day, tzinfo=UTC) for day in (1, 20, 10))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("home")
    return prepare_store(destination_in(folder))


def destination_in(folder: Path, own: bool = True) -> Destination:
    return Destination(f"sqlite:///{folder / 'mlflow.db'}", (folder / "files").as_uri(), "tapecast", own=own)


@pytest.fixture
def place(home: Store, tmp_path: Path) -> Destination:
    """The same database with an experiment of the test's own."""
    destination = Destination(home.uri, (tmp_path / "files").as_uri(), tmp_path.name, own=True)
    prepare_store(destination)
    return destination


def add_run(
    place: Destination, at: datetime = OLD, tags: dict[str, str] | None = None, parent: str | None = None
) -> str:
    """An ended run with a file of a thousand bytes."""
    client = MlflowClient(place.uri)
    experiment = client.get_experiment_by_name(place.experiment)
    below = {"mlflow.parentRunId": parent} if parent else {}
    run = client.create_run(experiment.experiment_id, int(at.timestamp() * 1000), {**(tags or {}), **below})
    client.log_text(run.info.run_id, "x" * 1000, "some.txt")
    client.log_metric(run.info.run_id, "skill", 0.1)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def prune(
    place: Destination,
    needed: Collection[str] = (),
    numbers: dict[str, tuple[int, ...]] | None = None,
    dry: bool = False,
) -> PrunedRuns:
    return prune_runs(place, BEFORE, needed, numbers or {}, dry)


def lifecycle(place: Destination, run_id: str) -> str:
    """`active`, `deleted`, or `gone` where the database has no row of the run."""
    try:
        return str(MlflowClient(place.uri).get_run(run_id).info.lifecycle_stage)
    except MlflowException:
        return "gone"


def files(place: Destination) -> set[str]:
    return {path.name for path in Path(place.artifacts.removeprefix("file://")).iterdir()}  # type: ignore[union-attr]


def test_an_old_run_goes_with_its_files_and_all_below_it(place: Destination) -> None:
    old, young = add_run(place), add_run(place, YOUNG)
    child = add_run(place, parent=old)
    assert prune(place, dry=True) == PrunedRuns(2, 2000)
    assert (lifecycle(place, old), files(place)) == ("active", {old, young, child})
    assert prune(place) == PrunedRuns(2, 2000)
    assert [lifecycle(place, run) for run in (old, child, young)] == ["gone", "gone", "active"]
    assert files(place) == {young}
    assert prune(place) == PrunedRuns()


def test_what_versions_and_ledger_need_stays(place: Destination) -> None:
    old = add_run(place)
    child, record = add_run(place, parent=old), add_run(place, tags={"tapecast.record": "abc"})
    other = add_run(place, tags={"tapecast.record": "other"})
    assert prune(place, {child, "abc"}).runs == 1
    assert [lifecycle(place, run) for run in (old, child, record, other)] == ["active"] * 3 + ["gone"]


def test_a_run_that_counts_or_witnesses_keeps_its_row(place: Destination) -> None:
    """What was tested is counted over all runs that ever were: to prune must not make a result look better."""
    store = prepare_store(place)
    tested = add_run(place, tags=attempt(6).tags)
    witness = add_run(place, tags=ledger_tag("pruned", 7, "7" * 64))
    before = count_tested(store, attempt(7))
    assert prune(place) == PrunedRuns(2, 2000)
    assert files(place) == set()
    assert [lifecycle(place, run) for run in (tested, witness)] == ["deleted", "deleted"]
    assert count_tested(store, attempt(7)) == before
    assert before.tested == 2
    assert [it.run_id for it in heads_in_mlflow(place.uri, "pruned")] == [witness]
    assert prune(place) == PrunedRuns()


def test_one_that_a_killed_process_had_marked_is_finished(place: Destination) -> None:
    old, young = add_run(place), add_run(place, YOUNG)
    for run in (old, young):
        MlflowClient(place.uri).delete_run(run)
    assert prune(place) == PrunedRuns(1, 1000)
    assert (lifecycle(place, old), lifecycle(place, young)) == ("gone", "deleted")


def test_a_running_one_stays(place: Destination) -> None:
    client = MlflowClient(place.uri)
    experiment = client.get_experiment_by_name(place.experiment).experiment_id
    running = client.create_run(experiment, int(OLD.timestamp() * 1000)).info.run_id
    below = add_run(place, parent=running)
    assert prune(place) == PrunedRuns()
    assert (lifecycle(place, running), lifecycle(place, below)) == ("active", "active")


def test_on_another_server_runs_are_only_marked(place: Destination) -> None:
    old = add_run(place)
    elsewhere = Destination(place.uri, None, place.experiment)
    assert prune(elsewhere, dry=True) == prune(elsewhere) == PrunedRuns(1)
    assert (lifecycle(place, old), files(place)) == ("deleted", {old})
    assert prune(elsewhere) == PrunedRuns()


def test_files_elsewhere_are_left_alone(place: Destination, tmp_path: Path) -> None:
    """An experiment may have been moved: only a run's own folder among the home's artifacts is removed."""
    old = add_run(place)
    moved = tmp_path / "moved"
    (tmp_path / "files").rename(moved)
    (tmp_path / "files").symlink_to(moved)
    (moved / old).rename(moved / "other")
    (moved / old).symlink_to(moved / "other")
    assert prune(place).runs == 1
    assert (moved / "other" / "artifacts" / "some.txt").is_file()


def test_the_registry_keeps_versions_that_are_kept(place: Destination, tmp_path: Path) -> None:
    results, store = small_fits(tmp_path / "fits", ("climatology",)), prepare_store(place)
    versions = [publish(tmp_path / "models", "pruned", [trained((name,), results)], NOW) for name in ("A", "B")]
    runs = [add_run(place), add_run(place)]
    for run, version in zip(runs, versions, strict=True):
        mirror_version(store, run, version)
    assert prune(place, numbers={"pruned": (2,)}).runs == 1
    assert [lifecycle(place, run) for run in runs] == ["gone", "active"]
    found = registered_versions(MlflowClient(place.uri), "pruned")
    assert [it.tags["tapecast.version"] for it in found] == ["2"]


def test_the_database_becomes_smaller(place: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(place.uri)
    run = add_run(place)
    client.log_param(run, "long", "x" * 5000)
    for k in range(30):
        client.set_tag(run, f"tag{k}", "y" * 5000)
    monkeypatch.setattr(pruning, "WORTHWHILE_BYTES", 1)
    assert prune(place).database_bytes > 100_000
    assert prune(place) == PrunedRuns()


def test_nothing_is_made_where_nothing_was_recorded(home: Store) -> None:
    assert prune(Destination(home.uri, None, "never", own=True)) == PrunedRuns()
    client = MlflowClient(home.uri)
    assert "never" not in {it.name for it in client.search_experiments(view_type=ViewType.ALL)}


def test_a_store_that_does_not_answer_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="remove old runs"):
        prune(Destination("postgresql+nosuchdriver://127.0.0.1:1/x", None, "tapecast"))


def test_young_and_old_are_told_apart_by_the_start(place: Destination) -> None:
    just = add_run(place, BEFORE), add_run(place, BEFORE - timedelta(milliseconds=1))
    assert prune(place).runs == 1
    assert [lifecycle(place, run) for run in just] == ["active", "gone"]
