"""Runs on the price store: imported, restated, and run again as it was known before."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from flows.cli.experiment_file import read_experiment
from flows.definitions import build_flows
from flows.prefect_engine import PREFECT
from pipeline.dataset.folds import FoldSpec
from pipeline.errors import NothingUsableError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.specification import FilesSource, StoredSource, known_at
from pipeline.settings import Settings
from pipeline.workflow.ingest import IngestResult
from pipeline.workflow.progress import NoProgress

from .command import small_experiment
from .test_cli import write_bars

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(300),
    # mlflow's own business with pandas 4, when it writes a table
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]


@dataclass(frozen=True)
class Setup:
    """A collection of its own for each test, and a small experiment on it."""

    folder: Path
    collection: str
    experiment: Experiment

    def imports(self, frame: pd.DataFrame) -> IngestResult:
        """What the flow ingest makes of a frame as a CSV file."""
        path = self.folder / "bars.csv"
        frame.to_csv(path, index=False)
        return build_flows(NoProgress(), PREFECT).ingest(source=FilesSource(path=path), collection=self.collection)

    def known(self, at: datetime) -> Experiment:
        """The experiment on what was known at an instant."""
        return self.experiment.model_copy(update={"source": known_at(self.experiment.source, at)})


@pytest.fixture
def setup(tmp_path: Path, home: Path) -> Setup:
    source = StoredSource(collection=f"c{len(list(home.rglob('collection.json')))}")
    small = read_experiment(small_experiment(tmp_path), {})
    experiment = small.model_copy(update={"workers": 1, "source": source})
    return Setup(tmp_path, source.collection, experiment)


def restated(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with other prices of one ticker in its early sessions."""
    early = (frame["ticker"] == "AAA") & (frame["date"] < frame["date"].quantile(0.25))  # within the train range
    prices = ["open", "high", "low", "close"]
    return frame.assign(**{name: frame[name].where(~early, frame[name] * 1.01) for name in prices})


@pytest.mark.slow
def test_a_run_as_known_is_the_run_of_that_time(setup: Setup, tmp_path: Path) -> None:
    frame = write_bars(tmp_path / "made.csv", AAA=620, BBB=620)
    first = setup.imports(frame)
    assert (first.status, first.states) == ("ok", {"updated": 2})
    flows = build_flows(NoProgress(), PREFECT)
    then = flows.run(setup.experiment)
    at = datetime.fromisoformat(str(then.calendars[0].known_at))
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))  # what is imported next is known later

    second = setup.imports(restated(frame))
    assert second.states == {"restated": 1, "updated": 1}
    now = flows.run(setup.experiment, publish=True)
    assert now.forecasts != then.forecasts

    again = flows.run(setup.known(at))
    assert again.forecasts == then.forecasts
    assert again.calendars[0].backtest is not None
    assert then.calendars[0].backtest is not None
    assert again.calendars[0].backtest.scores == then.calendars[0].backtest.scores
    assert "As known on" in again.calendars[0].note

    with pytest.raises(UsageError, match="use `tapecast run --as-known`"):
        flows.forecast(as_known=datetime(2023, 6, 1, tzinfo=UTC))


def test_before_the_first_fetch_nothing_is_known(setup: Setup, tmp_path: Path) -> None:
    setup.imports(write_bars(tmp_path / "made.csv", AAA=620))
    with pytest.raises(NothingUsableError, match="the store knows it from"):
        build_flows(NoProgress(), PREFECT).backtest(setup.known(datetime(2024, 1, 2, tzinfo=UTC)))


def test_a_file_that_breaks_a_rule_is_reported_and_kept(setup: Setup, tmp_path: Path) -> None:
    frame = write_bars(tmp_path / "made.csv", AAA=620, BBB=620)
    frame.loc[(frame["ticker"] == "BBB") & (frame["date"] == frame["date"].max()), "low"] = -1.0
    result = setup.imports(frame)
    found = result.validation[result.validation["status"] != "clean"]
    assert list(found["ticker"]) == ["BBB"]
    assert list(found["severity"]) == ["rows quarantined"]
    assert result.status == "ok"  # the quarantined row is reported, and the ticker is kept
    assert [ticker for ticker in result.validation["ticker"] if ticker == "AAA"] == ["AAA"]
    summary = build_flows(NoProgress(), PREFECT).backtest(setup.experiment)
    assert (summary.status, [one["ticker"] for one in summary.stale]) == ("partial", ["BBB"])


def test_nothing_is_imported_from_a_file_without_prices(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text("nonsense\n1\n")
    with pytest.raises(UsageError, match="found no column"):
        build_flows(NoProgress(), PREFECT).ingest(
            source=FilesSource(path=tmp_path / "bars.csv"), collection=setup.collection
        )
    assert not (Settings().prices / setup.collection).exists()


@pytest.mark.slow
def test_a_universe_with_membership_dates_forecasts_its_members_alone(setup: Setup, tmp_path: Path) -> None:
    setup.imports(write_bars(tmp_path / "made.csv", AAA=620, BBB=620, CCC=620))
    members = tmp_path / "members.csv"
    members.write_text("ticker,member_from,member_until\nAAA,2022-01-03,2024-06-28\nBBB,,\n")
    flows = build_flows(NoProgress(), PREFECT)
    dated = flows.run(setup.experiment.model_copy(update={"universe": members}), publish=True)
    assert {row["ticker"] for row in dated.forecasts} == {"BBB"}
    ((out, reason),) = [(one["ticker"], one["reason"]) for one in dated.excluded]
    assert (out, "membership dates exclude it from the universe" in reason) == ("AAA", True)
    assert (dated.status, dated.warnings) == ("partial", [])
    again = flows.forecast()
    assert again.forecasts == dated.forecasts
    assert [one["ticker"] for one in again.excluded] == ["AAA"]
    assert {row["ticker"] for row in flows.forecast(("BBB", "CCC")).forecasts} == {"BBB", "CCC"}
    listed = tmp_path / "list.txt"
    listed.write_text("AAA\nBBB\n")
    longer = FoldSpec(minimum_train_sessions=100, validation_months=3)  # a test of more than a year
    plain = flows.run(setup.experiment.model_copy(update={"universe": listed, "folds": longer}))
    assert {row["ticker"] for row in plain.forecasts} == {"AAA", "BBB"}
    assert "(survivorship)" in plain.warnings[0]
