"""A run on noise with abstention, correction, costs and the count of trials, through the real command line."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.specification import MoneySpec
from pipeline.forecasting.forecasts import DEFAULT_FORECASTERS
from pipeline.tracking.environment import MLFLOW_DEFAULTS

from .command import Command

os.environ.update(MLFLOW_DEFAULTS)  # read while mlflow is imported
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # mlflow uses what pandas 3 will drop; nothing of ours is meant
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes"),
]

MONEY = MoneySpec(commission_bps=7.0, slippage_bps=2.5)
EXPERIMENT_TOML = """
seeds = 1
seed = {seed}
horizons = 2
workers = 1
device = "cpu"
abstain = "pooled"

[source]
kind = "synthetic"
process = "random_walk"
sessions = 620
tickers = 3

[network]
hidden_size = 4
head = {{ kind = "point" }}

[training]
min_steps = 4
max_steps = 8
batch_chunks = 4

[folds]
train_end = 2023-12-29
valid_end = 2024-05-31

[calibration]
method = "adaptive"

[money]
commission_bps = 7
slippage_bps = 2.5
"""
QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")


@dataclass(frozen=True)
class Reported:
    """What the command printed, and what it recorded in MLflow."""

    json: dict[str, Any]
    client: MlflowClient
    folder: Path

    @property
    def run(self) -> Run:
        return self.client.get_run(self.json["mlflow_run_id"])

    def table(self, name: str) -> pd.DataFrame:
        path = self.client.download_artifacts(self.json["mlflow_run_id"], f"tables/{name}.json", str(self.folder))
        return pd.read_json(path, orient="split", dtype=False)

    def against(self, horizon: int) -> pd.DataFrame:
        """The pooled comparisons of the model, by baseline."""
        comparisons = self.table("comparisons")
        rows = (
            (comparisons["forecaster"] == self.json["model"])
            & (comparisons["ticker"] == POOLED)
            & (comparisons["horizon"] == horizon)
        )
        return comparisons[rows].set_index("baseline")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reported]:
    """A run, another with one more seed tried, and a forecast by the latter: three commands in a home of their own."""
    tapecast = Command(tmp_path_factory.mktemp("home"))
    found = {}
    for name, seed in (("first", 0), ("second", 1)):
        path = tmp_path_factory.mktemp("experiment") / "experiment.toml"
        path.write_text(EXPERIMENT_TOML.format(seed=seed))
        found[name] = tapecast.json("run", "--experiment", path, "--publish")
    found["forecast"] = tapecast.json("forecast")
    assert [status for status, _ in found.values()] == [0, 0, 0], [values.get("error") for _, values in found.values()]
    client = MlflowClient(tracking_uri=f"sqlite:///{tapecast.home / 'mlflow' / 'mlflow.db'}")
    return {name: Reported(values, client, tmp_path_factory.mktemp(name)) for name, (_, values) in found.items()}


def test_a_network_without_skill_is_not_published(reported: dict[str, Reported]) -> None:
    for values in (reported["first"].json, reported["second"].json):
        shown = values["publication"]["pooled"]
        assert set(shown) == {"1", "2"}
        assert set(shown.values()) <= {*BASELINE_KINDS}
        assert values["publication"]["model"] == values["model"] == "calibrated"
        rows = [(row["ticker"], str(row["horizon"]), row["forecaster"]) for row in values["forecasts"]]
        assert len(rows) == 3 * 2
        assert {(horizon, name) for _, horizon, name in rows} == {*shown.items()}
        sentences = " ".join(values["instead"])
        assert all(f"Baseline {name} is shown" in sentences for name in shown.values())


def test_the_baseline_shown_is_the_one_with_the_smallest_loss(reported: dict[str, Reported]) -> None:
    for horizon, name in reported["first"].json["publication"]["pooled"].items():
        scores = reported["first"].json["scores"][horizon]
        assert name == min(BASELINE_KINDS, key=lambda one, scores=scores: float(scores[one]["pinball"]))


def test_mlflow_says_where_it_abstained_and_what_the_median_is(reported: dict[str, Reported]) -> None:
    for run in (reported["first"], reported["second"]):
        tags = run.run.data.tags
        assert tags["tapecast.baseline_substitutions"] == "h1 h2"
        assert tags["tapecast.echo"] == run.json["echo"]
        # A point head claims accuracy in levels: its echo cannot be that it claims nothing.
        assert run.json["echo"] != "no claim"
        echoes = run.table("echoes").set_index("forecaster")
        assert echoes["claims"][["network", "calibrated"]].all()
        assert tags["tapecast.echo"] == echoes.loc["calibrated", "name"]


def test_the_second_specification_on_the_same_prices_is_judged_as_the_second(reported: dict[str, Reported]) -> None:
    assert reported["first"].json["trials"]["tested"] == 1
    assert reported["second"].json["trials"]["tested"] == 2
    for name, factor in (("first", 1), ("second", 2)):
        run = reported[name]
        metrics, rows = run.run.data.metrics, run.against(1)
        assert run.run.data.tags["tapecast.tested_specifications"] == str(factor)
        assert set(rows.index) == {*DEFAULT_FORECASTERS} >= {*BASELINE_KINDS}
        for baseline, row in rows.iterrows():
            wanted = pytest.approx(min(1.0, factor * row["p"]))
            assert row["p_adjusted"] == wanted
            assert metrics[f"h1/dm_p/{baseline}"] == wanted
            assert run.json["dm_p"]["1"][baseline] == wanted
    raised = reported["second"].against(1)
    assert (raised["p_adjusted"] > raised["p"]).any()


def test_the_experiments_costs_reach_the_simulation(reported: dict[str, Reported]) -> None:
    page = Path(reported["first"].json["report"]).read_text("utf-8")
    assert f"costs {10_000 * MONEY.cost_share:g} bps" in page
    money = reported["first"].table("money")
    traded = money[money["turnover_per_year"] > 0]
    assert len(traded)
    cheap = f"costs {10_000 * MoneySpec().cost_share:g} bps"
    assert cheap not in page


def test_the_correction_changes_the_networks_bands(reported: dict[str, Reported]) -> None:
    for horizon in ("1", "2"):
        scores = reported["first"].json["scores"][horizon]
        assert scores["calibrated"]["pinball"] != scores["network"]["pinball"]
        assert scores["calibrated"]["winkler_80"] != scores["network"]["winkler_80"]


def test_a_forecast_afterwards_shows_what_the_run_showed(reported: dict[str, Reported]) -> None:
    run, after = reported["second"].json, reported["forecast"].json
    assert after["publication"] == run["publication"]
    assert after["instead"] == run["instead"]
    assert len(after["forecasts"]) == len(run["forecasts"]) == 3 * 2
    for mine, theirs in zip(after["forecasts"], run["forecasts"], strict=True):
        assert {key: mine[key] for key in ("ticker", "horizon", "forecaster", "as_of", "target_session")} == {
            key: theirs[key] for key in ("ticker", "horizon", "forecaster", "as_of", "target_session")
        }
        assert [mine[name] for name in QUANTILES] == pytest.approx([theirs[name] for name in QUANTILES], rel=1e-6)


def test_a_forecast_afterwards_is_corrected_as_in_the_run(reported: dict[str, Reported]) -> None:
    """The bands that are not published are the run's too: those of the network with its correction among them."""
    keys = ["forecaster", "ticker", "horizon"]
    tables = [reported[name].table("unpublished_forecasts") for name in ("second", "forecast")]
    run, after = (table.set_index(keys).sort_index() for table in tables)
    assert {"network", "calibrated"} <= set(run.index.get_level_values("forecaster"))
    assert run.index.equals(after.index)
    columns = list(QUANTILES)
    assert after[columns].to_numpy() == pytest.approx(run[columns].to_numpy(), rel=1e-6)
    corrected, plain = (run.loc[name, columns].to_numpy() for name in ("calibrated", "network"))
    assert abs(corrected - plain).max() > 1e-4
