"""The echo detector on trained networks: a tutorial's network of price levels, sold by the popular accuracy, is one."""

import numpy as np
import pytest

from pipeline.evaluation.echo import echo_of_line
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import ohlc
from pipeline.tutorials.run import TutorialFit, fit_tutorial, tutorial_forecasts


@pytest.fixture(scope="module")
def fit() -> TutorialFit:
    tutorial = ohlc(OhlcSpec(), "many_to_one")
    return fit_tutorial(tutorial, tutorial.data(0), 0)


def test_a_network_of_levels_sold_as_accurate_is_an_echo(fit: TutorialFit) -> None:
    rows = tutorial_forecasts(fit)
    forecast, truth = (rows[name].to_numpy(dtype=float) for name in ("forecast", "actual"))
    assert (np.diff(rows["step"]) == 1).all()
    accuracy = 100 * (1 - np.sqrt(np.mean(((forecast - truth) / truth) ** 2)))
    assert accuracy > 95
    found = echo_of_line("network", forecast, truth)
    assert (found.name, found.best_shift) == ("echo", -1)
