"""A mirror of the model versions in MLflow's registry: safetensors and JSON as artifacts of a run, never a pickle.

The local store is the truth, and nothing is read back from here. The registry numbers its versions itself, so that each
names its own number and digest in tags.
"""

from collections.abc import Mapping
from dataclasses import asdict

from mlflow.entities import RunTag
from mlflow.entities.model_registry import ModelVersion as RegisteredVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient

from pipeline.operation.aliases import Aliases
from pipeline.operation.takeover import Takeover
from pipeline.operation.version_files import ModelVersion
from pipeline.tracking.descriptions import MAX_TAG_LENGTH
from pipeline.tracking.store import Store, open_client, translated

VERSION_TAG, DIGEST_TAG, TAKEOVER_TAG = "tapecast.version", "tapecast.digest", "tapecast.takeover"
FILES = "model_version"


def registered_name(name: str) -> str:
    """Return the name of a model in the registry, where other projects may have theirs."""
    return f"tapecast-{name}"


def mirror_version(store: Store, run_id: str, version: ModelVersion) -> None:
    """Register a version whose files become artifacts of a run; once, though it is called again.

    The rule of takeover and its numbers become tags of the run and of the version. Raises TrackingError; after that a
    later call goes on.
    """
    with translated(store.uri, f"register version {version.number} of model {version.name}"):
        client, tags = open_client(store.uri), _tags(version)
        name = registered_name(version.name)
        client.log_batch(run_id, tags=[RunTag(*tag) for tag in tags.items()])
        if _registered(client, version.name).get(version.number, {}).get(version.description.digest) is not None:
            return
        place = f"{FILES}/{version.name}/{version.folder.name}"
        client.log_artifacts(run_id, str(version.folder), place)
        _make_registered_model(client, name)
        source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
        client.create_model_version(
            name, source, run_id, tags=tags, description=_description(version), await_creation_for=0
        )


def missing_numbers(store: Store, name: str, digests: Mapping[int, str]) -> list[int]:
    """Return which versions (number -> digest) of a model the registry does not have; raises TrackingError."""
    with translated(store.uri, f"read the versions of model {name}"):
        registered = _registered(open_client(store.uri), name)
    return [number for number, digest in digests.items() if digest not in registered.get(number, {})]


def mirror_aliases(store: Store, name: str, aliases: Aliases) -> None:
    """Give the aliases of a model to the same versions in the registry; one that is not there gets none.

    Raises TrackingError.
    """
    with translated(store.uri, f"write the aliases of model {name}"):
        client = open_client(store.uri)
        registered = _registered(client, name)
        for alias, number in asdict(aliases).items():
            found = registered.get(number, {}) if number is not None else {}
            if found:
                client.set_registered_model_alias(registered_name(name), alias, list(found.values())[-1])
            elif registered:
                client.delete_registered_model_alias(registered_name(name), alias)


def _registered(client: MlflowClient, name: str) -> Mapping[int, Mapping[str, str]]:
    """Return our number -> digest -> the registry's number, of every version that it has of a model, oldest first."""
    found: dict[int, dict[str, str]] = {}
    for it in sorted(registered_versions(client, name), key=lambda one: int(one.version)):
        if VERSION_TAG in it.tags:
            found.setdefault(int(it.tags[VERSION_TAG]), {})[it.tags.get(DIGEST_TAG, "")] = str(it.version)
    return found


def registered_versions(client: MlflowClient, name: str) -> list[RegisteredVersion]:
    """Return all versions that the registry has of a model."""
    versions, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{registered_name(name)}'", page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def _make_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description="Versions of a published model of Tapecast.")
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def _tags(version: ModelVersion) -> dict[str, str]:
    decision: Takeover = version.description.takeover
    tags = {
        VERSION_TAG: str(version.number),
        DIGEST_TAG: version.description.digest,
        "tapecast.model": version.name,
        TAKEOVER_TAG: "accepted" if decision.accepted else "refused",
        f"{TAKEOVER_TAG}.sentence": decision.sentence,
        **{f"{TAKEOVER_TAG}.{name}": f"{value:.6g}" for name, value in decision.numbers.items()},
    }
    return {name: value[:MAX_TAG_LENGTH] for name, value in tags.items()}


def _description(version: ModelVersion) -> str:
    """Return the description of a version as markdown: the rule of takeover, then the backtest of each calendar."""
    lines = [version.description.takeover.sentence]
    for calendar, model in version.models.items():
        lines.append(f"**{calendar}**, trained until {model.trained_until}: {', '.join(model.market_members)}")
        if model.backtest:
            made = f"{model.backtest.date} (run {model.backtest.mlflow_run_id})"
            lines.append(f"Backtest of {made}: {model.backtest.verdict}")
    return "\n\n".join(lines)[:MAX_TAG_LENGTH]
