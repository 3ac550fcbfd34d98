"""Normalisation of rows: typed, sorted, each session once."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from pipeline.market.bars import Problem, Severity
from pipeline.market.validation.normalisation import NormalisedRows, is_normalised, normalise
from tests.market.rows import good_rows


def _rules(brought: NormalisedRows) -> dict[str, Problem]:
    return {problem.rule: problem for problem in brought.problems}


def _same(brought: NormalisedRows, rows: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(brought.frame, rows.reset_index(drop=True), check_exact=True)


def test_the_canonical_form_is_returned_unchanged() -> None:
    rows = good_rows()
    assert is_normalised(rows)
    assert normalise("AAPL", rows).frame is rows
    assert is_normalised(good_rows().drop(columns=["split", "adj_close", "dividend"]))
    assert is_normalised(rows.head(0))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.iloc[::-1],
        lambda rows: rows.iloc[[0, 1, 1, 2]],
        lambda rows: rows.astype({"volume": "int64"}),
        lambda rows: rows.astype({"close": "float32"}),
        lambda rows: rows.astype({"session": "datetime64[ns]"}),
        lambda rows: rows.assign(session=rows["session"].dt.tz_localize("UTC")),
        lambda rows: rows.assign(session=rows["session"] + pd.Timedelta(hours=1)),
        lambda rows: rows.assign(session=rows["session"].where(rows.index > 0)),
        lambda rows: rows.assign(session=rows["session"] - pd.Timedelta(days=50_000)),
        lambda rows: rows.assign(mood=1.0),
        lambda rows: rows[["open", *rows.columns.drop("open")]],
        lambda rows: pd.concat([rows, rows[["split"]]], axis=1),
    ],
)
def test_what_is_not_in_the_form_is_seen(spoil: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    assert not is_normalised(spoil(good_rows()))


def test_any_types_become_the_same_rows() -> None:
    rows = good_rows().assign(close=lambda frame: frame["close"].round(2))
    written = rows.assign(
        session=rows["session"].dt.strftime("%Y-%m-%d"),
        close=rows["close"].map(lambda price: f" {price:.2f}"),
        open=rows["open"].map(Decimal),
        volume=rows["volume"].astype("Int64"),
        mood="good",
    )
    brought = normalise("AAPL", written)
    _same(brought, rows)
    assert brought.problems == ()
    assert is_normalised(brought.frame)


def test_a_descending_file_just_works() -> None:
    brought = normalise("AAPL", good_rows().iloc[::-1])
    _same(brought, good_rows())
    (problem,) = brought.problems
    assert (problem.rule, problem.severity, problem.found) == ("unsorted", Severity.REPAIRED, "descending sessions")
    swapped = normalise("AAPL", good_rows().iloc[[0, 2, 1, *range(3, 60)]])
    _same(swapped, good_rows())
    assert swapped.problems[0].found == "2024-02-02 after 2024-02-05"


@pytest.mark.parametrize(
    "date", ["2/1/2024", None, "", pd.Timestamp("1823-01-01"), "2024-02-30", float("nan"), 20240201]
)
def test_a_row_without_a_readable_date_is_quarantined(date: object) -> None:
    rows = good_rows().astype({"session": object})
    rows.at[7, "session"] = date
    brought = normalise("AAPL", rows)
    _same(brought, good_rows().drop(index=7))
    (problem,) = brought.problems
    assert (problem.rule, problem.severity, problem.session, problem.rows) == ("date", Severity.ROWS, "row 8", 1)


def _zoned(offset: Callable[[int], str]) -> pd.DataFrame:
    rows = good_rows()
    days = rows["session"].dt.strftime("%Y-%m-%d")
    return rows.assign(session=[f"{day} 00:00:00{offset(row)}" for row, day in enumerate(days)])


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (_zoned(lambda row: "-05:00" if row < 50 else ""), "a date without a time zone after UTC offset -5 h"),
        (_zoned(lambda row: "" if row < 50 else "Z"), "UTC offset +0 h after a date without a time zone"),
        (_zoned(lambda row: "-05:00" if row != 50 else "+05:30"), "UTC offset +5.5 h after UTC offset -5 h"),
        (_zoned(lambda row: "-05:00" if row != 50 else "+05:30").iloc[::-1], "UTC offset +5.5 h after UTC offset -5 h"),
    ],
)
def test_another_time_zone_ends_the_ticker_at_its_session(rows: pd.DataFrame, found: str) -> None:
    brought = normalise("AAPL", rows)
    _same(brought, good_rows().head(50))
    problem = _rules(brought)["time_zone"]
    assert (problem.fatal, problem.found, problem.session) == (True, found, str(good_rows()["session"][50].date()))


def test_daylight_saving_is_one_time_zone() -> None:
    brought = normalise("AAPL", _zoned(lambda row: "-05:00" if row < 26 else "-04:00"))
    _same(brought, good_rows())
    aware = good_rows().assign(session=good_rows()["session"].dt.tz_localize("America/New_York"))
    assert normalise("AAPL", aware).problems == ()


def test_identical_rows_are_kept_once() -> None:
    rows = good_rows()
    rows.loc[5, "adj_close"] = np.nan
    twice = pd.concat([rows, rows.iloc[[5, 9, 9]]], ignore_index=True)
    brought = normalise("AAPL", twice)
    _same(brought, rows)
    assert (_rules(brought)["repeated"].rows, _rules(brought)["repeated"].severity) == (2, Severity.REPAIRED)


def test_different_rows_of_a_session_all_go() -> None:
    rows = good_rows()
    other = rows.iloc[[9]].assign(close=rows["close"][9] * 1.001)
    brought = normalise("AAPL", pd.concat([rows, other, rows.iloc[[9]]], ignore_index=True))
    problem = _rules(brought)["conflicting"]
    assert (problem.severity, problem.session, problem.rows) == (
        Severity.ROWS,
        str(rows["session"][9].date()),
        1,
    )
    _same(brought, rows.drop(index=9))


def test_an_action_that_different_rows_agree_on_stays_for_the_next_row() -> None:
    rows = good_rows()
    other = rows.iloc[[20]].assign(close=rows["close"][20] * 1.001)  # the session of the dividend
    frame = normalise("AAPL", pd.concat([rows, other], ignore_index=True)).frame
    assert frame.loc[20, "dividend"] == 0.5
    assert frame.loc[20, ["open", "high", "low", "close"]].isna().all()
    plain = normalise("AAPL", pd.concat([rows, rows.iloc[[9]].assign(close=1.0)], ignore_index=True)).frame
    assert rows["session"][9] not in set(plain["session"])


def test_a_blank_row_with_a_dividend_joins_the_prices_of_its_session() -> None:
    rows = good_rows()
    blank = rows.iloc[[9]].assign(**dict.fromkeys(("open", "high", "low", "close", "volume", "adj_close"), np.nan))
    reported = pd.concat([blank.assign(dividend=0.25), rows], ignore_index=True)
    brought = normalise("AAPL", reported)
    rows.loc[9, "dividend"] = 0.25
    _same(brought, rows)
    assert _rules(brought)["parted"].severity is Severity.REPAIRED


@pytest.mark.parametrize("cell", ["n/a", "1,5", "1_000", True, [1], 10**400, pd.Timestamp("2024-01-01")])
def test_text_in_place_of_a_number_is_a_blank_and_shown(cell: object) -> None:
    rows = good_rows().astype({"low": object})
    rows.at[9, "low"] = cell
    brought = normalise("AAPL", rows)
    assert np.isnan(brought.frame["low"][9])
    assert brought.frame["low"].notna().sum() == 59
    problem = _rules(brought)["unreadable_number"]
    assert (problem.session, problem.severity) == (str(good_rows()["session"][9].date()), Severity.NOTE)
    assert problem.found.startswith("low ")
    assert len(problem.found) < 60


def test_columns_are_there_once() -> None:
    lacking = normalise("AAPL", good_rows().drop(columns=["close", "volume"]))
    assert lacking.frame.empty
    assert is_normalised(lacking.frame)
    assert lacking.problems[0].found == "no column close; no column volume"
    assert lacking.problems[0].fatal
    doubled = pd.concat([good_rows(), good_rows()[["split"]]], axis=1)
    assert normalise("AAPL", doubled).problems[0].found == "column split more than once"


def test_no_rows_are_no_problem() -> None:
    for rows in (good_rows().head(0), good_rows().head(0).astype(object)):
        brought = normalise("AAPL", rows)
        assert (len(brought.frame), brought.problems) == (0, ())


def test_the_whole_session_goes_at_which_the_time_zone_changes() -> None:
    rows = _zoned(lambda _: "-05:00")
    again = rows.iloc[[50]].assign(session=rows["session"][50].replace("-05:00", "+05:30"))
    brought = normalise("AAPL", pd.concat([rows, again], ignore_index=True))
    _same(brought, good_rows().head(50))
