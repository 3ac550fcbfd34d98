"""Collections: their terms, what is in them, and what they take on disk."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import SourceError, UsageError
from pipeline.market.store.collection import (
    TERMS,
    CollectionTerms,
    collections,
    disk_use,
    facts,
    find_history,
    open_collection,
    path_of,
    read_history,
    tickers,
)
from pipeline.market.store.commits import commit, set_aside
from pipeline.market.store.history import facts_of
from tests.market.rows import good_rows

from . import made
from .made import after, day, opened, told

ROWS = good_rows(15)


def test_a_collection_is_found_again_on_its_terms(tmp_path: Path) -> None:
    assert collections(tmp_path) == ()
    first = open_collection(tmp_path / "prices", "yahoo", made.TERMS)
    other = open_collection(tmp_path / "prices", "files", made.WITH_ADJ_CLOSE)
    assert open_collection(tmp_path / "prices", "yahoo", made.TERMS) == first
    assert collections(tmp_path / "prices") == (other, first)
    assert (first.name, first.keeps_adj_close, other.keeps_adj_close) == ("yahoo", False, True)
    assert tickers(first) == ()


def test_other_terms_are_refused_and_another_note_is_not(tmp_path: Path) -> None:
    opened(tmp_path)
    noted = made.TERMS.model_copy(update={"note": "Said better."})
    assert opened(tmp_path, noted).terms == noted
    for change in ({"has_actions": False}, {"returns_from": "close"}, {"kind": "b"}, {"price_basis": "split_adjusted"}):
        with pytest.raises(UsageError, match=r"other terms: found .* expected .*; choose another collection"):
            opened(tmp_path, made.TERMS.model_copy(update=change))
    assert opened(tmp_path).terms == made.TERMS


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "null", "<html>", '{"kind": "yahoo"}'])
def test_unreadable_terms_are_told(tmp_path: Path, spoilt: str) -> None:
    collection = opened(tmp_path)
    (collection.folder / TERMS).write_text(spoilt)
    for read in (lambda: opened(tmp_path), lambda: collections(tmp_path)):
        with pytest.raises(UsageError, match=r"cannot read .*collection\.json: found|cannot read .*collection\.json: "):
            read()


def test_unknown_terms_are_told(tmp_path: Path) -> None:
    path = opened(tmp_path).folder / TERMS
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    with pytest.raises(UsageError, match="more"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../x", "A", "a/b", "a.b", "x" * 80, "a\n", "-a"])
def test_a_bad_collection_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="as a collection"):
        open_collection(tmp_path / "prices", name, made.TERMS)
    assert list(tmp_path.iterdir()) == []


def test_many_open_a_new_collection_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: opened(tmp_path), range(32)))
    assert set(found) == {opened(tmp_path)}


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the folder"):
        opened(tmp_path)


def test_only_files_of_tickers_are_tickers(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    for ticker in ("MSFT", "aapl", "AAPL", "CON", "^GSPC"):
        commit(collection, ticker, told(ROWS))
    for stray in ("notes.txt", ".AAPL.parquet.draft", "x.parquet", "AAPL.csv", "A B.parquet"):
        (collection.folder / stray).write_text("stray")
    assert tickers(collection) == ("AAPL", "CON", "MSFT", "^GSPC", "aapl")


@pytest.mark.parametrize("ticker", ["../../x", "A/B", "x" * 10_000, "", "A\0B", "<b>"])
def test_a_bad_ticker_reaches_no_path(tmp_path: Path, ticker: str) -> None:
    collection = opened(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    actions = (facts, read_history, find_history, path_of, set_aside, lambda c, t: commit(c, t, told(ROWS)))
    for action in actions:
        with pytest.raises(SourceError, match="as a ticker"):
            action(collection, ticker)
    assert sorted(tmp_path.rglob("*")) == before


def test_facts_are_those_of_the_history(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    assert facts(collection, "AAPL") is None
    assert find_history(collection, "AAPL") is None
    commit(collection, "AAPL", told(ROWS.iloc[:12], since=day(ROWS, 2)))
    commit(collection, "AAPL", told(ROWS, 24, day(ROWS, 8)))
    found = facts(collection, "AAPL")
    assert found == facts_of(read_history(collection, "AAPL"))
    assert found is not None
    assert (found.first_session, found.last_session, found.rows) == (day(ROWS, 2), day(ROWS, 14), 13)
    assert (found.versions, found.known_at, found.currency, found.asked_from) == (2, after(24), "USD", day(ROWS, 2))


def test_an_unknown_ticker_is_told_with_those_there_are(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    commit(collection, "AAPL", told(ROWS))
    with pytest.raises(SourceError, match="unknown ticker 'APPL': the source holds AAPL; did you mean AAPL"):
        read_history(collection, "APPL")


def test_disk_use_counts_all_files(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    empty = disk_use(collection)
    assert (empty.tickers, empty.versions, empty.set_aside) == (0, 0, 0)
    for hours in (0, 1, 2):
        commit(collection, "AAPL", told(ROWS, hours))
    commit(collection, "MSFT", told(ROWS))
    commit(collection, "BAD", told(ROWS))
    path_of(collection, "BAD").write_bytes(b"damaged")
    use = disk_use(collection)
    files = [path for path in collection.folder.iterdir() if path.is_file()]
    assert use.size_bytes == sum(len(path.read_bytes()) for path in files)
    assert (use.tickers, use.versions, use.set_aside) == (3, 4, 0)
    set_aside(collection, "BAD")
    assert (disk_use(collection).tickers, disk_use(collection).set_aside) == (2, 1)
    assert disk_use(collection).size_bytes == use.size_bytes


def test_terms_are_read_by_people() -> None:
    assert CollectionTerms.model_validate_json(made.TERMS.model_dump_json()) == made.TERMS
