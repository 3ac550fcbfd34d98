import math

import numpy as np
import pandas as pd
import pytest

from pipeline.wording import (
    adjusted_p_value,
    age_sentence,
    band_shares_sentence,
    basis_points,
    count_of,
    counts_in_words,
    day,
    disk_in_words,
    duration,
    exclusion_sentence,
    horizons_in_words,
    markdown_frame,
    markdown_table,
    mlflow_address,
    mlflow_link,
    model_in_words,
    names,
    p_number,
    p_value,
    percent,
    plus_minus,
    price,
    relation_in_words,
    sessions_ahead,
    setting_value,
    signed,
    signed_percent,
    size_percent,
    skill,
    split_first_sentence,
    stale_sentence,
    text_table,
    unseen_sentence,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.7977), "79.8 %"),
        (percent(math.nan), "–"),
        (signed_percent(0.0021), "+0.21 %"),
        (signed_percent(-0.0021), "−0.21 %"),
        (signed_percent(math.nan), "–"),
        (size_percent(0.0003), "0.03 %"),
        (size_percent(-0.0062), "0.62 %"),
        (size_percent(0.00005), "0.01 %"),
        (size_percent(0.000049), "less than 0.01 %"),
        (size_percent(-1e-9), "less than 0.01 %"),
        (size_percent(0.0), "0.00 %"),
        (size_percent(math.nan), "–"),
        (basis_points(0.004147), "41.47"),
        (p_value(0.0312), "p = 0.031"),
        (p_value(0.0009), "p < 0.001"),
        (p_value(math.nan), "p –"),
        (p_value(None), "p –"),
        (p_number(0.0312), "0.031"),
        (p_number(0.0009), "< 0.001"),
        (p_number(None), "–"),
        (adjusted_p_value(0.004, 0.004), "p = 0.004"),
        (adjusted_p_value(0.0312, 0.0624), "p = 0.062 adjusted for what was tried, p = 0.031 alone"),
        (adjusted_p_value(0.0001, 0.0002), "p < 0.001 adjusted for what was tried, p < 0.001 alone"),
        (skill(0.0021), "+0.21 %"),
        (skill(-0.0021), "−0.21 %"),
        (skill(None), "–"),
        (duration(0.42), "0.4 s"),
        (duration(9.97), "10 s"),
        (duration(59.4), "59 s"),
        (duration(59.6), "1 min 0 s"),
        (duration(200), "3 min 20 s"),
        (duration(3900), "1 h 5 min"),
        (counts_in_words({"clean": 2, "usable": 0, "excluded": 1}), "2 clean, 1 excluded"),
        (counts_in_words({}), ""),
        (setting_value(0.0012345), "0.001234"),
        (setting_value("mish"), "mish"),
        (mlflow_address("http://h/#/1"), "http://h/#/1 (start it with `tapecast ui`)"),
        (disk_in_words(1, 2, 345_678, 0), "1 ticker, 2 versions, 0.3 MB"),
        (disk_in_words(2, 5, 1_000_000, 1), "2 tickers, 5 versions, 1.0 MB, 1 damaged file quarantined"),
        (text_table(pd.DataFrame({"a": [0.5, None], "ok": [True, False]})), "  a  ok\n0.5 yes\n     NO"),
        (mlflow_link("http://h/#/1", "ab"), "[MLflow run ab](http://h/#/1)"),
        (exclusion_sentence("**BAD**", "no prices"), "**BAD** was excluded: no prices"),
        (stale_sentence("T1", 2, "no answer"), "T1 is not up to date, its last bar is 2 sessions old: no answer"),
        (unseen_sentence(["A", "B"]), "The model was not trained on A, B."),
        (unseen_sentence([]), ""),
        (markdown_table(("a", "b"), [("1", "2")], "T"), "**T**\n\n| a &nbsp; | b |\n|---|---|\n| 1 &nbsp; | 2 |"),
        (markdown_frame(pd.DataFrame({"x": [False, None]})), "| x |\n|---|\n| **no** |\n|  |"),
        (price(1234.5), "1,234.50"),
        (price(0.012346), "0.01235"),
        (day(np.datetime64("2013-03-01T00:00:00")), "2013-03-01"),
        (names(["A", "B"]), "A, B"),
        (names(list("ABCDEFGH")), "A, B, C, D, E, F and 2 more"),
        (count_of(1, "session"), "1 session"),
        (count_of(3453, "session"), "3,453 sessions"),
        (age_sentence(0, 5), ""),
        (signed(0.804), "+0.80"),
        (signed(-0.804, 1), "−0.8"),
        (signed(-0.0004), "0.00"),
        (signed(math.nan), "–"),
        (plus_minus(0.00123, ".1f", 1e4), "± 12.3"),
        (plus_minus(math.nan, ".2f"), ""),
        (plus_minus(None, ".2f"), ""),
        (sessions_ahead(1), "1 session ahead"),
        (model_in_words("network"), "the network"),
        (model_in_words("calibrated"), "the calibrated forecast"),
        (
            "".join(split_first_sentence("It is not better (p = 0.31). So be it. Yes.")),
            "It is not better (p = 0.31).So be it. Yes.",
        ),
        (split_first_sentence("One sentence alone.")[1], ""),
    ],
)
def test_wording(written: str, expected: str) -> None:
    assert written == expected


