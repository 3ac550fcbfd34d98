"""Split-adjusted prices turned back into prices as traded, calculated by hand."""

import numpy as np
import pandas as pd
import pytest

from pipeline.market.adjustment import as_traded, later_splits, plain_actions

from .rows import good_rows, split_adjusted


def test_a_split_by_hand() -> None:
    told = pd.DataFrame(
        {name: [25.0, 26.0, 27.0] for name in ("open", "high", "low", "close")}
        | {"volume": [400.0, 800.0, 300.0], "dividend": [0.0, 0.1, 0.2], "split": [1.0, 1.0, 4.0], "adj_close": 1.0}
    )
    traded = as_traded(told)
    assert traded["close"].tolist() == [100.0, 104.0, 27.0]
    assert traded["volume"].tolist() == [100.0, 200.0, 300.0]
    assert traded["dividend"].tolist() == [0.0, 0.4, 0.2]
    assert traded["adj_close"].tolist() == [1.0, 1.0, 1.0]


def test_it_undoes_what_a_vendor_does_step_by_step() -> None:
    rows = good_rows()
    rows.loc[[10, 50], "split"] = [2.0, 0.1]
    undone = as_traded(split_adjusted(rows))
    pd.testing.assert_frame_equal(undone, rows, rtol=1e-12)


def test_each_row_is_scaled_by_the_later_splits_only() -> None:
    assert later_splits(pd.Series([3.0, 2.0, 5.0])).tolist() == [10.0, 5.0, 1.0]
    assert later_splits(pd.Series([], dtype=float)).tolist() == []


@pytest.mark.parametrize("spoilt", [np.nan, -2.0, np.inf, "four"])
def test_a_bad_split_changes_no_other_row(spoilt: object) -> None:
    rows = split_adjusted(good_rows())
    bad = rows.astype({"split": object})
    bad.loc[59, "split"] = spoilt
    pd.testing.assert_frame_equal(as_traded(bad)[["close", "volume"]], as_traded(rows)[["close", "volume"]])


def test_text_in_a_price_stays_to_be_shown_and_spares_its_neighbours() -> None:
    rows = split_adjusted(good_rows()).astype({"close": object})
    rows.loc[3, "close"] = "abc"
    traded = as_traded(rows)["close"]
    assert traded[3] == "abc"
    assert traded[2] == pytest.approx(good_rows()["close"][2])


def test_blanks_and_zeros_mean_no_action() -> None:
    rows = pd.DataFrame({"dividend": [np.nan, 0.5, 0.0], "split": ["0", None, "2"]})
    plain = plain_actions(rows)
    assert plain["dividend"].tolist() == [0.0, 0.5, 0.0]
    assert plain["split"].astype(float).tolist() == [1.0, 1.0, 2.0]
    assert plain_actions(pd.DataFrame({"split": [0.0, "x"]}))["split"].tolist() == [1.0, "x"]
