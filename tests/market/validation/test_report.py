"""The validation report: a status per ticker, every finding with its rule, and problems recorded at the fetch."""

import pandas as pd

from pipeline.market.bars import Bars, Exclusion, Listing, Problem, ValidatedBars
from pipeline.market.validation.report import CLEAN, EXCLUDED, REPORT_COLUMNS, USABLE, status_counts, validation_report
from pipeline.market.validation.rules import RULES, problem_of

NO_ROWS = pd.DataFrame(columns=["ticker", "session"])

NOTED = problem_of("AAA", "missing_sessions", "2024-01-08", "2 sessions without a bar", 2)
REPAIRED = problem_of("AAA", "high_low", "2024-01-05", "open 1, high 1, low 1, close 1.001")
QUARANTINED = problem_of("BBB", "price", "2024-01-05", "low -1.0")
ENDED = problem_of("CCC", "unrecorded_split", "2024-01-05", "a close of 0.25 times the former")


def validated(*tickers: str, problems: tuple[Problem, ...] = (), excluded: tuple[Exclusion, ...] = ()) -> ValidatedBars:
    """What validation says of tickers that have bars, and of those that are not forecast."""
    return ValidatedBars(
        Bars(NO_ROWS, tuple(Listing(ticker, "XNYS", "USD") for ticker in tickers), "actions"), problems, excluded
    )


def words(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["ticker"], table["status"], strict=True))


def test_a_ticker_without_a_finding_is_clean_in_one_row() -> None:
    table = validation_report(validated("AAA", "BBB"))
    assert list(table.columns) == list(REPORT_COLUMNS)
    assert table.to_dict("records") == [
        dict(zip(REPORT_COLUMNS, (ticker, CLEAN, "", "", "", 0, "", ""), strict=True)) for ticker in ("AAA", "BBB")
    ]


def test_any_finding_makes_a_ticker_usable_and_is_shown_whole() -> None:
    table = validation_report(validated("AAA", "BBB", problems=(REPAIRED, NOTED, QUARANTINED)))
    assert set(table["status"]) == {USABLE}
    assert [(row.ticker, row.rule, row.severity, row.rows) for row in table.itertuples()] == [
        ("AAA", "high_low", "repaired", 1),
        ("AAA", "missing_sessions", "noted", 2),
        ("BBB", "price", "rows quarantined", 1),
    ]
    (row,) = table[table["ticker"] == "BBB"].to_dict("records")
    assert (row["since"], row["found"], row["expected"]) == ("2024-01-05", "low -1.0", RULES["price"].expected)


def test_an_exclusion_is_more_severe_than_any_finding() -> None:
    found = validated("AAA", "CCC", problems=(NOTED, ENDED), excluded=(Exclusion("CCC", "bars end early: ..."),))
    table = validation_report(found)
    assert words(table) == {"CCC": EXCLUDED, "AAA": USABLE}
    (row,) = table[table["ticker"] == "CCC"].to_dict("records")
    assert (row["rule"], row["severity"], row["found"]) == ("unrecorded_split", "bars truncated", ENDED.found)


def test_a_ticker_excluded_with_a_note_only_is_excluded() -> None:
    short = Exclusion("AAA", "20 usable sessions, at least 100 are needed")
    assert words(validation_report(validated("AAA", problems=(NOTED,), excluded=(short,)))) == {"AAA": EXCLUDED}


def test_a_ticker_without_bars_or_findings_is_reported_with_its_reason() -> None:
    table = validation_report(validated("AAA", excluded=(Exclusion("GONE", "unknown ticker 'GONE'"),)))
    row = table.to_dict("records")[0]
    assert (row["ticker"], row["status"], row["rule"]) == ("GONE", EXCLUDED, "no_bars")
    assert (row["severity"], row["found"], row["rows"]) == ("bars truncated", "unknown ticker 'GONE'", 0)


def test_the_most_severe_come_first_then_by_name() -> None:
    bars = validated(
        *("ZZZ", "SSS", "BBB", "AAA"),
        problems=(QUARANTINED, NOTED),
        excluded=(Exclusion("YYY", "none"), Exclusion("GONE", "none")),
    )
    assert list(words(validation_report(bars)).items()) == [
        ("GONE", EXCLUDED),
        ("YYY", EXCLUDED),
        ("AAA", USABLE),
        ("BBB", USABLE),
        ("SSS", CLEAN),
        ("ZZZ", CLEAN),
    ]


def test_what_was_recorded_at_the_fetch_is_part_of_the_verdict() -> None:
    split = problem_of("AAA", "unapplied_split", "2020-08-31", "older prices not divided by 4", 20)
    table = validation_report(validated("AAA", "BBB"), (split,))
    assert words(table) == {"AAA": USABLE, "BBB": CLEAN}
    row = table.to_dict("records")[0]
    assert (row["rule"], row["severity"], row["rows"]) == ("unapplied_split", "repaired", 20)


def test_what_is_found_and_recorded_alike_is_reported_once() -> None:
    table = validation_report(validated("AAA", problems=(REPAIRED, NOTED)), (NOTED, REPAIRED, NOTED))
    assert list(table["rule"]) == ["high_low", "missing_sessions"]


def test_what_was_recorded_of_a_excluded_ticker_stands_with_it() -> None:
    table = validation_report(validated(excluded=(Exclusion("AAA", "too old"),)), (NOTED,))
    assert [(row.status, row.rule) for row in table.itertuples()] == [(EXCLUDED, "missing_sessions")]


def test_every_ticker_counts_once() -> None:
    bars = validated(
        "AAA", "BBB", "SSS", problems=(REPAIRED, NOTED, QUARANTINED), excluded=(Exclusion("GONE", "none"),)
    )
    assert status_counts(validation_report(bars)) == {CLEAN: 1, USABLE: 2, EXCLUDED: 1}
    assert status_counts(validation_report(validated())) == {CLEAN: 0, USABLE: 0, EXCLUDED: 0}
