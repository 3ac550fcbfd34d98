"""The tickers of a run: those named, those of a universe, or all that the source has."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.market.listings import printable
from pipeline.market.sources import Source
from pipeline.market.specification import YAHOO, SourceSpec, StoredSource, YahooSource
from pipeline.market.universe import Universe, read_universe
from pipeline.settings import Settings


def spelled(source: SourceSpec, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names as the source spells them, printable, each once; Yahoo's tickers are upper case."""
    from_yahoo = isinstance(source, YahooSource) or (isinstance(source, StoredSource) and source.collection == YAHOO)
    return tuple(dict.fromkeys(printable(name.upper() if from_yahoo else name) for name in names))


def universe_of(settings: Settings, source: SourceSpec, named: Path) -> Universe:
    """Return the universe in a file, or in the list of that name under TAPECAST_HOME; raises UsageError without one."""
    universe = read_universe(named, settings.universes)
    memberships = tuple(replace(spell, ticker=spelled(source, [spell.ticker])[0]) for spell in universe.memberships)
    return replace(universe, tickers=spelled(source, universe.tickers), memberships=memberships)


def tickers_of(settings: Settings, source: SourceSpec, names: Sequence[str], universe: Path | None) -> tuple[str, ...]:
    """Return the tickers named, or those of the universe, or none, which stands for all that the source holds."""
    if names or universe is None:
        return spelled(source, names)
    return universe_of(settings, source, universe).tickers


def requested_tickers(source: Source, names: Sequence[str]) -> tuple[str, ...]:
    """Return the tickers named, or else all that the source holds; raises UsageError where it holds none."""
    tickers = tuple(names) or source.tickers()
    if not tickers:
        raise UsageError("found no tickers there; fetch some with `tapecast data update --tickers AAPL,MSFT`")
    return tickers
