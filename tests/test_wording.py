import math

import numpy as np
import pytest

from pipeline.reporting.page import in_two, old_in_words
from pipeline.wording import (
    ahead,
    basis_points,
    count_of,
    day,
    model_in_words,
    names,
    p_value,
    percent,
    plus_minus,
    price,
    rule_in_words,
    signed,
    signed_percent,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.7977), "79.8 %"),
        (percent(math.nan), "–"),
        (signed_percent(0.0021), "+0.21 %"),
        (signed_percent(-0.0021), "−0.21 %"),
        (signed_percent(math.nan), "–"),
        (basis_points(0.004147), "41.47"),
        (p_value(0.0312), "p = 0.031"),
        (p_value(0.0009), "p < 0.001"),
        (p_value(math.nan), "p –"),
        (price(1234.5), "1,234.50"),
        (price(0.012346), "0.01235"),
        (day(np.datetime64("2013-03-01T00:00:00")), "2013-03-01"),
        (names(["A", "B"]), "A, B"),
        (names(list("ABCDEFGH")), "A, B, C, D, E, F and 2 more"),
        (count_of(1, "session"), "1 session"),
        (count_of(3453, "session"), "3,453 sessions"),
        (old_in_words(0, 5), ""),
        (signed(0.804), "+0.80"),
        (signed(-0.804, 1), "−0.8"),
        (signed(-0.0004), "0.00"),
        (signed(math.nan), "–"),
        (plus_minus(0.00123, ".1f", 1e4), "± 12.3"),
        (plus_minus(math.nan, ".2f"), ""),
        (ahead(1), "1 session ahead"),
        (rule_in_words("volatility_target"), "volatility target"),
        (model_in_words("network"), "the network"),
        (model_in_words("calibrated"), "the calibrated network"),
        ("".join(in_two("It is not better (p = 0.31). So be it. Yes.")), "It is not better (p = 0.31).So be it. Yes."),
        (in_two("One sentence alone.")[1], ""),
    ],
)
def test_wording(written: str, expected: str) -> None:
    assert written == expected


def test_age_says_how_much_of_the_forecast_is_past() -> None:
    assert "part of what is forecast" in old_in_words(1, 5)
    assert old_in_words(1, 5).startswith("1 session has")
    assert "all of what is forecast" in old_in_words(5, 5)
