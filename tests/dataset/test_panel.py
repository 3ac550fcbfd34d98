"""The panel: the position of each bar, and the total return of a session calculated by hand."""

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.panel import build_panel
from pipeline.dataset.targets import future_returns
from pipeline.errors import NothingUsableError
from pipeline.market.bars import Bars, Listing, ReturnsFrom
from tests.panels import bars_of, panel_of, random_market, random_rows


def hand_rows() -> pd.DataFrame:
    """Four sessions: 100, then a dividend of 2 at 99, then a 3:1 split with a dividend of 0.5 at 34, then 34."""
    close = np.array([100.0, 99.0, 34.0, 34.0])
    return pd.DataFrame(
        {
            "session": pd.to_datetime(["2023-12-04", "2023-12-05", "2023-12-06", "2023-12-07"]),
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": 1000.0,
            "adj_close": [50.0, 51.0, 53.0, 52.0],
            "dividend": [0.0, 2.0, 0.5, 0.0],
            "split": [1.0, 1.0, 3.0, 1.0],
        }
    )


@pytest.mark.parametrize(
    ("returns_from", "gross"),
    [
        ("actions", [101 / 100, 102.5 / 99, 1.0]),
        ("adj_close", [51 / 50, 53 / 51, 52 / 53]),
        ("close", [99 / 100, 34 / 99, 1.0]),
    ],
)
def test_the_total_return_calculated_by_hand(returns_from: ReturnsFrom, gross: list[float]) -> None:
    panel = panel_of({"A": hand_rows()}, returns_from)
    assert np.isnan(panel.log_return[0, 0])
    np.testing.assert_allclose(np.exp(panel.log_return[0, 1:]), gross, rtol=1e-14)


def test_every_cell_is_the_bar_of_its_ticker_and_session() -> None:
    rows = random_market(60, 4)
    panel = panel_of(rows)
    cells = {(ticker, str(session)): None for ticker in panel.tickers for session in panel.sessions}
    for ticker, frame in rows.items():
        cells |= {(ticker, str(row.session.date())): row for row in frame.itertuples()}
    assert len(cells) == len(panel.tickers) * len(panel.sessions)
    for i, ticker in enumerate(panel.tickers):
        for j, session in enumerate(panel.sessions):
            row = cells[ticker, str(session)]
            found = [getattr(panel, name)[i, j] for name in ("open", "high", "low", "close", "volume")]
            expected = [np.nan] * 5 if row is None else [row.open, row.high, row.low, row.close, row.volume]
            np.testing.assert_array_equal(found, expected)
            assert panel.present[i, j] == (row is not None)


def test_a_return_after_a_gap_spans_it_and_a_first_one_is_unknown() -> None:
    rows = random_rows(30, 1)
    panel = panel_of(
        {"A": rows, "B": rows.drop(index=[10, 11]).reset_index(drop=True), "C": rows.iloc[20:]}, "adj_close"
    )
    whole, gapped, late = panel.log_return
    assert np.isnan(gapped[10:12]).all()
    assert gapped[12] == pytest.approx(whole[10] + whole[11] + whole[12], abs=1e-12)
    assert np.isnan(late[:21]).all()
    np.testing.assert_array_equal(late[21:], whole[21:])


def test_the_sessions_are_those_of_the_calendar_whatever_stray_day_or_gap_a_ticker_has() -> None:
    rows = random_rows(30, 1)
    saturday = pd.Timestamp("2023-12-02")
    odd = pd.concat([rows.iloc[:10], rows.iloc[[10]].assign(session=saturday), rows.iloc[15:]])
    odd = odd.sort_values("session").reset_index(drop=True)
    alone, together = panel_of({"B": rows}), panel_of({"A": odd, "B": rows})
    assert list(together.sessions) == list(rows["session"].to_numpy().astype("datetime64[D]"))
    assert together.present[0].sum() == 25
    assert np.array_equal(future_returns(alone, 3)[0], future_returns(together, 3)[1], equal_nan=True)


def test_more_than_one_calendar_is_refused() -> None:
    bars = bars_of({"A": random_rows(10, 1), "B": random_rows(10, 2)})
    mixed = Bars(bars.frame, (bars.listings[0], Listing("B", "XLON", "GBp")), "actions")
    with pytest.raises(NothingUsableError, match="exactly one calendar, found XLON, XNYS"):
        build_panel(mixed)
    with pytest.raises(NothingUsableError, match="no bars at all"):
        build_panel(Bars(bars.frame.iloc[:0], (), "actions"))


def test_a_session_without_a_single_bar_is_a_session_of_the_panel() -> None:
    rows = random_rows(30, 1)
    panel = panel_of({"A": rows.drop(index=[10, 11, 20]), "B": rows.drop(index=[11])})
    assert list(panel.sessions) == list(rows["session"].to_numpy().astype("datetime64[D]"))
    assert panel.present.sum(axis=0).tolist() == [2] * 10 + [1, 0] + [2] * 8 + [1] + [2] * 9


def test_a_large_universe_makes_the_panel_that_each_ticker_makes_alone() -> None:
    rows = random_market(300, 4)
    tickers = [f"{ticker}{copy:03d}" for ticker in rows for copy in range(40)]
    many = panel_of({ticker: rows[ticker[:2]] for ticker in tickers})
    few = panel_of(rows)
    assert many.tickers == tuple(sorted(tickers))
    for name in ("open", "high", "low", "close", "volume", "log_return"):
        np.testing.assert_array_equal(getattr(many, name), np.repeat(getattr(few, name), 40, axis=0))


def test_tickers_are_placed_by_their_names_and_not_by_the_order_of_the_rows() -> None:
    bars = bars_of(random_market(50, 3))
    turned = Bars(bars.frame, bars.listings[::-1], bars.returns_from)
    np.testing.assert_array_equal(build_panel(turned).close, build_panel(bars).close[::-1])
