"""Publishing what a run trained: measured against the champion, stored as a new version."""

from dataclasses import replace

from pipeline.operation.model_versions import find_champion, publish
from pipeline.operation.takeover import measured, takeover
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.run_context import RunContext


def published(context: RunContext, recorded: RecordedRun, name: str, requested: bool = True) -> RecordedRun:
    """Return the recorded run with the version that its trained models were published as.

    The version becomes the champion unless the rule of takeover refuses it; `requested` says whether a person wanted
    it published, as against a refit that was due. It is stored either way.
    """
    champion = find_champion(context.settings.models, name)
    models = champion.models if champion else {}
    trained = [(result.trained, result.result.frames) for result in recorded.results if result.trained]
    found = {model.calendar: measured(model, models.get(model.calendar), frames) for model, frames in trained}
    decision = takeover(found, requested)
    version = publish(context.settings.models, name, [model for model, _ in trained], context.started_at, decision)
    context.progress.message(f"Published as version {version.number} of model {name}. {decision.sentence}")
    return replace(recorded, version=version)
