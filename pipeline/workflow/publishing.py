"""Publishing what a run trained: measured against the champion, stored as a new version."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.operation.aliases import read_aliases
from pipeline.operation.champion import UnreadableVersion, find_champion, read_or_reason
from pipeline.operation.model_versions import publish, versions
from pipeline.operation.takeover import FIRST, Takeover, measured, takeover
from pipeline.operation.version_files import ModelVersion, VersionDescription
from pipeline.settings import Settings
from pipeline.sqlite import is_sqlite, sqlite_path
from pipeline.tracking.registry import mirror_aliases, mirror_version, missing_numbers
from pipeline.tracking.store import Store, prepare_store
from pipeline.workflow.earlier_records import destination_of
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.recording import RecordedResult, Recording
from pipeline.workflow.run_context import RunContext


@dataclass(frozen=True)
class PublishPlan:
    """The name to publish under, and whether a person requested it, as against a refit that was due."""

    name: str
    requested: bool = True


def published(context: RunContext, recorded: RecordedRun, plan: PublishPlan, recording: Recording) -> RecordedRun:
    """Return the recorded run with the version that its trained models were published as.

    The version becomes the champion unless the rule of takeover refuses it; it is stored either way. Where MLflow's
    registry cannot be written now, a later run registers it.
    """
    name = plan.name
    champion = find_champion(context.settings.models, name)
    models = champion.models if isinstance(champion, ModelVersion) else {}
    trained = [(result.trained, result.result.frames) for result in recorded.results if result.trained]
    found = {model.calendar: measured(model, models.get(model.calendar), frames) for model, frames in trained}
    decision = takeover(found, plan.requested, _first_after(champion))
    version = publish(context.settings.models, name, [model for model, _ in trained], context.started_at, decision)
    context.progress.message(f"Published as version {version.number} of model {name}. {decision.sentence}")
    mirror(context, recording, name)
    results = tuple(_with_reference(it, version) for it in recorded.results)
    return replace(recorded, results=results, version=version)


def _first_after(champion: ModelVersion | UnreadableVersion | None) -> Takeover:
    """Return the decision on a version that there is no champion to compare with: none yet, or one that is damaged."""
    if isinstance(champion, UnreadableVersion):
        return Takeover(True, f"The champion before, version {champion.number}, cannot be read.")
    return FIRST


def mirror(context: RunContext, recording: Recording, name: str) -> None:
    """Register the versions of a model that MLflow's registry lacks, with the files in this run, and its aliases.

    A failure is reported: the local versions are the truth, and the next run tries again.
    """
    run_id, folder = recording.run_id, context.settings.models
    try:
        if run_id is None:
            raise TrackingError(recording.delivery.problem or "it has no run yet")
        recording.delivery.answer(lambda store: _mirrored(store, run_id, folder, name))
    except TrackingError as error:
        context.progress.message(f"MLflow's registry does not have the last version of model {name} yet: {error}")


def _mirrored(store: Store, run_id: str, folder: Path, name: str) -> None:
    known = {it.number: it.digest for it in versions(folder, name) if isinstance(it, VersionDescription)}
    for number in missing_numbers(store, name, known):
        found = read_or_reason(folder / name, number)
        if isinstance(found, ModelVersion):  # of a damaged one the registry would have other files than its digest says
            mirror_version(store, run_id, found)
    mirror_aliases(store, name, read_aliases(folder / name))


def mirror_moved_aliases(settings: Settings, name: str) -> None:
    """Give the aliases of a model to the same versions in MLflow's registry, unless nothing was ever recorded there.

    Raises TrackingError.
    """
    uri = settings.mlflow_uri
    if not is_sqlite(uri) or sqlite_path(uri).exists():
        store = prepare_store(destination_of(settings))
        mirror_aliases(store, name, read_aliases(settings.models / name))


def _with_reference(recorded: RecordedResult, version: ModelVersion) -> RecordedResult:
    reference = version.reference(recorded.result.calendar) if recorded.trained else None
    return replace(recorded, result=replace(recorded.result, model_version=reference))
