"""The flow tune: a search over network and training settings, shown as Prefect artifacts."""

from collections.abc import Callable
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.watching import LogWatch
from pipeline.experiment import Experiment
from pipeline.tuning.plan import SearchSpec
from pipeline.workflow.context import new_job
from pipeline.workflow.progress import Watch
from pipeline.workflow.tune import Tuned, note_of, tune_experiment

DEFAULT, THIRTY = Experiment(), SearchSpec()


def build_tune(watch: Watch) -> Callable[..., Tuned]:
    """Return the flow with someone watching: the terminal, or the log of a deployment."""

    @flow(name="tune", flow_run_name="tune {experiment.source.kind}", persist_result=False)
    def tune(experiment: Experiment = DEFAULT, search: SearchSpec = THIRTY, out: Path | None = None) -> Tuned:
        """Search the settings of the network and its training on validation ranges alone.

        Trials are kept: the same search goes on where it was left. The best experiment is written as a TOML file,
        `out` or tuned/STUDY.toml under TAPECAST_HOME.
        """
        tuned = tune_experiment(new_job("tune", None, watch), experiment, search, out)
        show_tuned(tuned)
        return tuned

    return tune


def show_tuned(tuned: Tuned) -> None:
    """Make the artifacts: what was found, the trials, and a link to the study's run."""
    written = f"Run it with `tapecast run --experiment {tuned.experiment}`."
    text = "\n\n".join([*note_of(tuned), written])
    create_markdown_artifact(text, key="tuned", description="The best of the trials, and on what it was chosen")
    rows = [{**row, **row["values"], "by_fold": str(row["by_fold"])} for row in tuned.trials]
    table = [{name: value for name, value in row.items() if name != "values"} for row in rows]
    create_table_artifact(table, key="trials", description="Every trial of the study, the best first")
    if tuned.mlflow_url.startswith("http"):
        create_link_artifact(tuned.mlflow_url, key="mlflow-study", link_text="MLflow run of the study")


# What prefect.yaml deploys.
tune = build_tune(LogWatch())
