"""The checks one by one: planted rows, the rows quarantined or repaired, and the problems found."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from pipeline.market.bars import Problem, ReturnsFrom, Severity, ValidatedBars
from pipeline.market.validation.rules import RULES
from pipeline.market.validation.validate import ValidationTerms, validate
from tests.market.rows import NOW, good_rows

ROW = 50
PRICES = ["open", "high", "low", "close"]


def _validate(rows: pd.DataFrame, returns_from: ReturnsFrom = "adj_close", has_actions: bool = True) -> ValidatedBars:
    return validate({"AAPL": rows}, ValidationTerms(returns_from, has_actions, NOW, 1))


def _problems(validated: ValidatedBars) -> dict[str, Problem]:
    return {problem.rule: problem for problem in validated.problems}


def _planted(**values: float) -> pd.DataFrame:
    rows = good_rows()
    for name, value in values.items():
        rows.loc[ROW, name] = value
    return rows


def _day(rows: pd.DataFrame, row: int) -> str:
    return str(rows["session"][row].date())


def _scaled(rows: pd.DataFrame, chosen: slice, factor: float) -> pd.DataFrame:
    spoilt = rows.copy()
    spoilt.loc[chosen, PRICES] *= factor
    return spoilt


def test_sound_rows_have_no_finding_on_any_terms() -> None:
    for returns_from in ("adj_close", "actions", "close"):
        for has_actions in (True, False):
            assert _validate(good_rows(), returns_from, has_actions).problems == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "rule", "found"),
    [
        (_planted(open=np.nan), "price", "open nan"),
        (_planted(high=np.inf), "price", "high inf"),
        (_planted(close=-5.0), "price", "close -5.0"),
        (_planted(close=0.0, low=0.0), "price", "low 0.0, close 0.0"),
        (_planted(low=1e-320), "price", "low 1e-320"),
        (_planted(open=np.nan, high=np.nan, low=np.nan, close=np.nan, volume=np.nan), "blank", "no prices"),
        (_planted(low=999.0), "price_order", "low 999"),
        (_planted(high=1.0), "price_order", "high 1"),
        (_planted(close=999.0), "price_order", "close 999"),
        (_planted(volume=-1.0), "volume", "volume -1.0"),
        (_planted(volume=np.inf), "volume", "volume inf"),
        (_planted(adj_close=0.0), "adj_close", "adj_close 0.0"),
        (_planted(adj_close=np.nan), "adj_close", "adj_close nan"),
        (_planted(dividend=-0.1), "dividend", "dividend -0.1"),
        (_planted(split=0.0), "split", "split 0.0"),
        (_planted(split=1e300), "split", "split 1e+300"),
    ],
)
def test_a_row_that_cannot_be_is_quarantined_alone(rows: pd.DataFrame, rule: str, found: str) -> None:
    validated = _validate(rows)
    expected = good_rows().drop(index=ROW)
    assert validated.bars.frame["session"].tolist() == expected["session"].tolist()
    np.testing.assert_array_equal(validated.bars.frame[PRICES], expected[PRICES])
    assert validated.excluded == ()
    (problem,) = validated.problems
    assert (problem.rule, problem.severity, problem.session, problem.rows) == (
        rule,
        Severity.ROWS,
        _day(rows, ROW),
        1,
    )
    assert found in problem.found


def test_an_adjusted_close_that_nothing_is_computed_from_may_be_absent() -> None:
    assert len(_validate(_planted(adj_close=np.nan), "actions").bars.frame) == 60


def test_many_rows_of_one_rule_are_one_problem() -> None:
    rows = good_rows()
    rows.loc[40:44, "close"] = np.nan
    problem = _problems(_validate(rows))["price"]
    assert (problem.rows, problem.session) == (5, _day(rows, 40))


def test_a_small_miss_of_high_and_low_is_mended_and_a_larger_one_is_not() -> None:
    rows = good_rows()
    rows.loc[40, "high"] = rows.loc[40, ["open", "close"]].max() * 0.996
    rows.loc[41, "low"] = rows.loc[41, ["open", "close"]].min() * 1.004
    rows.loc[42, "high"] = rows.loc[42, ["open", "close"]].max() * 0.994
    validated = _validate(rows)
    frame = validated.bars.frame.set_index("session")
    assert frame.loc[rows["session"][40], "high"] == rows.loc[40, ["open", "close"]].max()
    assert frame.loc[rows["session"][41], "low"] == rows.loc[41, ["open", "close"]].min()
    assert rows["session"][42] not in frame.index
    assert _problems(validated)["high_low"].rows == 2
    assert f"high {rows.loc[40, 'high']:g}" in _problems(validated)["high_low"].found


def test_rounding_is_no_finding() -> None:
    rows = good_rows()
    rows["low"] = rows[["open", "close"]].min(axis=1) * (1 + 5e-7)
    rows["high"] = rows[["open", "close"]].max(axis=1) * (1 - 5e-7)
    assert _validate(rows).problems == ()


def test_a_blank_volume_counts_as_none() -> None:
    validated = _validate(_planted(volume=np.nan))
    assert validated.bars.frame["volume"][ROW] == 0.0
    assert _problems(validated)["blank_volume"].severity is Severity.REPAIRED


# --- actions of rows that are quarantined ---


def _total_return(frame: pd.DataFrame) -> float:
    """The growth over all rows, by the formula and slowly."""
    growth = 1.0
    for row in range(1, len(frame)):
        now, former = frame.iloc[row], frame.iloc[row - 1]
        growth *= (now["close"] * now["split"] + now["dividend"]) / former["close"]
    return growth


def test_actions_of_rows_quarantined_reach_the_next_bar() -> None:
    rows = good_rows()
    rows.loc[[29, 30, 31], PRICES] = np.nan
    rows.loc[29, "dividend"], rows.loc[31, "dividend"], rows.loc[31, "split"] = 2.0, 0.25, 2.0
    rows.loc[31:, PRICES] /= 2.0
    rows.loc[32, "dividend"] = 0.125
    validated = _validate(rows, "actions")
    frame = validated.bars.frame
    carried = frame[frame["session"] == rows["session"][32]].iloc[0]
    # per share before the first of them: 2, then 4 shares get 0.25 each, then 8 shares get 0.125 each
    assert (carried["split"], carried["dividend"]) == (8.0, 2.0 + 4 * 0.25 + 8 * 0.125)
    assert _problems(validated)["carried_action"].session == _day(rows, 32)
    assert len(frame) == 57


def test_a_split_on_a_blank_row_leaves_the_total_return_as_it_was() -> None:
    rows = good_rows()
    rows.loc[30, PRICES] = np.nan
    whole, without = _validate(good_rows(), "actions").bars.frame, _validate(rows, "actions").bars.frame
    assert _total_return(without) == pytest.approx(_total_return(whole), rel=1e-12)
    assert len(without) == 59


def test_a_dividend_on_a_day_without_trading_is_not_lost() -> None:
    rows = good_rows()
    stray = rows.iloc[[20]].assign(session=pd.Timestamp("2024-03-02"), dividend=0.75)  # a Saturday
    spoilt = pd.concat([rows.assign(dividend=0.0), stray], ignore_index=True)
    frame = _validate(spoilt, "actions").bars.frame
    assert frame.loc[frame["dividend"] > 0, "session"].tolist() == [pd.Timestamp("2024-03-04")]


# --- sessions ---


@pytest.mark.parametrize(("shift", "caught_within"), [(1, 10), (-1, 10), (2, 6)])
def test_days_shifted_by_a_time_zone_end_the_ticker_soon(shift: int, caught_within: int) -> None:
    rows = good_rows(250, after="2023-06-30")
    moved = rows.assign(session=rows["session"] + pd.Timedelta(days=shift))
    young = _validate(moved)
    assert len(young.bars.frame) < caught_within
    assert "days of the week without trading" in young.excluded[0].reason
    assert validate({"AAPL": moved.head(30)}, ValidationTerms("close", False, NOW, 20)).bars.tickers == ()
    late = pd.concat([rows.head(150), moved.iloc[150:]], ignore_index=True)
    kept = _validate(late).bars.frame["session"]
    assert 149 <= len(kept) < 150 + caught_within


def test_holidays_with_bars_are_quarantined_and_end_nothing() -> None:
    rows = good_rows(250, after="2023-06-30")
    holidays = pd.to_datetime(["2023-07-04", "2023-09-04", "2023-11-23", "2023-12-25", "2024-01-01", "2024-01-15"])
    filled = pd.concat([rows, rows.iloc[: len(holidays)].assign(session=holidays, dividend=0.0)], ignore_index=True)
    validated = _validate(filled.sort_values("session", ignore_index=True))
    assert len(validated.bars.frame) == 250
    assert validated.excluded == ()
    assert (_problems(validated)["no_session"].rows, _problems(validated)["no_session"].session) == (6, "2023-07-04")


def test_a_half_day_is_complete_after_its_early_close() -> None:
    rows = good_rows(20, after="2024-10-31")
    assert _day(rows, 19) == "2024-11-29"
    before = validate({"AAPL": rows}, ValidationTerms("close", True, datetime(2024, 11, 29, 17, 59, tzinfo=UTC), 1))
    after = validate({"AAPL": rows}, ValidationTerms("close", True, datetime(2024, 11, 29, 18, 0, tzinfo=UTC), 1))
    assert len(before.bars.frame) == 19
    assert (_problems(before)["unfinished"].severity, _problems(before)["unfinished"].rows) == (Severity.ROWS, 1)
    assert (len(after.bars.frame), after.problems) == (20, ())


def test_missing_sessions_are_counted() -> None:
    rows = good_rows().drop(index=[7, 20, 21, 22, 40])
    problem = _problems(_validate(rows, "close", False))["missing_sessions"]
    assert (problem.rows, problem.session) == (5, _day(good_rows(), 7))
    assert problem.found == "5 sessions without a bar, at most 3 in a row"


def test_a_crypto_ticker_trades_on_weekends() -> None:
    rows = good_rows().assign(session=pd.date_range("2024-01-01", periods=60).astype("datetime64[s]"))
    assert validate({"BTC-USD": rows}, ValidationTerms("close", True, NOW, 1)).problems == ()


# --- a hundred times off ---


@pytest.mark.parametrize("factor", [100.0, 0.01, 115.0])
@pytest.mark.parametrize(("first", "last"), [(50, 50), (50, 54), (29, 32), (1, 3)])
def test_up_to_five_rows_in_another_unit_are_scaled_back(factor: float, first: int, last: int) -> None:
    whole = good_rows()
    rows = whole.copy()
    rows.loc[first:last, [*PRICES, "adj_close"]] *= factor
    validated = _validate(rows)
    assert validated.excluded == ()
    hundred = 100.0 if factor > 1 else 0.01
    np.testing.assert_allclose(
        validated.bars.frame.loc[first:last, [*PRICES, "adj_close"]] * hundred / factor,
        whole.loc[first:last, [*PRICES, "adj_close"]],
        rtol=1e-12,
    )
    problem = _problems(validated)["hundredfold"]
    assert (problem.rows, problem.session) == (last - first + 1, _day(rows, first))


def test_an_adjusted_close_that_was_right_stays() -> None:
    rows = _scaled(good_rows(), slice(50, 52), 100.0)
    np.testing.assert_array_equal(_validate(rows).bars.frame["adj_close"], rows["adj_close"])


def test_a_unit_that_stays_ends_the_ticker_at_its_sixth_row() -> None:
    validated = _validate(_scaled(good_rows(), slice(45, None), 0.01), "actions")
    np.testing.assert_allclose(validated.bars.frame["close"], good_rows()["close"].head(50), rtol=1e-12)
    assert "a hundredth of the closes before, for more than 5 rows" in validated.excluded[0].reason


def test_a_split_of_a_hundred_that_is_reported_is_no_unit() -> None:
    rows = _scaled(good_rows(), slice(50, None), 0.01)
    rows.loc[50, "split"] = 100.0
    rows.loc[50:, "volume"] *= 100.0
    assert _validate(rows).problems == ()


def test_without_actions_an_even_adjusted_close_explains_a_jump() -> None:
    rows = _scaled(good_rows(), slice(50, None), 0.01)
    assert _validate(rows, "adj_close", has_actions=False).excluded == ()
    assert _validate(rows.drop(columns="adj_close"), "close", has_actions=False).excluded != ()


def test_what_comes_after_the_end_of_the_bars_is_not_listed() -> None:
    rows = _scaled(good_rows(), slice(40, None), 0.01)
    rows.loc[38, "volume"], rows.loc[[55, 56], "volume"] = -1.0, -1.0
    rows.loc[57, "close"] = np.nan
    problems = _problems(_validate(rows, "actions"))
    assert set(problems) == {"volume", "hundredfold", "unit_changed"}
    assert problems["volume"].rows == 1


# --- actions against prices ---


def test_a_split_that_never_happened_is_taken_out() -> None:
    rows = _planted(split=2.0)
    validated = _validate(rows, "actions")
    np.testing.assert_array_equal(validated.bars.frame["split"], good_rows()["split"])
    assert (_problems(validated)["phantom_split"].session, validated.excluded) == (_day(rows, ROW), ())


def test_a_dividend_that_was_not_paid_is_taken_out_where_returns_come_from_it() -> None:
    rows = _planted(dividend=9.0)
    assert good_rows()["close"][ROW - 1] < 45.0
    taken = _validate(rows, "actions")
    assert taken.bars.frame["dividend"][ROW] == 0.0
    assert _problems(taken)["phantom_dividend"].severity is Severity.REPAIRED
    noted = _validate(rows, "adj_close")
    assert noted.bars.frame["dividend"][ROW] == 9.0
    assert _problems(noted)["doubtful_dividend"].severity is Severity.NOTE
    assert "dividend 9 with closes" in _problems(noted)["doubtful_dividend"].found


def test_a_large_dividend_that_the_price_knows_of_stays() -> None:
    rows = _scaled(good_rows(), slice(ROW, None), 0.7)
    rows.loc[ROW, "dividend"] = 0.3 * rows["close"][ROW - 1]
    assert set(_problems(_validate(rows.drop(columns="adj_close"), "actions"))) == set()


def test_a_dividend_reported_in_the_shares_after_its_day_s_reverse_split_is_restated() -> None:
    rows = good_rows()
    rows.loc[ROW, "split"] = 0.25
    rows.loc[ROW:, PRICES] *= 4.0 * 0.4  # 60 % of the value is paid out, reported per new share
    rows.loc[ROW:, "volume"] /= 4.0
    rows.loc[ROW, "dividend"] = 0.6 * 4.0 * good_rows()["close"][ROW - 1]
    frame = _validate(rows, "actions").bars.frame
    assert frame["dividend"][ROW] == pytest.approx(0.6 * good_rows()["close"][ROW - 1])


@pytest.mark.parametrize("ratio", [2.0, 3.0, 4.0, 10.0, 0.1])
def test_a_split_that_nobody_reported_ends_the_ticker(ratio: float) -> None:
    rows = _scaled(good_rows(), slice(ROW, None), 1.0 / ratio)
    rows.loc[ROW:, "volume"] *= ratio
    validated = _validate(rows, "actions")
    assert len(validated.bars.frame) == ROW
    assert "expected a split or no jump" in validated.excluded[0].reason
    assert _validate(rows, "adj_close", has_actions=False).problems == ()
    noted = _validate(rows, "close", has_actions=False)
    assert (set(_problems(noted)), len(noted.bars.frame), noted.excluded) == ({"split_like_jump"}, 60, ())


def _crash(rows: pd.DataFrame) -> pd.DataFrame:
    return _scaled(rows, slice(ROW, None), 0.5)


@pytest.mark.parametrize(
    "disguise",
    [
        lambda rows: rows.assign(volume=np.where(rows.index == ROW, 12.0 * rows["volume"], rows["volume"])),
        lambda rows: rows.assign(low=np.where(rows.index == ROW, 0.8 * rows["low"], rows["low"])),
        lambda rows: rows.assign(
            open=np.where(rows.index == ROW, 1.6 * rows["open"], rows["open"]),
            high=np.where(rows.index == ROW, 1.7 * rows["high"], rows["high"]),
        ),
    ],
)
def test_a_crash_by_half_is_no_split(disguise: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    draws = np.random.default_rng(1)
    rows = good_rows().assign(volume=draws.uniform(900, 1100, 60)).drop(columns="adj_close")
    assert len(_validate(_crash(rows), "actions").bars.frame) == ROW
    assert _validate(disguise(_crash(rows)), "actions").problems == ()


# --- nothing moves ---


def _flat(rows: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    spoilt = rows.copy()
    spoilt.loc[first:last, PRICES] = rows.loc[first, "close"]
    return spoilt.drop(columns="adj_close")


def test_frozen_prices_are_quarantined_from_the_tenth_repeat_on() -> None:
    rows = _flat(good_rows(), 35, 49)
    validated = _validate(rows, "actions")
    quarantined = rows["session"].isin(validated.bars.frame["session"]).pipe(np.logical_not)
    assert np.flatnonzero(quarantined).tolist() == [45, 46, 47, 48, 49]
    assert (_problems(validated)["frozen"].rows, _problems(validated)["frozen"].session) == (5, _day(rows, 45))
    assert _validate(_flat(good_rows(), 35, 44), "actions").problems == ()
    rows.loc[35, "high"] *= 1.01  # no repeat of a row that moved
    assert _problems(_validate(rows, "actions"))["frozen"].rows == 4


def test_an_action_in_frozen_rows_is_not_lost() -> None:
    rows = _flat(good_rows(), 35, 49)
    rows.loc[47, "dividend"] = 0.5
    frame = _validate(rows, "actions").bars.frame.set_index("session")
    assert frame.loc[rows["session"][50], "dividend"] == 0.5


def test_ten_sessions_without_volume_are_noted() -> None:
    rows = good_rows()
    rows.loc[30:40, "volume"] = 0.0
    problem = _problems(_validate(rows, "close", False))["zero_volume"]
    assert (problem.severity, problem.rows, problem.session) == (Severity.NOTE, 2, _day(rows, 39))
    rows.loc[35, "volume"] = 1.0
    assert _validate(rows, "close", False).problems == ()
    assert _validate(good_rows().assign(volume=0.0), "close", False).problems == ()


def test_a_vendor_s_other_return_is_noted() -> None:
    rows = good_rows()
    rows.loc[ROW:, "adj_close"] *= 1.001
    problem = _problems(_validate(rows))["vendor_adjustment"]
    assert (problem.severity, problem.rows, problem.session) == (Severity.NOTE, 1, _day(rows, ROW))


def test_yahoo_s_adjustment_is_a_known_rule() -> None:
    rows = good_rows()
    rows.loc[20, "dividend"] = 5.0
    total = np.append(1.0, rows["close"][1:].to_numpy() * rows["split"][1:].to_numpy() / rows["close"][:-1].to_numpy())
    total[1:] /= 1.0 - rows["dividend"][1:].to_numpy() / rows["close"][:-1].to_numpy()
    assert _validate(rows.assign(adj_close=np.cumprod(total))).problems == ()


# --- the table ---


def test_the_table_of_rules_is_complete_and_plain() -> None:
    assert all(name == rule.name and rule.expected and rule.sentence.endswith(".") for name, rule in RULES.items())
    assert {"currency", "unapplied_split"} <= set(RULES)
    assert {rule.severity for rule in RULES.values()} == set(Severity)