def test_age_says_how_much_of_the_forecast_is_past() -> None:
    assert "part of the forecast period" in age_sentence(1, 5)
    assert age_sentence(1, 5).startswith("1 session has")
    assert "all of the forecast period" in age_sentence(5, 5)


@pytest.mark.parametrize(
    ("horizons", "words"),
    [
        ([1], "1 session ahead"),
        ([2, 3], "2 and 3 sessions ahead"),
        ([1, 2, 3, 4, 5], "1 to 5 sessions ahead"),
        ([1, 3, 5], "1, 3 and 5 sessions ahead"),
    ],
)
def test_horizons_in_words(horizons: list[int], words: str) -> None:
    assert horizons_in_words(horizons) == words


@pytest.mark.parametrize(
    ("share", "error", "words"),
    [
        (
            0.0003,
            0.0002,
            "explains 0.03 % of the variance of the realised changes 1 session ahead (± 0.02 %, p = 0.004)",
        ),
        (
            0.00002,
            0.0002,
            "explains less than 0.01 % of the variance of the realised changes 1 session ahead (± 0.02 %, p = 0.004)",
        ),
        (0.0003, math.nan, "explains 0.03 % of the variance of the realised changes 1 session ahead (p = 0.004)"),
        (
            -0.009,
            0.004,
            "is related to the realised changes 1 session ahead (p = 0.004), but as a point forecast it errs more: its "
            "squared error is 0.90 % larger than that of a forecast that never moves (± 0.40 %)",
        ),
        (
            -0.00002,
            0.004,
            "is related to the realised changes 1 session ahead (p = 0.004), but as a point forecast it errs more: its "
            "squared error is less than 0.01 % larger than that of a forecast that never moves (± 0.40 %)",
        ),
    ],
)
def test_what_a_median_explains(share: float, error: float, words: str) -> None:
    assert relation_in_words(share, error, p_value(0.004), 1) == words


def test_what_a_median_explains_at_another_horizon() -> None:
    assert "realised changes 5 sessions ahead" in relation_in_words(0.1, 0.01, p_value(0.004), 5)


def test_a_band_is_said_to_come_from_its_forecasters() -> None:
    shares = {"network": 0.41, "garch": 0.33, "linear": 0.15, "ridge": 0.06, "ewma": 0.04, "har": 0.01}
    assert band_shares_sentence(shares, 5) == (
        "Of the 5-session band, 41 % comes from the network, 33 % from garch, 15 % from linear, 6 % from ridge and 5 % "
        "from 2 others."
    )
    assert band_shares_sentence({"network": 1.0}, 1, "on the mean of the test") == (
        "Of the 1-session band on the mean of the test, 100 % comes from the network."
    )
    two = band_shares_sentence({"har": 0.7, "network": 0.3}, 2)
    assert two.endswith("70 % comes from har and 30 % from the network.")
    small = {"har": 0.6, "garch": 0.2, "linear": 0.1, "ridge": 0.06, "ewma": 0.03, "network": 0.01}
    assert band_shares_sentence(small, 1).endswith(
        "6 % from ridge, 1 % from the network and 3 % from ewma."
    )  # the network is always named, and so is a single other
