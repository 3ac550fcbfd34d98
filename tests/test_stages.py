"""The stages on their own: the inputs of an evaluation, and the benchmarks that cannot be fitted."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.dataset.panel import build_panel
from pipeline.evaluation.money.account import opens_of
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, HeadSpec, PointHeadSpec, RecurrentSpec
from pipeline.stages import evaluation_inputs, folds_of, jobs_of, without_unfitted
from pipeline.training.jobs import FitResult
from tests.panels import TINY, bars_of, changed, frames_from, random_market


@pytest.mark.parametrize(
    ("head", "sold"),
    [(None, False), (PointHeadSpec(), True), (DirectionHeadSpec(), True)],
)
def test_evaluation_inputs_have_opens_costs_and_claims(head: HeadSpec | None, sold: bool) -> None:
    bars = bars_of(random_market(300, 3))
    network = RecurrentSpec(hidden_size=6, **({"head": head} if head else {}))
    experiment = changed(TINY, network=network, money=MoneySpec(commission_bps=3.5))
    inputs, expected = evaluation_inputs(bars, experiment), opens_of(build_panel(bars))
    assert (inputs.claims_direction, inputs.money, inputs.trials) == (sold, experiment.money, Trials())
    np.testing.assert_array_equal(inputs.opens.growth, expected.growth)
    assert evaluation_inputs(bars, experiment, Trials(tested=4)).trials.tested == 4


def test_a_benchmark_stays_on_the_folds_that_it_could_be_fitted_on() -> None:
    experiment = changed(TINY, benchmarks=(GarchSpec(), HarSpec()))
    frames = frames_from(random_market(700, 3), experiment)
    folds = folds_of(frames, experiment)
    assert len(folds) > 1

    def refused(kind: str, names: set[str]) -> list[FitResult]:
        results = [FitResult(job, None) for job in jobs_of(frames, folds, experiment, "cpu")]
        return [
            replace(it, error="too short", refused=True)
            if it.job.forecaster.kind == kind and it.job.fold.name in names
            else it
            for it in results
        ]

    once = refused("garch", {folds[0].name})
    left, kept, sentences = without_unfitted(experiment, once)
    assert left == experiment
    assert kept == [it for it in once if not it.refused]
    assert {it.job.fold.name for it in kept if it.job.forecaster.kind == "garch"} == {it.name for it in folds[1:]}
    assert sentences == (
        f"The benchmark garch could not be fitted on fold {folds[0].name}, is left out there and compared nowhere: too "
        "short",
    )
    left, kept, sentences = without_unfitted(experiment, refused("garch", {fold.name for fold in folds}))
    assert [spec.kind for spec in left.benchmarks] == ["har"]
    assert len(sentences) == len(folds)
    broken = refused("ewma", {fold.name for fold in folds})
    assert without_unfitted(experiment, broken) == (experiment, broken, ())  # a baseline ends the run
