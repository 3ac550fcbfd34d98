"""A run of every default forecaster: combined, calibrated and published, with bad ones among them."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import FitError
from pipeline.experiment import Experiment
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.ridge import RidgeSpec
from pipeline.market.specification import SyntheticSource
from pipeline.operation.model_versions import read_version
from pipeline.settings import Settings
from pipeline.training.jobs import FitResult
from pipeline.workflow.publishing import PublishPlan
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import new_context, unwrapped
from pipeline.workflow.summaries import result_of
from tests.panels import TINY, changed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

F = TypeVar("F", bound=Callable[..., Any])
MEMBERS = ("network", "climatology", "ewma", "linear", "garch", "har", "ridge")
EXPERIMENT = changed(
    TINY,
    source=SyntheticSource(process="random_walk", sessions=620, tickers=3),
    benchmarks=(GarchSpec(), HarSpec(), RidgeSpec()),
    workers=2,
)


def with_fits(change: Callable[[FitResult], FitResult]) -> Callable[[F, str], F]:
    """A step that changes the results of the fits, as a fault of a forecaster would."""

    def step(function: F, name: str) -> F:
        if name != "fit":
            return unwrapped(function, name)
        return lambda *values: [change(result) for result in function(*values)]  # type: ignore[return-value]

    return step


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPECAST_HOME", str(tmp_path_factory.mktemp("home")))
        yield Settings()


def result_with(change: Callable[[FitResult], FitResult], experiment: Experiment = EXPERIMENT) -> Any:
    context = new_context("run", step=with_fits(change))
    return run(context, experiment, RunPlan(publish_as=PublishPlan("planted")))


def same(result: FitResult) -> FitResult:
    return result


@pytest.fixture(scope="module")
def whole(home: Settings) -> Any:
    return result_with(same)


def test_what_is_published_is_the_calibrated_combination_of_every_default_forecaster(whole: Any) -> None:
    evaluation = whole.results[0].result.evaluation
    assert evaluation.backtest.weights.members == MEMBERS
    assert evaluation.verdict.model == "calibrated"
    (summary,) = result_of(whole).calendars
    assert {row["forecaster"] for row in summary.forecasts} == {"calibrated"}
    assert {"network", "combined", "calibrated", "last_close", "drift", *MEMBERS} == set(summary.backtest.scores["1"])
    assert set(summary.backtest.skill["1"]) == {"last_close", "drift", *MEMBERS}
    assert [it["horizon"] for it in summary.backtest.network_adds] == [1, 2]
    for shares in summary.backtest.weights.values():
        assert set(shares) == set(MEMBERS)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert len(summary.shares) == 2
    assert summary.shares[1].startswith("Of the 2-session band, ")
    json.dumps(summary.as_json())


def test_every_bit_is_the_same_with_one_worker(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))  # where no fit is cached
    alone = run(new_context("backtest"), changed(EXPERIMENT, workers=1), RunPlan(live=False))
    one, two = (it.results[0].result.evaluation.backtest for it in (alone, whole))
    assert list(one.quantiles) == list(two.quantiles)
    for name, values in one.quantiles.items():
        assert values.tobytes() == two.quantiles[name].tobytes(), name
    assert one.weights.by_session.tobytes() == two.weights.by_session.tobytes()


def test_the_second_sentence_of_the_verdict_is_what_the_network_adds(whole: Any) -> None:
    sentence = whole.results[0].result.evaluation.verdict.sentence
    first, second = (sentence.index(text) for text in ("its pinball loss is", "without it the loss would be"))
    assert first < second < sentence.index("Of the other forecasters")
    assert sentence.count(". ", 0, second) == 1  # no other sentence is between


def test_the_page_has_the_weights_over_time_and_what_the_bands_come_from(whole: Any) -> None:
    page = whole.results[0].report.read_text()
    assert "What is the combination made of?" in page
    assert "Share of every forecaster in the band over the test" in page
    for member in MEMBERS:
        assert f">{member}</th>" in page
    assert page.count("Of the 2-session band") == 2  # of the forecast, and on the mean of the test


def test_weights_are_stored_with_the_record_and_the_state_with_the_version(whole: Any, home: Settings) -> None:
    version = read_version(home.models, "planted")
    state = version.models["XNYS"].state
    assert state is not None
    backtest = whole.results[0].result.evaluation.backtest
    assert state.session == backtest.sessions[-1]
    assert state.combination.forecasters == MEMBERS
    assert version.models["XNYS"].publication.model == "calibrated"
    (path,) = home.root.rglob("backtest/weights.parquet")
    weights = pd.read_parquet(path)
    assert len(weights) == len(backtest.sessions) * 2 * len(MEMBERS)
    of_first = weights[(weights["as_of"] == weights["as_of"].min()) & (weights["horizon"] == 1)]
    assert of_first["w50"].sum() == pytest.approx(1, abs=1e-5)
    assert set(weights["forecaster"]) == set(MEMBERS)


def test_a_benchmark_that_cannot_be_fitted_is_left_out_and_said(whole: Any) -> None:
    def without_garch(result: FitResult) -> FitResult:
        if result.job.forecaster.kind != "garch":
            return result
        return FitResult(result.job, None, "found nothing to learn from", refused=True)

    recorded = result_with(without_garch)
    result = recorded.results[0].result
    assert "garch" not in result.evaluation.backtest.quantiles
    assert result.evaluation.backtest.weights.members == tuple(name for name in MEMBERS if name != "garch")
    said = [text for text in result.warnings if "garch" in text]
    assert [text.split(", is left out")[0] for text in said] == [
        f"The benchmark garch could not be fitted on fold {fold.name}" for fold in result.folds
    ]
    assert all(text.endswith("found nothing to learn from") for text in said)
    assert [spec.kind for spec in result.experiment.benchmarks] == ["har", "ridge"]
    assert recorded.results[0].trained.left_out == ("garch",)


@pytest.mark.parametrize(
    ("kind", "refused", "expected"), [("linear", True, "linear, fold"), ("garch", False, "garch, fold")]
)
def test_no_baseline_is_left_out_nor_a_benchmark_that_failed_otherwise(
    kind: str, refused: bool, expected: str, home: Settings
) -> None:
    def failing(result: FitResult) -> FitResult:
        return result if result.job.forecaster.kind != kind else FitResult(result.job, None, "broken", refused=refused)

    with pytest.raises(FitError, match=expected):
        result_with(failing)


def test_a_forecaster_that_turned_to_garbage_costs_little_and_its_weight_is_on_the_page(whole: Any) -> None:
    def wild(result: FitResult) -> FitResult:
        if result.fitted is None or result.job.forecaster.kind != "har":
            return result
        arrays = {**result.fitted.arrays, "unit": 4 * np.roll(result.fitted.arrays["unit"], 3, axis=-1)}
        return replace(result, fitted=replace(result.fitted, arrays=arrays))

    recorded = result_with(wild)
    (found,), (expected,) = (result_of(it).calendars for it in (recorded, whole))
    scores, before = (summary.backtest.scores["1"] for summary in (found, expected))
    assert scores["har"]["pinball"] > 2 * before["har"]["pinball"]
    assert scores["combined"]["pinball"] < 1.02 * before["combined"]["pinball"]
    share = found.backtest.weights["1"]["har"]
    assert share < 0.5 * expected.backtest.weights["1"]["har"]
    page = recorded.results[0].report.read_text()
    assert f">har</th><td>{100 * share:.1f} %</td>" in page


def test_a_forecaster_that_is_silent_for_a_ticker_is_combined_where_it_answers(whole: Any) -> None:
    def silent(result: FitResult) -> FitResult:
        if result.fitted is None or result.job.forecaster.kind != "har":
            return result
        unit = np.array(result.fitted.arrays["unit"])
        unit[0] = np.nan
        return replace(result, fitted=replace(result.fitted, arrays={**result.fitted.arrays, "unit": unit}))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded = result_with(silent)
    backtest = recorded.results[0].result.evaluation.backtest
    assert np.isnan(backtest.quantiles["har"][0]).all()
    assert np.isfinite(backtest.quantiles["combined"][0][:-2]).all()
    assert backtest.weights.mean_share(1)["har"] > 0.02
    (warning,) = [text for text in recorded.results[0].result.warnings if text.startswith("har has no forecast at")]
    assert warning in recorded.results[0].report.read_text()
