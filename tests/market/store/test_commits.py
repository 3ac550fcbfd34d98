"""Commits: what is refused, what is quarantined, and one writer at a time."""

import os
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest

from pipeline.errors import SourceError, SourceUnavailableError, UsageError
from pipeline.market.bars import FetchedRows
from pipeline.market.store.collection import Collection, facts, path_of, read_history, tickers
from pipeline.market.store.commits import commit, commit_all, quarantine_file
from pipeline.market.store.history import Version, as_known
from pipeline.market.store.layout import DamagedFileError
from pipeline.market.store.pruning import prune
from pipeline.market.store.stored import current_rows
from pipeline.market.store.writing import one_writer
from tests.market.rows import good_rows
from tests.market.store.made import LONG_AGO, after, day, fetched_of, opened, repriced

ROWS = good_rows(60)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return opened(tmp_path)


def files(collection: Collection) -> list[str]:
    return sorted(path.name for path in collection.folder.iterdir() if path.is_file())


def test_an_equal_fetch_is_a_version_without_rows(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    version = commit(collection, "AAPL", fetched_of(ROWS, 24))
    history = read_history(collection, "AAPL")
    assert [version.known_at for version in history.versions] == [after(0), after(24)]
    assert (version.added, version.restated, version.removed, version.rows) == (0, 0, 0, 60)
    assert len(history.columns["session"]) == 60
    assert files(collection) == ["AAPL.parquet", "collection.json"]


def test_a_fetch_overtaken_by_a_later_one_is_not_stored(collection: Collection) -> None:
    later = commit(collection, "AAPL", fetched_of(ROWS, 24), now=after(24.1))
    content = path_of(collection, "AAPL").read_bytes()
    assert commit(collection, "AAPL", fetched_of(repriced(ROWS, 1), 23), now=after(24.1)) == later
    assert path_of(collection, "AAPL").read_bytes() == content


def test_a_clock_that_was_ahead_once_does_not_stop_the_store(collection: Collection) -> None:
    ahead = commit(collection, "AAPL", fetched_of(ROWS, 24 * 3650), now=after(24 * 3650))
    now = commit(collection, "AAPL", fetched_of(repriced(ROWS, 1), 24), now=after(24))
    assert now.known_at > ahead.known_at
    assert (current_rows(collection, "AAPL")["close"] == repriced(ROWS, 1)["close"]).all()


@pytest.mark.parametrize(("lost", "requested_from", "refused"), [
    (4, None, False), (5, None, True), (59, None, True),
    (4, 30, False), (5, 30, True),
])  # fmt: skip
def test_a_fetch_that_loses_many_sessions_is_refused(
    collection: Collection, lost: int, requested_from: int | None, refused: bool
) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    content = path_of(collection, "AAPL").read_bytes()
    since = None if requested_from is None else day(ROWS, requested_from)
    answer = fetched_of(ROWS.drop(index=range(59 - lost, 59)), 24, since)
    if not refused:
        assert commit(collection, "AAPL", answer).removed == lost
        return
    with pytest.raises(SourceUnavailableError, match=rf"lacks {lost} of .* stored sessions.*delete the ticker's file"):
        commit(collection, "AAPL", answer)
    assert path_of(collection, "AAPL").read_bytes() == content


def test_a_late_answer_takes_nothing_away(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    version = commit(collection, "AAPL", fetched_of(ROWS.iloc[:50], 24))
    assert (version.removed, version.rows, version.last_session) == (0, 60, day(ROWS, 59))


def test_two_per_cent_of_a_long_history_are_few(collection: Collection) -> None:
    long = good_rows(300)
    commit(collection, "AAPL", fetched_of(long))
    assert commit(collection, "AAPL", fetched_of(long.drop(index=range(100, 106)), 1)).removed == 6
    with pytest.raises(SourceUnavailableError, match="lacks 6 of 294"):
        commit(collection, "AAPL", fetched_of(long.drop(index=range(100, 112)), 2))


def test_sessions_before_the_requested_day_are_not_lost(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    assert commit(collection, "AAPL", fetched_of(ROWS, 1, day(ROWS, 50))).rows == 60


def test_an_answer_that_cannot_be_used_leaves_the_store_as_it_is(collection: Collection) -> None:
    for spoilt in (ROWS.iloc[:0], ROWS.iloc[::-1], ROWS.drop(columns="close")):
        with pytest.raises(SourceUnavailableError):
            commit(collection, "AAPL", fetched_of(spoilt))
    assert facts(collection, "AAPL") is None
    assert files(collection) == ["collection.json"]


def test_a_damaged_file_is_quarantined_by_a_fetch_of_the_whole_history(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    path_of(collection, "AAPL").write_bytes(b"damaged")
    with pytest.raises(DamagedFileError, match="the next update quarantines the file"):
        commit(collection, "AAPL", fetched_of(ROWS, 1, day(ROWS, 50)))
    assert path_of(collection, "AAPL").read_bytes() == b"damaged"
    assert commit(collection, "AAPL", fetched_of(ROWS, 1)).added == 60
    (quarantined,) = [name for name in files(collection) if "damaged" in name]
    assert (collection.folder / quarantined).read_bytes() == b"damaged"
    assert not (collection.folder / quarantined).match("*.parquet")
    assert tickers(collection) == ("AAPL",)
    assert len(read_history(collection, "AAPL").versions) == 1


def test_only_a_damaged_file_is_quarantined(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS))
    assert quarantine_file(collection, "AAPL") is None
    assert quarantine_file(collection, "MSFT") is None
    assert tickers(collection) == ("AAPL",)
    quarantined_files = set()
    for text in (b"one", b"two"):
        path_of(collection, "AAPL").write_bytes(text)
        quarantined = quarantine_file(collection, "AAPL")
        assert quarantined is not None
        assert quarantined.read_bytes() == text
        quarantined_files.add(quarantined)
    assert len(quarantined_files) == 2
    assert tickers(collection) == ()


def test_a_lock_that_another_holds_is_waited_for_and_named(collection: Collection) -> None:
    path = path_of(collection, "AAPL")
    with ThreadPoolExecutor(1) as other:
        with one_writer(path):
            waiting = other.submit(commit, collection, "AAPL", fetched_of(ROWS), wait_seconds=0.05)
            with pytest.raises(SourceUnavailableError, match=r"AAPL\.parquet\.lock"):
                waiting.result()
            assert isinstance(other.submit(commit, collection, "MSFT", fetched_of(ROWS)).result(), Version)
            patient = other.submit(commit, collection, "AAPL", fetched_of(ROWS), wait_seconds=30)
        assert patient.result().rows == 60


def test_a_draft_of_a_killed_writer_is_gone_after_the_next_commit(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS, 2), now=after(3))
    draft = collection.folder / ".AAPL.parquet.draft"
    for fetched in (fetched_of(ROWS, 3), fetched_of(ROWS, 1)):  # the second is overtaken, and nothing is written
        draft.write_bytes(b"half of a fi")
        commit(collection, "AAPL", fetched, now=after(4))
        assert not draft.exists()
    assert tickers(collection) == ("AAPL",)


def test_the_disk_has_the_file_before_it_takes_the_name_and_the_name_before_the_commit_ends(
    collection: Collection,
) -> None:
    called: list[str] = []

    def note(_: FrameType, event: str, function: object) -> None:
        if event == "c_call" and function in (os.fsync, os.replace):
            called.append(getattr(function, "__name__", ""))

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        commit(collection, "AAPL", fetched_of(ROWS))
    finally:
        sys.setprofile(former)
    assert called == ["fsync", "replace", "fsync"]


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))  # a longer file fails as on a full disk
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_reported_and_the_former_version_is_whole(collection: Collection) -> None:
    first = commit(collection, "AAPL", fetched_of(ROWS))
    content = path_of(collection, "AAPL").read_bytes()
    for size_bytes in (0, 100, 3000):
        with (
            file_size_limit(size_bytes),
            pytest.raises(UsageError, match=r"cannot write .*what was stored before is whole"),
        ):
            commit(collection, "AAPL", fetched_of(repriced(ROWS, 1), 24))
        assert path_of(collection, "AAPL").read_bytes() == content
        assert files(collection) == ["AAPL.parquet", "collection.json"]
    with file_size_limit(100), pytest.raises(UsageError, match="cannot write"):
        list(commit_all(collection, [("AAPL", fetched_of(ROWS, 1)), ("MSFT", fetched_of(ROWS))]))
    assert read_history(collection, "AAPL").versions == (first,)


