"""Which tickers a run is about: those named, or those of a universe, as the source spells them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.market.specification import YAHOO, SourceSpec, StoredSource, YahooSource
from pipeline.market.tickers import printable
from pipeline.market.universe import Universe, read_universe
from pipeline.settings import Settings


def spelled(source: SourceSpec, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names as the source has them and as they can be shown, each once: Yahoo knows no lower case."""
    from_yahoo = isinstance(source, YahooSource) or (isinstance(source, StoredSource) and source.collection == YAHOO)
    return tuple(dict.fromkeys(printable(name.upper() if from_yahoo else name) for name in names))


def universe_of(settings: Settings, source: SourceSpec, named: Path) -> Universe:
    """Return the universe in a file, or in the list of that name under TAPECAST_HOME; raises UsageError without one."""
    found = read_universe(named, settings.universes)
    spells = tuple(replace(spell, ticker=spelled(source, [spell.ticker])[0]) for spell in found.memberships)
    return replace(found, tickers=spelled(source, found.tickers), memberships=spells)


def tickers_of(settings: Settings, source: SourceSpec, names: Sequence[str], universe: Path | None) -> tuple[str, ...]:
    """Return the tickers named, or those of the universe, or none, which stands for all that the source holds."""
    if names or universe is None:
        return spelled(source, names)
    return universe_of(settings, source, universe).tickers
