"""The flows in this process, on a real temporary Prefect server: failures, retries, and what is recorded of them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from flows.main import build_flows
from flows.tasks import as_task
from mlflow.tracking import MlflowClient
from prefect import flow

from pipeline.errors import NothingUsableError, SanityError, SourceError
from pipeline.experiment import Experiment
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.pretrained import PretrainedSpec
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.market.bars import FetchedRows
from pipeline.market.specification import YAHOO, SyntheticSource
from pipeline.market.store.collection import open_collection
from pipeline.market.update import YAHOO_TERMS, plan_update
from pipeline.settings import Settings
from pipeline.training.jobs import FitResult
from pipeline.workflow.context import new_job
from pipeline.workflow.loading import ask, load_bars
from pipeline.workflow.run import train_and_forecast
from pipeline.workflow.sine import refuse_missed_mark, sine_experiment
from tests.panels import TINY, changed
from tests.reporting.html_pages import read_page

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(300),
    # mlflow's own business with pandas 4, when it writes a table
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]

NOW = datetime(2025, 1, 2, tzinfo=UTC)


class Silent:
    """A watch that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begins(self, stage: str) -> None:
        self.said.append(stage)

    def ends(self, stage: str, seconds: float) -> None: ...

    def fitted(self, result: FitResult, done: int, total: int) -> None: ...

    def says(self, text: str) -> None:
        self.said.append(text)


class Broken:
    """A remote source with a fault of ours."""

    def fetch(self, asked: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        yield next(iter(asked)), SourceError("no such ticker")
        raise ZeroDivisionError("a fault of ours")


def test_a_fault_of_ours_is_no_bad_ticker(tmp_path: Path) -> None:
    collection = open_collection(tmp_path, YAHOO, YAHOO_TERMS)
    plan = plan_update(collection, ("AAA", "BBB"), NOW, date(2024, 1, 2))

    @flow
    def asking() -> None:
        as_task(ask, "ask")(collection, Broken(), plan)

    with pytest.raises(ZeroDivisionError):
        asking()


def test_nothing_left_names_every_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    gone = Experiment(source=SyntheticSource(process="random_walk", tickers=1), tickers=("GONE", "../x"))

    @flow
    def loading() -> None:
        load_bars(Settings(), gone, NOW)

    with pytest.raises(NothingUsableError, match=r"GONE: unknown ticker .*; \.\./x: found '\.\./x' as a ticker"):
        loading()


def test_a_failed_run_is_closed_in_mlflow_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    short = Experiment(source=SyntheticSource(process="random_walk", sessions=150, tickers=1), device="cpu")
    with pytest.raises(NothingUsableError, match="history is too short for one fold"):
        build_flows(Silent()).run(short)
    client = MlflowClient(tracking_uri=Settings().mlflow_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tapecast").experiment_id])
    assert run.info.status == "FAILED"
    assert "history is too short" in run.data.tags["tapecast.error"]


def test_learned_classes_are_recorded_and_a_rival_that_cannot_be_scored_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither package nor weights of the rival are there: it is not even looked for."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    network = RecurrentSpec.model_validate({"hidden_size": 6, "head": {"kind": "direction"}})
    late = PretrainedSpec(weights=tmp_path / "none", trained_until=date(2999, 1, 1))
    source = SyntheticSource(process="random_walk", sessions=620, tickers=2)
    watch = Silent()
    summary = build_flows(watch).run(changed(TINY, source=source, network=network, benchmarks=(HarSpec(), late)))
    assert summary.status == "ok"
    assert {*summary.scores["1"]} >= {"network", "har"}
    assert "pretrained" not in summary.scores["1"]
    (told,) = [said for said in watch.said if "could not be scored" in said]
    assert "may reach to 2999-01-01" in told
    assert told in summary.warnings
    assert summary.report is not None
    page = read_page(Path(summary.report).read_text())
    assert told in page.text
    assert len(page.by_id("direction").all("tbody")[0].all("tr")) == 2
    run = MlflowClient(tracking_uri=Settings().mlflow_uri).get_run(str(summary.mlflow_run_id))
    assert told in run.data.tags["mlflow.note.content"]
    names = ("log_loss", "log_loss_frequencies", "brier", "brier_frequencies", "dm_p")
    assert {f"h{h}/direction/{name}" for h in (1, 2) for name in names} <= run.data.metrics.keys()
    assert 0.5 < run.data.metrics["h1/direction/log_loss_frequencies"] < 1.2
    assert "tapecast.error" not in run.data.tags
    again = build_flows(watch).forecast()
    assert again.status == "ok", "the model was published without the rival"


def test_a_sine_that_is_not_learned_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    lazy = TrainingSpec(min_steps=1, max_steps=1, batch_chunks=1)
    source = SyntheticSource(process="sine", sessions=620, tickers=2)
    experiment = sine_experiment(0, Experiment()).model_copy(update={"training": lazy, "source": source, "workers": 1})

    @flow
    def untrained() -> None:
        train_and_forecast(new_job("sine", None, Silent()), experiment, live=False, check=refuse_missed_mark)

    with pytest.raises(SanityError, match="do not trust"):
        untrained()
    client = MlflowClient(tracking_uri=Settings().mlflow_uri)
    runs = client.search_runs([client.get_experiment_by_name("tapecast").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FAILED"
    assert "do not trust" in parent.data.tags["tapecast.error"]


@pytest.mark.slow
def test_the_sine_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    watch = Silent()
    summary = build_flows(watch).sine(0)
    assert summary.status == "ok"
    assert summary.scores["1"]["network"]["rmse_return"] < 0.011
    assert summary.scores["1"]["linear"]["rmse_return"] > 0.0125
    assert summary.verdict is not None
    assert summary.verdict.startswith("Sine check:")
