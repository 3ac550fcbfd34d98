"""The flows in this process, on a real temporary Prefect server: failures, retries, and what is recorded of them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from prefect import flow

from flows.artifacts import DESCRIPTIONS
from flows.definitions import build_flows
from flows.prefect_engine import PREFECT, as_task
from pipeline.errors import NothingUsableError, SanityError, SourceError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.pretrained import PretrainedSpec
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.market.bars import FetchedRows
from pipeline.market.specification import YAHOO, SyntheticSource, YahooSource
from pipeline.market.store.collection import open_collection
from pipeline.market.update import YAHOO_TERMS, plan_update
from pipeline.operation.aliases import Aliases, read_aliases
from pipeline.operation.model import DAILY, SYNTHETIC
from pipeline.operation.model_versions import model_names, rollback, versions
from pipeline.settings import Settings
from pipeline.training.jobs import FitResult
from pipeline.workflow.loading import load_accepted_bars, request_yahoo
from pipeline.workflow.result import Result
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import new_context
from pipeline.workflow.sine import measured, refuse_missed_mark, sine_experiment
from tests.panels import TINY, changed
from tests.reporting.html_pages import read_page

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(300),
    # mlflow's own business with pandas 4, when it writes a table
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]

NOW = datetime(2025, 1, 2, tzinfo=UTC)


class KeptProgress:
    """Progress that keeps the stages and messages reported to it."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def stage_started(self, stage: str) -> None:
        self.messages.append(stage)

    def stage_finished(self, stage: str, seconds: float) -> None: ...

    def fit_finished(self, result: FitResult, done: int, total: int) -> None: ...

    def message(self, text: str) -> None:
        self.messages.append(text)


