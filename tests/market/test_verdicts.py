"""Verdicts: one word per ticker, every finding with its rule, and what was recorded when its rows were fetched."""

import pandas as pd

from pipeline.market.bars import Admitted, Bars, LeftOut, Listing, Problem
from pipeline.market.contract.rules import RULES, problem_of
from pipeline.market.verdicts import COLUMNS, FOUND, LEFT_OUT, SOUND, counts, verdicts

NO_ROWS = pd.DataFrame(columns=["ticker", "session"])

NOTED = problem_of("AAA", "missing_sessions", "2024-01-08", "2 sessions without a bar", 2)
REPAIRED = problem_of("AAA", "high_low", "2024-01-05", "open 1, high 1, low 1, close 1.001")
PUT_ASIDE = problem_of("BBB", "price", "2024-01-05", "low -1.0")
ENDED = problem_of("CCC", "unrecorded_split", "2024-01-05", "a close of 0.25 times the former")


def admitted(*tickers: str, problems: tuple[Problem, ...] = (), left_out: tuple[LeftOut, ...] = ()) -> Admitted:
    """What the door says of tickers that have bars, and of those that are not forecast."""
    return Admitted(
        Bars(NO_ROWS, tuple(Listing(ticker, "XNYS", "USD") for ticker in tickers), "actions"), problems, left_out
    )


def words(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["ticker"], table["verdict"], strict=True))


def test_a_ticker_without_a_finding_is_sound_in_one_row() -> None:
    table = verdicts(admitted("AAA", "BBB"))
    assert list(table.columns) == list(COLUMNS)
    assert table.to_dict("records") == [
        dict(zip(COLUMNS, (ticker, SOUND, "", "", "", 0, "", ""), strict=True)) for ticker in ("AAA", "BBB")
    ]


def test_any_finding_makes_a_ticker_usable_and_is_shown_whole() -> None:
    table = verdicts(admitted("AAA", "BBB", problems=(REPAIRED, NOTED, PUT_ASIDE)))
    assert set(table["verdict"]) == {FOUND}
    assert [(row.ticker, row.rule, row.what_was_done, row.rows) for row in table.itertuples()] == [
        ("AAA", "high_low", "repaired", 1),
        ("AAA", "missing_sessions", "noted", 2),
        ("BBB", "price", "rows put aside", 1),
    ]
    (row,) = table[table["ticker"] == "BBB"].to_dict("records")
    assert (row["since"], row["found"], row["expected"]) == ("2024-01-05", "low -1.0", RULES["price"].expected)


def test_to_be_left_out_is_graver_than_any_finding() -> None:
    found = admitted("AAA", "CCC", problems=(NOTED, ENDED), left_out=(LeftOut("CCC", "bars end early: ..."),))
    table = verdicts(found)
    assert words(table) == {"CCC": LEFT_OUT, "AAA": FOUND}
    (row,) = table[table["ticker"] == "CCC"].to_dict("records")
    assert (row["rule"], row["what_was_done"], row["found"]) == ("unrecorded_split", "bars end there", ENDED.found)


def test_a_ticker_that_is_left_out_for_a_mere_note_is_left_out() -> None:
    short = LeftOut("AAA", "20 usable sessions, at least 100 are needed")
    assert words(verdicts(admitted("AAA", problems=(NOTED,), left_out=(short,)))) == {"AAA": LEFT_OUT}


def test_a_ticker_without_bars_or_findings_is_told_with_its_reason() -> None:
    table = verdicts(admitted("AAA", left_out=(LeftOut("GONE", "unknown ticker 'GONE'"),)))
    row = table.to_dict("records")[0]
    assert (row["ticker"], row["verdict"], row["rule"]) == ("GONE", LEFT_OUT, "no_bars")
    assert (row["what_was_done"], row["found"], row["rows"]) == ("bars end there", "unknown ticker 'GONE'", 0)


def test_the_gravest_come_first_then_by_name() -> None:
    told = admitted(
        *("ZZZ", "SSS", "BBB", "AAA"),
        problems=(PUT_ASIDE, NOTED),
        left_out=(LeftOut("YYY", "none"), LeftOut("GONE", "none")),
    )
    assert list(words(verdicts(told)).items()) == [
        ("GONE", LEFT_OUT),
        ("YYY", LEFT_OUT),
        ("AAA", FOUND),
        ("BBB", FOUND),
        ("SSS", SOUND),
        ("ZZZ", SOUND),
    ]


def test_what_was_recorded_at_the_fetch_is_part_of_the_verdict() -> None:
    split = problem_of("AAA", "unapplied_split", "2020-08-31", "older prices not divided by 4", 20)
    table = verdicts(admitted("AAA", "BBB"), (split,))
    assert words(table) == {"AAA": FOUND, "BBB": SOUND}
    row = table.to_dict("records")[0]
    assert (row["rule"], row["what_was_done"], row["rows"]) == ("unapplied_split", "repaired", 20)


def test_what_is_found_and_recorded_alike_is_told_once() -> None:
    table = verdicts(admitted("AAA", problems=(REPAIRED, NOTED)), (NOTED, REPAIRED, NOTED))
    assert list(table["rule"]) == ["high_low", "missing_sessions"]


def test_what_was_recorded_of_a_left_out_ticker_stands_with_it() -> None:
    table = verdicts(admitted(left_out=(LeftOut("AAA", "too old"),)), (NOTED,))
    assert [(row.verdict, row.rule) for row in table.itertuples()] == [(LEFT_OUT, "missing_sessions")]


def test_every_ticker_counts_once() -> None:
    told = admitted("AAA", "BBB", "SSS", problems=(REPAIRED, NOTED, PUT_ASIDE), left_out=(LeftOut("GONE", "none"),))
    assert counts(verdicts(told)) == {SOUND: 1, FOUND: 2, LEFT_OUT: 1}
    assert counts(verdicts(admitted())) == {SOUND: 0, FOUND: 0, LEFT_OUT: 0}
