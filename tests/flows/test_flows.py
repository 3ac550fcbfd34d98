"""The flows in this process, on a real temporary Prefect server: failures, retries, and what is recorded of them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from prefect import flow

from flows.job import new_job, train_and_forecast
from flows.loading import fetch_all, load_bars
from flows.main import build_flows
from flows.sine import refuse_missed_mark, sine_experiment
from pipeline.errors import NothingUsableError, SanityError, SourceError, SourceUnavailableError
from pipeline.experiment import Experiment
from pipeline.market.source import open_source
from pipeline.market.specification import SyntheticSource
from pipeline.settings import Settings
from pipeline.training.jobs import FitResult
from pipeline.training.specification import TrainingSpec

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.xdist_group("prefect"),
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


@dataclass
class Remote:
    """A remote source that fails for some tickers: always, never again after some attempts, or by our own fault."""

    price_basis: str = "as_traded"
    has_actions: bool = False
    returns_from: str = "adj_close"
    remote: bool = True
    note: str = "A source made for a test."
    attempts: Counter[str] = field(default_factory=Counter)

    def tickers(self) -> tuple[str, ...]:
        return ()

    def rows(self, ticker: str) -> pd.DataFrame:
        self.attempts[ticker] += 1
        if ticker == "GONE":
            raise SourceError("no such ticker")
        if ticker == "BUSY" and self.attempts[ticker] < 3:
            raise SourceUnavailableError("too many requests")
        if ticker == "DOWN":
            raise SourceUnavailableError("no answer")
        if ticker == "BROKEN":
            raise ZeroDivisionError("a fault of ours")
        source = open_source(SyntheticSource(process="random_walk", sessions=300, tickers=1))
        return source.rows(source.tickers()[0])


def test_one_bad_ticker_stops_nothing_and_only_the_network_is_retried() -> None:
    source = Remote()

    @flow
    def fetching() -> dict[str, pd.DataFrame | SourceError]:
        return fetch_all(source, ("GOOD", "BUSY", "GONE", "DOWN"), backoff_seconds=0.01)

    found = fetching()
    assert {ticker: type(rows) for ticker, rows in found.items()} == {
        "GOOD": pd.DataFrame, "BUSY": pd.DataFrame, "GONE": SourceError, "DOWN": SourceUnavailableError,
    }  # fmt: skip
    assert source.attempts == {"GOOD": 1, "BUSY": 3, "GONE": 1, "DOWN": 4}


def test_a_fault_of_ours_is_no_bad_ticker() -> None:
    @flow
    def fetching() -> None:
        fetch_all(Remote(), ("GOOD", "BROKEN"), backoff_seconds=0.01)

    with pytest.raises(ZeroDivisionError):
        fetching()


def test_nothing_left_names_every_reason() -> None:
    @flow
    def loading() -> None:
        load_bars(Remote(), Experiment(), ("GONE",), NOW)

    with pytest.raises(NothingUsableError, match="GONE: no such ticker"):
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


def test_a_sine_that_is_not_learned_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    lazy = TrainingSpec(fewest_steps=1, most_steps=1, batch_chunks=1)
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
