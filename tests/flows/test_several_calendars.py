"""A universe over several exchanges: a panel, fits, a report and a record per calendar, one result in the end."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from flows.cli.experiment_file import read_experiment
from flows.definitions import build_flows
from flows.prefect_engine import PREFECT
from pipeline.experiment import Experiment
from pipeline.market.calendars import sessions_between
from pipeline.market.specification import FilesSource
from pipeline.operation.model import DAILY
from pipeline.settings import Settings
from pipeline.workflow.progress import NoProgress

from .command import small_experiment

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(300),
    # mlflow's own business with pandas 4, when it writes a table
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]

LAST = {"XNYS": "2024-11-27", "XBOM": "2024-10-30", "24/7": "2024-11-27"}
"""Before Thanksgiving and before Diwali, whose special session of one hour was on Friday 2024-11-01."""

TICKERS = {"AAA": "XNYS", "BBB": "XNYS", "INFY.NS": "XBOM", "TCS.BO": "XBOM", "BTC-USD": "24/7"}


def random_bars(calendar: str, seed: int, count: int) -> pd.DataFrame:
    """A plain random walk on the last sessions of a calendar."""
    draws = np.random.default_rng(seed)
    sessions = sessions_between(calendar, np.datetime64("2010-01-04"), np.datetime64(LAST[calendar]))[-count:]
    close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, count)))
    spread = np.exp(np.abs(draws.normal(0, 0.004, (2, count))))
    return pd.DataFrame(
        {
            "date": sessions.astype("datetime64[s]"),
            "open": close,
            "high": close * spread[0],
            "low": close / spread[1],
            "close": close,
            "volume": draws.integers(1_000, 9_000, count),
        }
    )


def write_mixed(folder: Path, **short: int) -> Path:
    """Write the bars of all tickers into one file; some may have few sessions."""
    frames = [
        random_bars(calendar, seed, short.get(calendar.replace("/", "_"), 520)).assign(ticker=ticker)
        for seed, (ticker, calendar) in enumerate(TICKERS.items())
    ]
    path = folder / "mixed.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


@pytest.fixture
def experiment(tmp_path: Path, home: Path) -> Experiment:
    small = read_experiment(small_experiment(tmp_path), {"source": {"kind": "files", "path": write_mixed(tmp_path)}})
    features = (*small.features, "cross_market_return")
    return small.model_copy(update={"workers": 1, "features": features})


@pytest.mark.slow
def test_every_calendar_has_its_own_part_of_the_run(experiment: Experiment, tmp_path: Path) -> None:
    flows = build_flows(NoProgress(), PREFECT)
    summary = flows.run(experiment, tmp_path / "out", publish=True)
    assert (summary.status, summary.excluded) == ("ok", [])
    assert [calendar.calendar for calendar in summary.calendars] == ["XBOM", "XNYS", "24/7"]
    first = {row["ticker"]: row["target_session"] for row in summary.forecasts or [] if row["horizon"] == 1}
    assert first == {
        "AAA": "2024-11-29",  # Thursday is Thanksgiving
        "BBB": "2024-11-29",
        "INFY.NS": "2024-10-31",
        "TCS.BO": "2024-10-31",
        "BTC-USD": "2024-11-28",
    }
    second = {row["ticker"]: row["target_session"] for row in summary.forecasts or [] if row["horizon"] == 2}
    assert second["INFY.NS"] == "2024-11-01"  # Diwali: no session in the library's calendar
    reports = [Path(str(calendar.report)) for calendar in summary.calendars]
    assert len(set(reports)) == 3
    assert all(path.is_file() for path in reports)
    assert {path.parent.name for path in reports} == {"XBOM", "XNYS", "24-7"}
    assert summary.as_json()["calendars"][1]["scores"]["1"]["network"]["pinball"] > 0
    _check_the_record(summary.calendars[0].mlflow_run_id)
    _check_forecasts_from_it(flows, experiment, first)


def _check_the_record(child: str | None) -> None:
    client = MlflowClient(tracking_uri=Settings().mlflow_uri)
    parent = client.get_run(client.get_run(str(child)).data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["tapecast.calendar"] == "XBOM XNYS 24/7"
    assert "**XNYS**" in parent.data.tags["mlflow.note.content"]


def _check_forecasts_from_it(flows: object, experiment: Experiment, first: dict[str, str]) -> None:
    forecast = flows.forecast  # type: ignore[attr-defined]
    again = forecast()
    assert {row["ticker"]: row["target_session"] for row in again.forecasts if row["horizon"] == 1} == first
    some = forecast(("TCS.BO",))
    assert len(some.calendars) == 1
    assert {row["ticker"] for row in some.forecasts} == {"TCS.BO"}
    whole = [row for row in again.forecasts if row["ticker"] == "TCS.BO"]
    assert some.forecasts == whole


def test_a_calendar_that_is_too_short_stops_no_other(experiment: Experiment, tmp_path: Path) -> None:
    source = FilesSource(path=write_mixed(tmp_path, XBOM=130))
    summary = build_flows(NoProgress(), PREFECT).backtest(experiment.model_copy(update={"source": source}))
    assert summary.status == "partial"
    assert [calendar.calendar for calendar in summary.calendars] == ["XNYS", "24/7"]
    assert {out["ticker"] for out in summary.excluded} == {"INFY.NS", "TCS.BO"}
    assert all("too short" in out["reason"] for out in summary.excluded)


def test_a_forecast_of_a_calendar_without_a_model_says_so(experiment: Experiment, tmp_path: Path) -> None:
    shutil.rmtree(Settings().models / DAILY, ignore_errors=True)  # another test published every calendar
    flows = build_flows(NoProgress(), PREFECT)
    flows.run(
        experiment.model_copy(update={"tickers": ("AAA", "BBB"), "features": experiment.features[:-1]}), publish=True
    )
    found = flows.forecast(("AAA", "BTC-USD"))
    assert found.status == "partial"
    assert {row["ticker"] for row in found.forecasts or []} == {"AAA"}
    (out,) = found.excluded
    assert (out["ticker"], "no model is published for calendar 24/7" in out["reason"]) == ("BTC-USD", True)
