"""Killed with -9 at any moment, and written by two at once: no unreadable ticker, no lost version."""

import multiprocessing
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest

from pipeline.market.store.collection import Collection, read_history, tickers
from pipeline.market.store.commits import commit
from tests.market.rows import good_rows
from tests.market.store.made import commit_in_rounds, commit_until_call, fetched_of, opened, repriced

ROWS = good_rows(40)
NAMES = tuple(f"T{k}" for k in range(200))
KILLS = 20
MAX_MOMENTS = 200


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """New processes from one that has imported all, so that a kill finds them at work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.market.store.commits"])
    return context


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return opened(tmp_path)


def reported(report: Path) -> list[tuple[str, str]]:
    """The whole lines that the killed process wrote."""
    text = report.read_text() if report.exists() else ""
    return [(line.split()[0], line.split()[1]) for line in text[: text.rfind("\n") + 1].splitlines()]


def check_all_is_there(collection: Collection, report: Path) -> None:
    times: dict[str, list[str]] = {}
    for ticker, known_at in reported(report):
        times.setdefault(ticker, []).append(known_at)
    assert set(times) <= set(tickers(collection))
    for ticker in tickers(collection):
        versions = [version.known_at.isoformat() for version in read_history(collection, ticker).versions]
        assert [at for at in versions if at in times.get(ticker, ())] == times.get(ticker, [])
        assert len(versions) - len(times.get(ticker, ())) <= KILLS  # at each kill one may be written and not reported


@pytest.mark.slow
def test_twenty_kills_in_the_middle_of_200_updates(
    processes: ForkServerContext, collection: Collection, tmp_path: Path
) -> None:
    report, draws = tmp_path / "report", np.random.default_rng(20)
    for _ in range(KILLS):
        begin, wanted = int(draws.integers(len(NAMES))), len(reported(report)) + int(draws.integers(1, 40))
        rolled = NAMES[begin:] + NAMES[:begin]
        child = processes.Process(target=commit_in_rounds, args=(collection, rolled, report, 1000))
        child.start()
        while len(reported(report)) < wanted and child.is_alive():
            time.sleep(0.001)
        time.sleep(float(draws.uniform(0.0, 0.01)))  # anywhere within a commit
        assert child.is_alive()
        child.kill()
        child.join()
        check_all_is_there(collection, report)
    assert len(tickers(collection)) > len(NAMES) // 2
    for ticker in NAMES:
        commit(collection, ticker, fetched_of(ROWS, 1))
    assert list(collection.folder.glob(".*.draft")) == []
    assert set(tickers(collection)) == set(NAMES)


def test_a_kill_before_or_after_any_file_call_leaves_the_former_or_the_new_version(
    processes: ForkServerContext, collection: Collection
) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    ends = []
    for moment in range(1, MAX_MOMENTS):
        fetched = fetched_of(repriced(ROWS, moment), moment)
        count = len(read_history(collection, "AAPL").versions)
        child = processes.Process(target=commit_until_call, args=(collection, "AAPL", fetched, moment))
        child.start()
        child.join()
        ends.append((child.exitcode, len(read_history(collection, "AAPL").versions) - count))
        if child.exitcode == 0:
            break
    assert ends[-1] == (0, 1)
    assert {code for code, _ in ends[:-1]} == {-9}
    assert {new for _, new in ends[:-1]} == {0, 1}  # kills before the renaming, and kills after it
    assert list(collection.folder.glob(".*.draft")) == []


def test_two_writers_of_one_ticker_lose_no_version(
    processes: ForkServerContext, collection: Collection, tmp_path: Path
) -> None:
    reports = [tmp_path / "one", tmp_path / "two"]
    writers = [
        processes.Process(target=commit_in_rounds, args=(collection, ["AAPL"], report, 40)) for report in reports
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    versions = {version.known_at.isoformat() for version in read_history(collection, "AAPL").versions}
    times = [{known_at for _, known_at in reported(report)} for report in reports]
    assert len(times[0]) == len(times[1]) == 40
    assert times[0] | times[1] == versions
    assert len(versions) == 80
