"""Finding a collection by its name."""

from pathlib import Path

from pipeline.errors import UsageError
from pipeline.market.store.collection import TERMS, Collection, stored_collection


def find_collection(root: Path, name: str) -> Collection:
    """The collection of that name under `root`; raises UsageError naming those that there are."""
    there = sorted(path.parent.name for path in root.glob(f"*/{TERMS}"))
    if name not in there:
        raise UsageError(
            f"found no collection {name[:80]!r} in the price store {root} (there: {', '.join(there) or 'none yet'}); "
            "fill one with `tapecast data update --tickers AAPL,MSFT`, or import files with --path"
        )
    return stored_collection(root / name)
