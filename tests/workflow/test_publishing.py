"""What a run trained is published as a version: measured against the champion, and whatever MLflow's registry does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.dataset.frames import Frames
from pipeline.errors import FitError, UsageError
from pipeline.market.calendars import listing_of
from pipeline.market.specification import SyntheticSource
from pipeline.operation.aliases import ALIASES, Aliases, read_aliases
from pipeline.operation.model import BacktestReference, TrainedModel
from pipeline.operation.model_versions import read_version
from pipeline.operation.publication import Publication
from pipeline.operation.result import CalendarResult
from pipeline.settings import Settings
from pipeline.training.jobs import FitResult
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.publishing import PublishPlan, mirror, published
from pipeline.workflow.recording import RecordedResult, recorded_experiment
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import RunContext, new_context
from pipeline.workflow.summaries import result_of
from tests.operation.fitted_models import BACKTEST
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market
from tests.workflow.builders import Messages

NO_SERVER = "http://127.0.0.1:9"

Trained = tuple[Frames, list[FitResult]]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    frames = frames_from(random_market(500, 3))
    jobs, _ = jobs_for(frames, kinds=("network", "climatology"), folds=slice(-1, None))
    return frames, fit_jobs(jobs, frames, tmp_path_factory.mktemp("fits"))


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunContext, Messages]:
    """A context whose MLflow server does not answer."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    messages = Messages()
    return replace(new_context("run", None, messages), settings=Settings(tracking_uri=NO_SERVER)), messages


def recorded_run(frames: Frames, results: Sequence[FitResult], backtest: BacktestReference = BACKTEST) -> RecordedRun:
    """A finished run on one calendar, with no more in it than what publishing reads."""
    listings = tuple(map(listing_of, frames.tickers))
    trained = TrainedModel("XNYS", TINY, frames.tickers, (), None, tuple(results), Publication(), backtest)
    result = CalendarResult(
        experiment=TINY,
        source_note="Made up.",
        known_at=None,
        listings=listings,
        frames=frames,
        folds=(results[0].job.fold,),
        results=tuple(results),
        problems=(),
        excluded=(),
        stale=(),
        unseen=(),
        warnings=(),
        evaluation=None,
        forecasts=None,
        publication=Publication(),
    )
    one = RecordedResult(result, "ab", "http://127.0.0.1/#/ab", Path("report.html"), trained=trained)
    return RecordedRun((one,), (), {})


def publish_recorded(context: RunContext, run: RecordedRun, plan: PublishPlan) -> RecordedRun:
    """Publish what a run trained, within its recording."""
    with recorded_experiment(context.settings, "run", TINY) as recording:
        return published(context, run, plan, recording)


def test_without_a_registry_the_version_is_published_and_that_is_said(
    context: tuple[RunContext, Messages], fitted: Trained
) -> None:
    run_context, messages = context
    found = publish_recorded(run_context, recorded_run(*fitted), PublishPlan("mine"))
    assert found.version is not None
    version = read_version(run_context.settings.models, "mine")
    assert (version.number, version.models["XNYS"].backtest) == (1, BACKTEST)
    assert messages.sent[0] == "Published as version 1 of model mine. There was no champion before."
    assert messages.sent[1].startswith("MLflow's registry does not have the last version of model mine yet: no MLflow")
    values = result_of(found).as_json()["model_version"]
    assert values == {
        "name": "mine",
        "number": 1,
        "takeover": "There was no champion before.",
        "backtest": {"date": "2024-01-02", "verdict": BACKTEST.verdict, "mlflow_run_id": "abcd"},
        "sentence": f"Version 1 of model mine; its backtest of 2024-01-02 (MLflow run abcd): {BACKTEST.verdict}",
    }
    assert result_of(recorded_run(*fitted)).as_json()["model_version"] is None


def test_damaged_aliases_and_a_name_of_other_prices_are_refused_before_the_training(
    context: tuple[RunContext, Messages],
) -> None:
    run_context, messages = context
    folder = run_context.settings.models / "mine"
    folder.mkdir(parents=True)
    (folder / ALIASES).write_text("{}")
    experiment = changed(TINY, source=SyntheticSource(process="random_walk", sessions=620, tickers=2))
    with pytest.raises(FitError, match="cannot read the aliases of model mine"):
        run(run_context, experiment, RunPlan(publish_as=PublishPlan("mine")))
    with pytest.raises(UsageError, match="found the name daily for a model of synthetic prices"):
        run(run_context, experiment, RunPlan(publish_as=PublishPlan("daily")))
    assert messages.sent == []


