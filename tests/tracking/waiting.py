"""What waits in an outbox."""

from pathlib import Path

from pipeline.tracking.outbox import HEADER


def waiting_records(outbox: Path) -> int:
    """How many records wait to be delivered, to any store, those of runs under way included."""
    return sum((folder / HEADER).is_file() for folder in outbox.glob("[0-9]*-*"))
