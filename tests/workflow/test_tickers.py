"""Tickers as people name them: in lower case, in a list of their own; and as the source has them."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.market.specification import FilesSource, SampleSource, SourceSpec, StoredSource, YahooSource
from pipeline.market.universe import MembershipPeriod
from pipeline.settings import Settings
from pipeline.workflow.tickers import spelled, tickers_of, universe_of

NAMES = ("aapl", "BRK-b", "AAPL")


@pytest.mark.parametrize("source", [YahooSource(), StoredSource()])
def test_tickers_of_yahoo_are_in_capitals(source: SourceSpec) -> None:
    assert spelled(source, NAMES) == ("AAPL", "BRK-B")


@pytest.mark.parametrize("source", [FilesSource(path=Path("x.csv")), SampleSource(), StoredSource(collection="mine")])
def test_other_sources_keep_their_own_spelling(source: SourceSpec) -> None:
    assert spelled(source, (*NAMES, "aapl")) == NAMES


def test_a_stored_list_is_read_as_the_source_spells_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.universes.mkdir()
    (settings.universes / "mine.csv").write_text("ticker,member_from\naapl,2001-01-02\nmsft,\n")
    found = universe_of(settings, YahooSource(), Path("mine"))
    assert found.tickers == ("AAPL", "MSFT")
    assert found.memberships == (MembershipPeriod("AAPL", date(2001, 1, 2), None), MembershipPeriod("MSFT", None, None))
    assert universe_of(settings, SampleSource(), Path("mine")).tickers == ("aapl", "msft")


def test_names_override_the_list_and_neither_means_all(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.universes.mkdir()
    (settings.universes / "mine.txt").write_text("msft\n")
    assert tickers_of(settings, YahooSource(), ("aapl",), Path("mine")) == ("AAPL",)
    assert tickers_of(settings, YahooSource(), (), Path("mine")) == ("MSFT",)
    assert tickers_of(settings, YahooSource(), (), None) == ()


def test_a_name_that_cannot_be_a_ticker_is_reported_as_it_is_shown_everywhere() -> None:
    for bad in ("X" * 40, "a\tb"):
        (shown,) = spelled(SampleSource(), [bad])
        assert shown.isprintable()
        assert len(shown) <= 33
        assert spelled(SampleSource(), [shown]) == (shown,)
