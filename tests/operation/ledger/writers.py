"""A writer of its own process: python -m tests.operation.ledger.writers URL MODEL SEED DAYS."""

import sys

from pipeline.errors import LedgerConflictError
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.writing import append

from .issued import days, issue


def main(url: str, model: str, seed: str, count: str) -> None:
    """Issue the same days as every writer, and print what became of each; another seed has other values."""
    ledger = open_ledger(url)
    for day in days(int(count)):
        try:
            appended = append(ledger, issue(model, day, seed=int(seed)))
            print(appended.sequence, appended.digest, appended.added, flush=True)
        except LedgerConflictError:
            print("conflict", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
