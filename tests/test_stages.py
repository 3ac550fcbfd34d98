"""The inputs of an evaluation other than the backtest: opens of the bars, costs, and what is claimed."""

import numpy as np
import pytest

from pipeline.dataset.panel import build_panel
from pipeline.evaluation.money.account import opens_of
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, HeadSpec, PointHeadSpec, RecurrentSpec
from pipeline.stages import evaluation_inputs
from tests.panels import TINY, bars_of, changed, random_market


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