def test_a_folder_that_cannot_be_written_is_reported(collection: Collection) -> None:
    (collection.folder / ".locks" / "AAPL.parquet.lock").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot lock"):
        commit(collection, "AAPL", fetched_of(ROWS))
    (collection.folder / ".MSFT.parquet.draft").mkdir()
    with pytest.raises(UsageError, match="cannot"):
        commit(collection, "MSFT", fetched_of(ROWS))


def test_many_are_committed_and_one_bad_one_stops_none(collection: Collection) -> None:
    answers: list[tuple[str, FetchedRows | SourceError]] = [
        (f"T{k}", fetched_of(ROWS.iloc[: 20 + k % 30])) for k in range(40)
    ]
    answers[5] = ("T5", SourceError("refused"))
    answers[7] = ("../../x", fetched_of(ROWS))
    answers[9] = ("T9", fetched_of(ROWS.iloc[:0]))
    seen = []

    def lazily() -> Iterator[tuple[str, FetchedRows | SourceError]]:
        for answer in answers:
            seen.append(answer[0])
            yield answer

    results = commit_all(collection, lazily())
    first = next(results)
    assert len(seen) < 20  # few are asked for ahead of what is stored
    done = [first, *results]
    assert [ticker for ticker, _ in done] == [ticker for ticker, _ in answers]
    failed = {ticker: result for ticker, result in done if isinstance(result, SourceError)}
    assert set(failed) == {"../../x", "T5", "T9"}
    assert failed["T5"] is answers[5][1]
    for ticker, answer in answers:
        if isinstance(answer, FetchedRows) and ticker not in failed:
            assert len(current_rows(collection, ticker)) == len(answer.rows)


