"""Specification tags of earlier versions, rewritten: the only place with their names of settings.

The digest of a specification covers the names of its settings. Versions before December 2026 named some of them
differently, so the same specification had another digest and would count as a second one.
"""

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from pipeline.tracking.store import found_runs

EARLIER_NAMES = {
    "known_future": "ahead",
    "horizon_mode": "ahead",
    "sampled_paths": "paths",
    "min_steps": "fewest_steps",
    "max_steps": "most_steps",
    "validation_checks": "looks",
    "patience_checks": "patience_looks",
    "max_age_days": "most_age_days",
    "cross_market_return": "abroad_return",
    "days_since_previous": "days_since_former",
}


def with_earlier_names(described: object) -> object:
    """Return a described specification with the names of settings, features and covariates of earlier versions."""
    if isinstance(described, dict):
        return {EARLIER_NAMES.get(key, key): with_earlier_names(value) for key, value in described.items()}
    if isinstance(described, list | tuple):
        return [with_earlier_names(value) for value in described]
    return EARLIER_NAMES.get(described, described) if isinstance(described, str) else described


def migrate_tags(client: MlflowClient, experiment_id: str, tag: str, earlier: str, current: str) -> int:
    """Return how many runs had the earlier value of a tag, and write the current one.

    MLflow sets no tag on a deleted run: such a run is restored and deleted again. Called a second time, it finds none.
    """
    # all pages first: a run that has its new tag would move the later ones
    runs = list(found_runs(client, experiment_id, f"tags.`{tag}` = '{earlier}'", ViewType.ALL))
    for run in runs:
        _set_tag(client, run, tag, current)
    return len(runs)


def _set_tag(client: MlflowClient, run: Run, tag: str, value: str) -> None:
    deleted = run.info.lifecycle_stage == "deleted"
    if deleted:
        client.restore_run(run.info.run_id)
    try:
        client.set_tag(run.info.run_id, tag, value)
    finally:
        if deleted:
            client.delete_run(run.info.run_id)