class Broken:
    """A remote source that raises an error of our own code."""

    def fetch(self, requested: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        yield next(iter(requested)), SourceError("no such ticker")
        raise ZeroDivisionError("an error of our own code")


def test_an_error_of_our_own_code_is_not_reported_as_a_bad_ticker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = new_context("run", step=as_task, remote=lambda *_: Broken())
    collection = open_collection(tmp_path, YAHOO, YAHOO_TERMS)
    plan = plan_update(collection, ("AAA", "BBB"), NOW, date(2024, 1, 2))

    @flow
    def requesting() -> None:
        request_yahoo(context, YahooSource(), collection, plan)

    with pytest.raises(ZeroDivisionError):
        requesting()


def test_the_table_of_excluded_tickers_is_described_in_its_artifact() -> None:
    tables = Result(calendars=(), failed=({"ticker": "GONE", "reason": "unknown ticker"},)).tables()
    assert list(tables) == ["excluded"]
    assert DESCRIPTIONS["excluded"] == "Tickers not forecast, and why"


def test_when_no_ticker_is_usable_every_reason_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    gone = Experiment(source=SyntheticSource(process="random_walk", tickers=1), tickers=("GONE", "../x"))

    @flow
    def loading() -> None:
        load_accepted_bars(replace(new_context("run", step=as_task), now=NOW), gone)

    with pytest.raises(NothingUsableError, match=r"GONE: unknown ticker .*; \.\./x: found '\.\./x' as a ticker"):
        loading()


def test_a_failed_run_is_closed_in_mlflow_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    short = Experiment(source=SyntheticSource(process="random_walk", sessions=150, tickers=1), device="cpu")
    with pytest.raises(NothingUsableError, match="history is too short for one fold"):
        build_flows(KeptProgress(), PREFECT).run(short)
    client = MlflowClient(tracking_uri=Settings().mlflow_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tapecast").experiment_id])
    assert run.info.status == "FAILED"
    assert "history is too short" in run.data.tags["tapecast.error"]


def test_learned_classes_are_recorded_and_a_forecaster_that_cannot_be_scored_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither package nor weights of the pretrained forecaster are there, and neither is looked for."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    network = RecurrentSpec.model_validate({"hidden_size": 6, "head": {"kind": "direction"}})
    late = PretrainedSpec(weights=tmp_path / "none", trained_until=date(2999, 1, 1))
    source = SyntheticSource(process="random_walk", sessions=620, tickers=2)
    progress = KeptProgress()
    experiment = changed(TINY, source=source, network=network, benchmarks=(HarSpec(), late))
    result = build_flows(progress, PREFECT).run(experiment, publish=True)
    assert result.status == "ok"
    (summary,) = result.calendars
    assert summary.backtest is not None
    assert {*summary.backtest.scores["1"]} >= {"network", "har"}
    assert "pretrained" not in summary.backtest.scores["1"]
    (reported,) = [message for message in progress.messages if "could not be scored" in message]
    assert "may reach to 2999-01-01" in reported
    assert reported in result.warnings
    page = read_page(Path(summary.report).read_text())
    assert reported in page.text
    assert len(page.by_id("direction").all("tbody")[0].all("tr")) == 2
    run = MlflowClient(tracking_uri=Settings().mlflow_uri).get_run(summary.mlflow_run_id)
    assert reported in run.data.tags["mlflow.note.content"]
    names = ("log_loss", "log_loss_frequencies", "brier", "brier_frequencies", "dm_p")
    assert {f"h{h}/direction/{name}" for h in (1, 2) for name in names} <= run.data.metrics.keys()
    assert 0.5 < run.data.metrics["h1/direction/log_loss_frequencies"] < 1.2
    assert "tapecast.error" not in run.data.tags
    again = build_flows(progress, PREFECT).forecast()
    assert again.status == "ok", "the model was published without the forecaster that could not be scored"


@pytest.mark.slow
def test_a_run_publishes_its_model_only_where_that_is_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    source = SyntheticSource(process="random_walk", sessions=620, tickers=2)
    experiment, other = changed(TINY, source=source), changed(TINY, source=source, seed=7)
    progress, models = KeptProgress(), tmp_path / "models"
    flows = build_flows(progress, PREFECT)
    assert flows.run(experiment).forecasts
    assert not models.exists()
    with pytest.raises(UsageError, match="run `tapecast run --publish` first"):
        flows.forecast()
    published = flows.run(experiment, publish=True)
    assert "Published as version 1 of model synthetic. There was no champion before." in progress.messages
    assert flows.run(other).forecasts != published.forecasts
    assert [it.number for it in versions(models, SYNTHETIC)] == [1]
    assert flows.forecast().forecasts == published.forecasts
    replaced = flows.run(other, publish=True)
    assert read_aliases(models / SYNTHETIC) == Aliases(champion=2, previous=1)
    assert flows.forecast().forecasts == replaced.forecasts
    rollback(models, SYNTHETIC)
    assert flows.forecast().forecasts == published.forecasts
    flows.run(other, publish=True, model="mine")
    assert model_names(models) == ("mine", SYNTHETIC)
    assert flows.forecast().forecasts == published.forecasts
    assert flows.forecast(model="mine").forecasts == replaced.forecasts
    with pytest.raises(UsageError, match="found the name daily for a model of synthetic prices, expected synthetic"):
        flows.run(other, publish=True, model=DAILY)


def test_a_sine_that_is_not_learned_fails_the_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    lazy = TrainingSpec(min_steps=1, max_steps=1, batch_chunks=1)
    source = SyntheticSource(process="sine", sessions=620, tickers=2)
    experiment = sine_experiment(0, Experiment()).model_copy(update={"training": lazy, "source": source, "workers": 1})

    @flow
    def untrained() -> None:
        plan = RunPlan(live=False, check=lambda result: refuse_missed_mark(measured(result)))
        run(new_context("sine", None, KeptProgress(), as_task), experiment, plan)

    with pytest.raises(SanityError, match="do not trust"):
        untrained()
    client = MlflowClient(tracking_uri=Settings().mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("tapecast").experiment_id])
    (parent,) = [one for one in runs if "mlflow.parentRunId" not in one.data.tags]
    assert parent.info.status == "FAILED"
    assert "do not trust" in parent.data.tags["tapecast.error"]


@pytest.mark.slow
def test_the_sine_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    result = build_flows(KeptProgress(), PREFECT).sine(0)
    assert result.status == "ok"
    backtest = result.calendars[0].backtest
    assert backtest is not None
    assert backtest.scores["1"]["network"]["rmse_return"] < 0.011
    assert backtest.scores["1"]["linear"]["rmse_return"] > 0.0125
    assert result.verdict is not None
    assert result.verdict.startswith("Sine check:")
