"""What an evaluation is asked beside the backtest: opens of the bars, costs, and what is claimed."""

import numpy as np
import pytest

from pipeline.dataset.panel import build_panel
from pipeline.evaluation.luck import Luck
from pipeline.evaluation.money.opens import opens_of
from pipeline.evaluation.money.specification import MoneySpec
from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, HeadSpec, PointHeadSpec, RecurrentSpec
from pipeline.stages import asked_of
from tests.panels import TINY, bars_of, changed, random_market


@pytest.mark.parametrize(
    ("head", "sold"),
    [(None, False), (PointHeadSpec(), True), (DirectionHeadSpec(), True)],
)
def test_an_evaluation_is_asked_with_opens_costs_and_claims(head: HeadSpec | None, sold: bool) -> None:
    bars = bars_of(random_market(300, 3))
    network = RecurrentSpec(hidden_size=6, **({"head": head} if head else {}))
    experiment = changed(TINY, network=network, money=MoneySpec(commission_bps=3.5))
    asked, expected = asked_of(bars, experiment), opens_of(build_panel(bars))
    assert (asked.sold_as_point, asked.money, asked.luck) == (sold, experiment.money, Luck())
    np.testing.assert_array_equal(asked.opens.growth, expected.growth)
    assert asked_of(bars, experiment, Luck(tested=4)).luck.tested == 4
