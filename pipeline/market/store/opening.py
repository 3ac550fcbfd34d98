"""Finding a collection by its name."""

from pathlib import Path

from pipeline.errors import UsageError
from pipeline.market.store.collection import Collection, collections


def find_collection(root: Path, name: str) -> Collection:
    """The collection of that name under `root`; raises UsageError naming those that there are."""
    held = {collection.name: collection for collection in collections(root)}
    if name not in held:
        there = ", ".join(held) or "none yet"
        raise UsageError(
            f"found no collection {name!r} in the price store {root} (there: {there}); fill one with `tapecast data "
            "update --tickers AAPL,MSFT`, or import files with --path"
        )
    return held[name]
