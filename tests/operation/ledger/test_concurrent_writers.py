"""Several processes write at once, on both databases: one chain per model name, each row once."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.verification import verify

ROOT = Path(__file__).parents[3]
DAYS = 8
WRITERS = 3


def run_writers(url: str, *arguments: tuple[str, int]) -> list[list[str]]:
    """Return the lines of writers that ran at the same time, each given as model name and seed."""
    command = [sys.executable, "-W", "error", "-m", "tests.operation.ledger.writers", url]
    writers = [
        subprocess.Popen(
            [*command, model, str(seed), str(DAYS)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for model, seed in arguments
    ]
    finished = [writer.communicate(timeout=120) for writer in writers]
    assert [errors for _, errors in finished] == [""] * len(writers)
    return [output.splitlines() for output, _ in finished]


@pytest.mark.slow
def test_writers_of_the_same_rows_make_one_chain(url: str) -> None:
    """They open the empty database at once too, and make its tables."""
    printed = run_writers(url, *[("daily", 0)] * WRITERS)
    entries = [[tuple(line.split()[:2]) for line in lines] for lines in printed]
    assert entries == [entries[0]] * WRITERS
    added = Counter(int(line.split()[2]) for lines in printed for line in lines)
    assert added == {12: DAYS, 0: DAYS * (WRITERS - 1)}
    found = verify(open_ledger(url), "daily", {int(sequence): digest for sequence, digest in entries[0]})
    assert (found.entries, found.rows, found.fault) == (DAYS, 12 * DAYS, None)


@pytest.mark.slow
def test_of_writers_of_different_values_one_is_kept_for_each_day(url: str) -> None:
    printed = run_writers(url, *[("daily", seed) for seed in range(WRITERS)])
    for lines in zip(*printed, strict=True):
        assert sorted(line == "conflict" for line in lines) == [False] + [True] * (WRITERS - 1)
    found = verify(open_ledger(url), "daily", {})
    assert (found.entries, found.rows, found.fault) == (DAYS, 12 * DAYS, None)


@pytest.mark.slow
def test_writers_of_different_models_have_a_chain_each(url: str) -> None:
    models = [f"model-{number}" for number in range(WRITERS)]
    run_writers(url, *[(model, number) for number, model in enumerate(models)])
    ledger = open_ledger(url)
    for model in models:
        found = verify(ledger, model, {})
        assert (found.entries, found.rows, found.fault) == (DAYS, 12 * DAYS, None)