def test_a_refit_that_is_worse_is_stored_and_not_the_champion(
    context: tuple[RunContext, Messages], fitted: Trained
) -> None:
    (run_context, messages), (frames, results) = context, fitted
    models = run_context.settings.models
    publish_recorded(run_context, recorded_run(frames, results), PublishPlan("mine"))
    network = results[0].fitted
    assert network is not None
    worse = replace(network, arrays={name: array * 3 for name, array in network.arrays.items()})
    refit = recorded_run(frames, [replace(results[0], fitted=worse), *results[1:]])
    for requested in (True, False):
        found = publish_recorded(run_context, refit, PublishPlan("mine", requested))
        assert found.version is not None
        assert (found.version.number, read_aliases(models / "mine")) == (2, Aliases(1))
        assert not found.version.description.takeover.accepted
        assert "larger than the champion's" in messages.sent[-2]
        takeover = result_of(found).as_json()["model_version"]["takeover"]
        assert takeover.startswith("Not the champion: XNYS: its validation loss")
    later = recorded_run(frames, results, replace(BACKTEST, mlflow_run_id="later"))
    assert publish_recorded(run_context, later, PublishPlan("mine", requested=False)).version is not None
    assert read_aliases(models / "mine") == Aliases(champion=3, previous=1), "a sound refit takes over by default"


def test_what_takes_a_damaged_champion_s_place_says_so(context: tuple[RunContext, Messages], fitted: Trained) -> None:
    (run_context, _), (frames, results) = context, fitted
    models = run_context.settings.models
    for run_id in ("first", "second"):
        publish_recorded(run_context, recorded_run(frames, results, named(run_id)), PublishPlan("mine"))
    next((models / "mine" / "0002").glob("fits/*/fit.json")).write_text("{}")
    found = publish_recorded(run_context, recorded_run(frames, results, named("third")), PublishPlan("mine"))
    assert found.version is not None
    assert found.version.description.takeover.sentence == "The champion before, version 2, cannot be read."
    assert read_aliases(models / "mine") == Aliases(champion=3, previous=1)


def test_a_damaged_version_is_not_registered_and_the_others_are(
    context: tuple[RunContext, Messages], fitted: Trained, tmp_path: Path
) -> None:
    (run_context, messages), (frames, results) = context, fitted
    for run_id in ("first", "second"):
        publish_recorded(run_context, recorded_run(frames, results, named(run_id)), PublishPlan("mine"))
    next((run_context.settings.models / "mine" / "0002").glob("fits/*/fit.json")).write_text("{}")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    reachable = replace(run_context, settings=Settings(tracking_uri=uri))
    with recorded_experiment(reachable.settings, "run", TINY) as recording:
        mirror(reachable, recording, "mine")
    registered = MlflowClient(tracking_uri=uri).search_model_versions("name = 'tapecast-mine'")
    assert [it.tags["tapecast.version"] for it in registered] == ["1"], messages.sent


def named(run_id: str) -> BacktestReference:
    return replace(BACKTEST, mlflow_run_id=run_id)


def test_another_experiment_takes_over_only_on_request(context: tuple[RunContext, Messages], fitted: Trained) -> None:
    (run_context, _), (frames, results) = context, fitted
    publish_recorded(run_context, recorded_run(frames, results), PublishPlan("mine"))
    run = recorded_run(frames, results)
    trained = run.results[0].trained
    assert trained is not None
    other = replace(run.results[0], trained=replace(trained, experiment=changed(TINY, abstain="pooled")))
    publish_recorded(run_context, replace(run, results=(other,)), PublishPlan("mine", requested=False))
    assert read_aliases(run_context.settings.models / "mine") == Aliases(champion=1)
    publish_recorded(run_context, replace(run, results=(other,)), PublishPlan("mine"))
    assert read_aliases(run_context.settings.models / "mine") == Aliases(champion=3, previous=1)
