"""Split-adjusted prices turned back into prices as traded, and adjusted views, calculated by hand and by slow twins."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.market.adjustment import View, adjusted, as_traded, disagreements, later_splits, plain_actions

from .rows import SHARED, good_rows, split_adjusted

PRICES = ["open", "high", "low", "close"]


def test_a_split_by_hand() -> None:
    reported = pd.DataFrame(
        {name: [25.0, 26.0, 27.0] for name in ("open", "high", "low", "close")}
        | {"volume": [400.0, 800.0, 300.0], "dividend": [0.0, 0.1, 0.2], "split": [1.0, 1.0, 4.0], "adj_close": 1.0}
    )
    traded = as_traded(reported)
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


# --- views ---


def _three_days() -> pd.DataFrame:
    return pd.DataFrame(
        {name: [100.0, 104.0, 26.0] for name in PRICES}
        | {"volume": [10.0, 20.0, 30.0], "adj_close": 7.0, "dividend": [0.0, 4.0, 4.0], "split": [1.0, 1.0, 4.0]}
    )


def test_the_split_adjusted_view_by_hand() -> None:
    view = adjusted(_three_days(), "split_adjusted")
    assert view["close"].tolist() == [25.0, 26.0, 26.0]
    assert view["volume"].tolist() == [40.0, 80.0, 30.0]
    assert view["dividend"].tolist() == [0.0, 1.0, 1.0]
    assert view["split"].tolist() == [1.0, 1.0, 1.0]
    assert view["adj_close"].tolist() == [7.0, 7.0, 7.0]


def test_the_total_return_view_by_hand() -> None:
    view = adjusted(_three_days(), "total_return")
    # 100 -> 104 + 4 is 8 %; 104 -> 4 x 26 + 4 is 108 / 104
    assert view["close"].tolist() == pytest.approx([26.0 / 1.08 * 104.0 / 108.0, 26.0 * 104.0 / 108.0, 26.0])
    assert view["dividend"].tolist() == [0.0, 0.0, 0.0]
    assert view["volume"].tolist() == [40.0, 80.0, 30.0]
    assert adjusted(_three_days(), "as_traded").equals(_three_days())


def _slowly(rows: pd.DataFrame, view: View) -> pd.DataFrame:
    """One ticker's view, each action applied by itself to all that came before it."""
    view_rows = rows.astype(dict.fromkeys((*PRICES, "volume", "dividend"), float))
    for row in range(len(rows)):
        split, dividend, close = (rows[name].iloc[row] for name in ("split", "dividend", "close"))
        before = view_rows.index[:row]
        if view == "split_adjusted":
            view_rows.loc[before, PRICES] /= split
            view_rows.loc[view_rows.index[: row + 1], "dividend"] /= split
        else:
            view_rows.loc[before, PRICES] *= close / (close * split + dividend)
        view_rows.loc[before, "volume"] *= split
    return view_rows.assign(split=1.0, **({"dividend": 0.0} if view == "total_return" else {}))


@st.composite
def _bars(draw: st.DrawFn) -> pd.DataFrame:
    frames = []
    for ticker in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 6))
        numbers = {name: draw(_numbers(count, 0.1, 1e4)) for name in (*PRICES, "volume", "adj_close")}
        split = draw(st.lists(st.sampled_from([1.0, 1.0, 2.0, 0.1, 1.5]), min_size=count, max_size=count))
        dividend = draw(st.lists(st.sampled_from([0.0, 0.0, 0.5]), min_size=count, max_size=count))
        frames.append(pd.DataFrame({"ticker": f"T{ticker}", **numbers, "dividend": dividend, "split": split}))
    return pd.concat(frames, ignore_index=True)