def test_what_was_committed_before_the_source_failed_is_stored(collection: Collection) -> None:
    def failing() -> Iterator[tuple[str, FetchedRows]]:
        yield "AAPL", fetched_of(ROWS)
        raise SourceUnavailableError("no network")

    with pytest.raises(SourceUnavailableError, match="no network"):
        list(commit_all(collection, failing()))
    assert tickers(collection) == ("AAPL",)


def test_pruning_frees_what_nobody_can_ask_for(collection: Collection) -> None:
    for ticker in ("AAPL", "MSFT"):
        for hours in range(10):
            commit(collection, ticker, fetched_of(repriced(ROWS, hours), hours), now=LONG_AGO)
    commit(collection, "NEW", fetched_of(ROWS, 9))
    commit(collection, "BAD", fetched_of(ROWS))
    path_of(collection, "BAD").write_bytes(b"damaged")
    sizes = {ticker: path_of(collection, ticker).stat().st_size for ticker in ("AAPL", "MSFT", "NEW")}
    known = as_known(read_history(collection, "AAPL"), after(7.5))
    freed = prune(collection, after(6.5))
    left = read_history(collection, "AAPL")
    assert [version.known_at for version in left.versions] == [after(hours) for hours in (6, 7, 8, 9)]
    assert as_known(left, after(7.5)).equals(known)
    assert (freed.versions, freed.rows) == (12, 2 * 6 * 60)
    assert freed.freed_bytes == sum(sizes.values()) - sum(path_of(collection, t).stat().st_size for t in sizes)
    assert freed.freed_bytes > 0
    assert [ticker for ticker, _ in freed.refused] == ["BAD"]
    with pytest.raises(SourceError, match="knows it from"):
        as_known(left, after(5))
    again = prune(collection, after(6.5))
    assert (again.freed_bytes, again.versions) == (0, 0)


def test_pruning_everything_leaves_the_present(collection: Collection) -> None:
    for hours in range(3):
        commit(collection, "AAPL", fetched_of(repriced(ROWS, hours), hours), now=LONG_AGO)
    prune(collection, datetime(2999, 1, 1, tzinfo=UTC))
    assert len(read_history(collection, "AAPL").versions) == 1
    assert current_rows(collection, "AAPL")["close"].equals(repriced(ROWS, 2)["close"])
    with pytest.raises(UsageError, match="time zone"):
        prune(collection, datetime(2024, 1, 1))


def test_versions_of_other_currency_and_start_are_kept_apart(collection: Collection) -> None:
    commit(collection, "AAPL", fetched_of(ROWS.iloc[10:], since=day(ROWS, 10), currency="GBp"))
    version = commit(collection, "AAPL", fetched_of(ROWS, 1, currency="GBP"))
    assert [restatement.kind for restatement in version.restatements] == ["currency"]
    assert (version.added, version.rows, version.requested_from) == (10, 60, None)
