"""Bars by calendar: the findings on every ticker are reported with its calendar, or with the first."""

import pytest

from pipeline.market.bars import CalendarMismatch, Exclusion, Listing, Stale
from pipeline.market.universe import Universe
from pipeline.market.validation.rules import problem_of
from pipeline.workflow.calendar_bars import by_calendar, nothing_left, reported_with

from .builders import EVERYWHERE, NOW, loaded_of

pytestmark = [pytest.mark.timeout(300)]


def test_a_ticker_is_reported_with_its_own_calendar_or_the_first() -> None:
    calendars = ("XBOM", "XNYS", "24/7")
    assert [reported_with(ticker, calendars, {}) for ticker in ("AAPL", "TCS.BO", "INFY.NS", "BTC-USD")] == [
        "XNYS",
        "XBOM",
        "XBOM",
        "24/7",
    ]
    assert reported_with("ULVR.L", calendars, {}) == "XBOM"  # London has no bars in this run
    assert reported_with("AAPL.QQQQ", calendars, {}) == "XBOM"  # no exchange that is known
    assert reported_with("AAPL", ("XLON",), {}) == "XLON"
    named = {"INFY": Listing("INFY", "XBOM", "INR")}
    assert reported_with("INFY", ("XNYS", "XBOM"), named) == "XBOM"  # the exchange that the source names


def test_every_calendar_has_the_findings_on_its_own_tickers() -> None:
    problems = tuple(problem_of(finding, "missing_sessions", "2024-01-08", "2 sessions") for finding in EVERYWHERE)
    excluded = tuple(Exclusion(finding, "why") for finding in ("GONE", "GONE.NS", "GONE.L", "GONE.QQQQ"))
    stale = (Stale("AAA", "2024-05-30", 1, "429"), Stale("TCS.BO", "2024-05-30", 1, "429"))
    universe = Universe("mine", EVERYWHERE)
    loaded = loaded_of(*EVERYWHERE, "CCC", problems=problems, excluded=excluded, stale=stale, universe=universe)
    first, second = by_calendar(loaded)
    assert (first.calendar, second.calendar) == ("XNYS", "XBOM")
    assert (first.bars.tickers, second.bars.tickers) == (("AAA", "BBB", "CCC"), ("INFY.NS", "TCS.BO"))
    assert (first.other_tickers, second.other_tickers) == (("INFY.NS", "TCS.BO"), ("AAA", "BBB", "CCC"))
    assert [problem.ticker for problem in first.problems] == ["AAA", "BBB"]
    assert [problem.ticker for problem in second.problems] == ["INFY.NS", "TCS.BO"]
    assert [finding.ticker for finding in first.excluded] == ["GONE", "GONE.L", "GONE.QQQQ"]
    assert [finding.ticker for finding in second.excluded] == ["GONE.NS"]
    assert [[finding.ticker for finding in bars.stale] for bars in (first, second)] == [["AAA"], ["TCS.BO"]]
    assert {(bars.note, bars.known_at, bars.universe) for bars in (first, second)} == {("Made up.", NOW, universe)}


def test_of_calendars_with_as_many_tickers_the_first_by_name_comes_first() -> None:
    assert [bars.calendar for bars in by_calendar(loaded_of("AAA", "TCS.BO", "BTC-USD"))] == [
        "24/7",
        "XBOM",
        "XNYS",
    ]


def test_a_calendar_concerns_its_own_tickers_and_those_excluded_from_it() -> None:
    first, second = by_calendar(loaded_of("AAA", "BBB", "TCS.BO", excluded=(Exclusion("GONE", "why"),)))
    assert first.concerns(("GONE",))
    assert first.concerns(("TCS.BO", "BBB"))
    assert not first.concerns(("TCS.BO",))
    assert second.concerns(("TCS.BO",))
    assert not second.concerns(())


def mismatch(calendar: str) -> CalendarMismatch:
    return CalendarMismatch(calendar, 2, 3, ("2024-01-15", "2024-02-19", "2024-05-27"), (), "XTSE", ("AAA.TO",))


def test_a_mismatch_is_reported_with_its_calendar_or_the_first() -> None:
    found = tuple(map(mismatch, ("XNYS", "XLON")))  # of London no ticker is left
    calendars = by_calendar(loaded_of(*EVERYWHERE, calendar_mismatches=found))
    first, second = (bars.calendar for bars in calendars)
    reported = {bars.calendar: [one.calendar for one in bars.calendar_mismatches] for bars in calendars}
    assert {first, second} == {"XNYS", "XBOM"}
    assert sorted(code for codes in reported.values() for code in codes) == ["XLON", "XNYS"]
    assert "XNYS" in reported["XNYS"]
    assert "XLON" in reported[first]


def test_a_wrong_calendar_comes_before_the_reasons_why_nothing_is_left() -> None:
    error = nothing_left([Exclusion("AAA", "20 usable sessions")], [mismatch("XNYS")])
    assert str(error).startswith("2 of 3 tickers read on XNYS have bars on 3 days that XNYS lacks")
    assert str(error).endswith("no usable ticker is left: AAA: 20 usable sessions")