def _numbers(count: int, low: float, high: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(low, high), min_size=count, max_size=count)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(_bars(), st.sampled_from(["split_adjusted", "total_return"]))
def test_the_views_of_many_tickers_equal_a_slow_twin(bars: pd.DataFrame, view: View) -> None:
    slow = pd.concat([_slowly(rows, view) for _, rows in bars.groupby("ticker")])
    pd.testing.assert_frame_equal(adjusted(bars, view), slow, rtol=1e-9)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(_bars(), st.sampled_from(["split_adjusted", "total_return"]))
def test_every_view_has_the_same_total_return_and_last_close(bars: pd.DataFrame, view: View) -> None:
    seen = adjusted(bars, view)
    for ticker, rows in bars.groupby("ticker"):
        ticker_rows = seen[seen["ticker"] == ticker]
        np.testing.assert_allclose(_total_returns(ticker_rows), _total_returns(rows), rtol=1e-9)
        assert ticker_rows["close"].iloc[-1] == rows["close"].iloc[-1]


def _total_returns(rows: pd.DataFrame) -> np.ndarray:
    whole = rows["close"] * rows["split"] + rows["dividend"]
    return (whole / rows["close"].shift()).to_numpy()[1:]


def test_no_bars_have_every_view() -> None:
    empty = good_rows().head(0)
    assert adjusted(empty, "split_adjusted").empty
    assert adjusted(empty.assign(ticker=pd.Series(dtype="str")), "total_return").empty


# --- what the vendor's adjusted close says ---


def _adjusted_by_yahoo(rows: pd.DataFrame) -> np.ndarray:
    """Yahoo's adjusted close, slowly: each dividend takes its share of the former close off all that came before."""
    adj_close = rows["close"].to_numpy().copy()
    for row in range(1, len(rows)):
        adj_close[:row] *= (1.0 - rows["dividend"][row] / rows["close"][row - 1]) / rows["split"][row]
    return adj_close


def test_each_vendor_s_rule_agrees_with_itself_only() -> None:
    rows = good_rows()
    rows.loc[20, "dividend"] = 5.0
    ours = rows.assign(adj_close=adjusted(rows, "total_return")["close"])
    yahoo = rows.assign(adj_close=_adjusted_by_yahoo(rows))
    assert not disagreements(ours, "total_return", 1e-9).any()
    assert not disagreements(yahoo, "yahoo", 1e-9).any()
    assert np.flatnonzero(disagreements(ours, "yahoo", 1e-4)).tolist() == [20]
    assert np.flatnonzero(disagreements(yahoo, "total_return", 1e-4)).tolist() == [20]


def test_a_wrong_return_is_seen_at_its_row() -> None:
    rows = good_rows()
    rows.loc[40:, "adj_close"] *= 1.0003
    assert np.flatnonzero(disagreements(rows, "total_return", 1e-4)).tolist() == [40]
    rows.loc[40, "adj_close"] = np.nan
    assert not disagreements(rows, "total_return", 1e-4).any()


def test_six_decimals_of_a_cheap_stock_are_no_disagreement() -> None:
    rows = good_rows().assign(adj_close=lambda frame: (frame["adj_close"] / 20_000).round(6))
    adjusted_growth = rows["adj_close"] / rows["adj_close"].shift()
    plain = (rows["close"] * rows["split"] + rows["dividend"]) / rows["close"].shift()
    assert (adjusted_growth - plain).abs().max() > 1e-4
    assert not disagreements(rows, "total_return", 1e-5).any()


@pytest.mark.skipif(not SHARED.exists(), reason=f"the large real data is not there: {SHARED}")
def test_three_rows_of_the_real_file_disagree() -> None:
    frame = pd.read_parquet(SHARED / "us_core100_daily_1999_2021.parquet")
    found = {
        (str(ticker), str(day.date()))
        for ticker, rows in frame.groupby("ticker", observed=True)
        for day in rows["date"][disagreements(rows, "total_return", 1e-4)]
    }
    assert found == {("ABT", "2004-05-03"), ("JCI", "2007-07-02"), ("RTX", "2020-04-03")}
