"""Prices from files: every shape that is accepted, and one clear error for each that is not."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ExitStatus, SourceError, UsageError
from pipeline.market.bars import Severity
from pipeline.market.files import open_files
from pipeline.market.validation.validate import load_bars

from .rows import NOW, SHARED, as_yahoo_exports, good_rows

FIELDS = ["session", "open", "high", "low", "close", "volume", "adj_close", "dividend", "split"]


def _long(*tickers: str) -> pd.DataFrame:
    return pd.concat([good_rows(seed=k).assign(ticker=ticker) for k, ticker in enumerate(tickers)], ignore_index=True)


def _written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _save(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["prices.csv", "prices.csv.gz", "PRICES.CSV", "prices.parquet"])
def test_a_long_file_of_any_kind_gives_the_same_bars(name: str, tmp_path: Path) -> None:
    source = open_files(_save(_long("AAPL", "MSFT"), tmp_path / name))
    assert (source.price_basis, source.has_actions, source.returns_from) == ("as_traded", True, "adj_close")
    frame = load_bars(source, (), NOW, minimum_sessions=60).bars.frame
    pd.testing.assert_frame_equal(frame[frame["ticker"] == "MSFT"][FIELDS].reset_index(drop=True), good_rows(seed=1))


@pytest.mark.parametrize(
    "spelled",
    [
        ["Date", "Adj Close", "Dividends", "Stock Splits"],
        ["SESSION", "adj_close", "dividend", "Stock_Splits"],
        ["date", "AdjClose", "Dividend", "split"],
    ],
)
def test_spellings_of_vendors_are_understood(spelled: list[str], tmp_path: Path) -> None:
    renaming = dict(zip(["session", "adj_close", "dividend", "split"], spelled, strict=True))
    source = open_files(_save(_long("AAPL").rename(columns=renaming), tmp_path / "prices.csv"))
    assert set(source.rows("AAPL").columns) == set(FIELDS)


def test_a_folder_as_yahoo_exports_it_becomes_as_traded(tmp_path: Path) -> None:
    _save(as_yahoo_exports(good_rows()), tmp_path / "AAPL.csv")
    _save(as_yahoo_exports(good_rows(seed=1)), tmp_path / "M&M.NS.csv.gz")
    (tmp_path / "._AAPL.csv").write_text("resource fork")
    source = open_files(tmp_path)
    assert source.tickers() == ("AAPL", "M&M.NS")
    assert (source.price_basis, source.returns_from) == ("as_traded", "adj_close")
    rows = load_bars(source, ["AAPL"], NOW, minimum_sessions=60).bars.frame
    pd.testing.assert_frame_equal(rows[FIELDS], good_rows(), rtol=1e-12)


def test_without_splits_a_folder_stays_split_adjusted_unless_restated(tmp_path: Path) -> None:
    _save(as_yahoo_exports(good_rows()).drop(columns=["Dividends", "Stock Splits"]), tmp_path / "AAPL.csv")
    assert open_files(tmp_path).price_basis == "split_adjusted"
    source = open_files(tmp_path, "as_traded")
    assert (source.price_basis, source.has_actions, source.returns_from) == ("as_traded", False, "adj_close")


def test_a_long_file_can_be_reported_to_be_split_adjusted(tmp_path: Path) -> None:
    path = _save(as_yahoo_exports(good_rows()).assign(ticker="AAPL"), tmp_path / "prices.csv")
    unadjusted = open_files(path, "split_adjusted").rows("AAPL")
    np.testing.assert_allclose(unadjusted["close"], good_rows()["close"])
    assert open_files(path).rows("AAPL")["close"][0] == pytest.approx(unadjusted["close"][0] / 4)


@pytest.mark.parametrize(
    ("dropped", "returns_from"),
    [(["adj_close"], "actions"), (["adj_close", "split"], "close"), (["dividend"], "adj_close")],
)
def test_returns_come_from_what_is_delivered(dropped: list[str], returns_from: str, tmp_path: Path) -> None:
    source = open_files(_save(_long("AAPL").drop(columns=dropped), tmp_path / "prices.csv"))
    assert source.returns_from == returns_from
    frame = load_bars(source, (), NOW, minimum_sessions=60).bars.frame
    filled = {"adj_close": frame["close"], "split": 1.0, "dividend": 0.0}
    for name, value in filled.items():
        assert (frame[name] == value).all() == (name in dropped), name


def test_tickers_that_look_like_blanks_or_numbers_stay_names(tmp_path: Path) -> None:
    names = ["NA", "NULL", "1E5", "TRUE", "600519"]
    assert open_files(_save(_long(*names), tmp_path / "prices.csv")).tickers() == tuple(sorted(names))


def test_a_bad_file_in_a_folder_leaves_out_its_ticker_alone(tmp_path: Path) -> None:
    _save(as_yahoo_exports(good_rows()), tmp_path / "AAPL.csv")
    _save(as_yahoo_exports(good_rows()).drop(columns="Close"), tmp_path / "BAD.csv")
    _save(as_yahoo_exports(good_rows()).drop(columns="Adj Close"), tmp_path / "PLAIN.csv")
    _written(tmp_path / "EMPTY.csv", "")
    validated = load_bars(open_files(tmp_path), (), NOW, minimum_sessions=60)
    assert validated.bars.tickers == ("AAPL",)
    reasons = {out.ticker: out.reason for out in validated.excluded}
    assert set(reasons) == {"BAD", "EMPTY", "PLAIN"}
    assert "no column close" in reasons["BAD"]
    assert "empty file" in reasons["EMPTY"]
    assert "no column adj_close, which other files" in reasons["PLAIN"]


HEADER = "ticker,date,open,high,low,close,volume\n"
ROW = "AAPL,2024-01-02,1,1,1,1,1\n"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.csv", "", "found an empty file"),
        ("p.csv", "\n\n", "found an empty file"),
        ("p.csv", HEADER, "found no rows"),
        ("p.csv", "ticker,date,open,high,low,volume\n", "no column close .*expected ticker, session, open"),
        ("p.csv", "date,open,high,low,close,volume\n2024-01-02,1,1,1,1,1\n", r"no column ticker .*TICKER\.csv"),
        ("p.csv", "Date,session," + HEADER + "1,1," + ROW, "several columns for session"),
        ("p.csv", HEADER + ROW + "AAPL,2024-01-03,1,1,1,1,1,1,1\n", "cannot read"),
        ("p.csv", HEADER + ROW.replace("\n", ",9\n"), "cannot read"),
        ("p.csv", b"\x00\xff\xfe\x80garbage\x9d" * 50, "cannot read|no column"),
        ("p.csv", HEADER.encode() + b"AAPL,2024-01-02,\xff,1,1,1,1\n", "cannot read .*UTF-8"),
        ("p.csv.gz", "no gzip at all", "cannot read"),
        ("p.csv.gz", gzip.compress((HEADER + ROW * 5000).encode())[:-60], "cannot read"),
        ("p.parquet", "no parquet at all", "cannot read .*Parquet"),
        ("p.parquet", "", "cannot read .*Parquet"),
        ("p.xlsx", HEADER + ROW, r"expected a \.csv, \.csv\.gz or \.parquet"),
    ],
)
def test_an_unusable_file_is_one_clear_error(name: str, content: str | bytes, complaint: str, tmp_path: Path) -> None:
    path = _written(tmp_path / name, content)
    with pytest.raises(UsageError, match=complaint) as caught:
        open_files(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == ExitStatus.USAGE


def test_a_parquet_without_a_column_is_one_clear_error(tmp_path: Path) -> None:
    path = _save(_long("AAPL").drop(columns=["volume", "low"]), tmp_path / "p.parquet")
    with pytest.raises(UsageError, match="no column low, volume in"):
        open_files(path)


def test_a_missing_path_and_folders_without_prices_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found no file .*check the path"):
        open_files(tmp_path / "nothing.csv")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"found no CSV in the folder .*notes\.txt"):
        open_files(tmp_path)
    _written(tmp_path / "AAPL.csv", "")
    with pytest.raises(UsageError, match=r"found no usable file .*empty file"):
        open_files(tmp_path)


def test_an_unreadable_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "loop.csv"
    path.symlink_to(path)
    with pytest.raises(UsageError, match=r"loop\.csv"):
        open_files(path)
    with pytest.raises(UsageError, match="File name too long"):
        open_files(tmp_path / ("x" * 300))


def test_an_unknown_ticker_in_a_file_is_reported_what_there_is(tmp_path: Path) -> None:
    source = open_files(_save(_long("AAPL", "MSFT"), tmp_path / "prices.csv"))
    with pytest.raises(SourceError, match="AAPL, MSFT; did you mean MSFT"):
        source.rows("MSTF")


@pytest.mark.parametrize("spoilt", [{"split": "x"}, {"split": -1}, {"close": "abc"}, {"dividend": "?"}])
def test_text_late_in_a_column_spares_all_other_rows(spoilt: dict[str, object], tmp_path: Path) -> None:
    export = as_yahoo_exports(good_rows())
    name, value = next(iter(spoilt.items()))
    vendor = {"split": "Stock Splits", "close": "Close", "dividend": "Dividends"}[name]
    export = export.astype({vendor: object})
    export.loc[55, vendor] = value
    _save(export, tmp_path / "AAPL.csv")
    validated = load_bars(open_files(tmp_path), (), NOW, minimum_sessions=40)
    expected = good_rows().drop(index=55).reset_index(drop=True)
    pd.testing.assert_frame_equal(validated.bars.frame[FIELDS], expected, rtol=1e-12)
    assert any(str(value) in problem.found for problem in validated.problems), validated.problems
    assert validated.excluded == ()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the large real data is not next to this checkout")
def test_the_large_real_file_passes_whole() -> None:
    source = open_files(SHARED / "us_core100_daily_1999_2021.parquet")
    validated = load_bars(source, (), NOW, minimum_sessions=60)
    assert (len(validated.bars.frame), validated.excluded) == (540_200, ())
    assert {problem.severity for problem in validated.problems} == {Severity.NOTE}
    assert source.returns_from == "adj_close"
