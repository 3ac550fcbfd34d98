"""The echo detector on trained networks: a tutorial's network of price levels, sold by the popular accuracy, is one."""

import numpy as np
import pytest

from pipeline.evaluation.echo import echo_of_line
from pipeline.tutorials.ohlc import OhlcTerms
from pipeline.tutorials.presets import ohlc
from pipeline.tutorials.teaching import Taught, forecast_rows, teach_once


@pytest.fixture(scope="module")
def taught() -> Taught:
    tutorial = ohlc(OhlcTerms(), "many_to_one")
    return teach_once(tutorial, tutorial.lesson(0), 0)


def test_a_network_of_levels_sold_as_accurate_is_an_echo(taught: Taught) -> None:
    rows = forecast_rows(taught)
    forecast, truth = (rows[name].to_numpy(dtype=float) for name in ("forecast", "actual"))
    assert (np.diff(rows["step"]) == 1).all()
    accuracy = 100 * (1 - np.sqrt(np.mean(((forecast - truth) / truth) ** 2)))
    assert accuracy > 95
    found = echo_of_line("network", forecast, truth)
    assert (found.name, found.best_shift) == ("echo", -1)
