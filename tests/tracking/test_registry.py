"""The mirror in MLflow's registry: each version once, with its files, its numbers and its aliases."""

import json
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.errors import TrackingError
from pipeline.operation.aliases import Aliases
from pipeline.operation.model_versions import publish
from pipeline.operation.takeover import FIRST, Takeover
from pipeline.operation.version_files import DESCRIPTION, ModelVersion
from pipeline.tracking.registry import mirror_aliases, mirror_version, registered_name
from pipeline.tracking.store import Store
from tests.operation.fitted_models import BACKTEST, NOW, small_fits, trained

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY

REFUSED = Takeover(False, "Not the champion: XNYS: it is worse.", {"XNYS/validation_loss": 0.4})


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[ModelVersion]:
    folder = tmp_path_factory.mktemp("models")
    results = small_fits(folder / "fits", ("climatology",))
    decisions = (FIRST, FIRST, REFUSED)
    return [publish(folder, "mine", [trained((f"T{k}",), results)], NOW, it) for k, it in enumerate(decisions)]


@pytest.fixture
def run_id(store: Store) -> str:
    client = MlflowClient(tracking_uri=store.uri)
    started = client.create_run(store.experiment_id).info.run_id
    client.set_terminated(started)
    return str(started)


def aliases_of(client: MlflowClient, name: str) -> dict[str, str]:
    """Alias -> our number, of a registered model."""
    found = {}
    for alias in ("champion", "previous"):
        try:
            registered = client.get_model_version_by_alias(registered_name(name), alias)
        except MlflowException:
            continue
        found[alias] = registered.tags["tapecast.version"]
    return found


def test_a_version_is_registered_once_with_its_files_and_numbers(
    store: Store, run_id: str, versions: list[ModelVersion], tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=store.uri)
    for version in (*versions, *versions):
        mirror_version(store, run_id, version)
    registered = {it.tags["tapecast.version"]: it for it in client.search_model_versions("name = 'tapecast-mine'")}
    assert sorted(registered) == ["1", "2", "3"]
    assert len(client.search_model_versions("name = 'tapecast-mine'")) == 3
    last = registered["3"]
    assert (last.run_id, last.tags["tapecast.takeover"]) == (run_id, "refused")
    assert last.tags["tapecast.takeover.XNYS/validation_loss"] == "0.4"
    assert REFUSED.sentence in last.description
    assert BACKTEST.verdict in last.description
    assert client.get_run(run_id).data.tags["tapecast.takeover.sentence"] == REFUSED.sentence
    folder = Path(client.download_artifacts(run_id, "model_version/mine/0003", str(tmp_path)))
    assert last.source.endswith("model_version/mine/0003")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    local = versions[2].folder
    assert files == {str(path.relative_to(local)): path.read_bytes() for path in local.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in files} == {".json", ".safetensors"}
    assert json.loads(files[DESCRIPTION])["number"] == 3


def test_the_aliases_follow_the_local_ones(store: Store, run_id: str, versions: list[ModelVersion]) -> None:
    client = MlflowClient(tracking_uri=store.uri)
    for version in versions[:2]:
        mirror_version(store, run_id, version)
    for aliases, expected in (
        (Aliases(2, 1), {"champion": "2", "previous": "1"}),
        (Aliases(1, 2), {"champion": "1", "previous": "2"}),
        (Aliases(2, 9), {"champion": "2"}),  # a version that was never registered
        (Aliases(1), {"champion": "1"}),
    ):
        mirror_aliases(store, "mine", aliases)
        assert aliases_of(client, "mine") == expected
    mirror_aliases(store, "unknown", Aliases(1))
    assert client.search_registered_models("name = 'tapecast-unknown'") == []


def test_a_model_of_the_same_name_after_a_new_start_is_another_version(
    store: Store, run_id: str, versions: list[ModelVersion], tmp_path: Path
) -> None:
    """The home was deleted and the server kept: number 1 is there twice, and the aliases are of the later one."""
    client = MlflowClient(tracking_uri=store.uri)
    mirror_version(store, run_id, versions[0])
    results = small_fits(tmp_path / "fits", ("climatology",))
    anew = publish(tmp_path, "mine", [trained(("NEW",), results)], NOW)
    mirror_version(store, run_id, anew)
    mirror_aliases(store, "mine", Aliases(1))
    assert client.get_model_version_by_alias("tapecast-mine", "champion").tags["tapecast.digest"] == (
        anew.description.digest
    )


def test_a_store_that_cannot_be_written_is_a_tracking_error(versions: list[ModelVersion], store: Store) -> None:
    with pytest.raises(TrackingError, match="register version 1 of model mine"):
        mirror_version(store, "0" * 32, versions[0])
