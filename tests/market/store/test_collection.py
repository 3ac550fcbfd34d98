"""Collections: their terms, what is in them, and what they take on disk."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError, UsageError
from pipeline.market.listings import is_ticker
from pipeline.market.store.collection import (
    TERMS_FILE,
    CollectionTerms,
    collections,
    disk_use,
    facts,
    file_name,
    find_history,
    open_collection,
    path_of,
    read_history,
    ticker_of,
    tickers,
)
from pipeline.market.store.commits import commit, quarantine_file
from pipeline.market.store.history import facts_of
from tests.market.rows import good_rows
from tests.market.store.made import after, day, fetched_of, opened

from . import made

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
def test_unreadable_terms_are_reported(tmp_path: Path, spoilt: str) -> None:
    collection = opened(tmp_path)
    (collection.folder / TERMS_FILE).write_text(spoilt)
    for read in (lambda: opened(tmp_path), lambda: collections(tmp_path)):
        with pytest.raises(UsageError, match=r"cannot read .*collection\.json: found|cannot read .*collection\.json: "):
            read()


def test_unknown_terms_are_reported(tmp_path: Path) -> None:
    path = opened(tmp_path).folder / TERMS_FILE
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


def test_a_place_that_is_no_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    with pytest.raises(UsageError, match="cannot make the folder"):
        opened(tmp_path)


def test_only_files_of_tickers_are_tickers(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    for ticker in ("MSFT", "aapl", "AAPL", "CON", "^GSPC"):
        commit(collection, ticker, fetched_of(ROWS))
    for stray in ("notes.txt", ".AAPL.parquet.draft", "x.parquet", "AAPL.csv", "A B.parquet"):
        (collection.folder / stray).write_text("stray")
    assert tickers(collection) == ("AAPL", "CON", "MSFT", "^GSPC", "aapl")


@pytest.mark.parametrize("ticker", ["../../x", "A/B", "x" * 10_000, "", "A\0B", "<b>"])
def test_a_bad_ticker_reaches_no_path(tmp_path: Path, ticker: str) -> None:
    collection = opened(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    actions = (facts, read_history, find_history, path_of, quarantine_file, lambda c, t: commit(c, t, fetched_of(ROWS)))
    for action in actions:
        with pytest.raises(SourceError, match="as a ticker"):
            action(collection, ticker)
    assert sorted(tmp_path.rglob("*")) == before


def test_facts_are_those_of_the_history(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    assert facts(collection, "AAPL") is None
    assert find_history(collection, "AAPL") is None
    commit(collection, "AAPL", fetched_of(ROWS.iloc[:12], since=day(ROWS, 2)))
    commit(collection, "AAPL", fetched_of(ROWS, 24, day(ROWS, 8)))
    found = facts(collection, "AAPL")
    assert found == facts_of(read_history(collection, "AAPL"))
    assert found is not None
    assert (found.first_session, found.last_session, found.rows) == (day(ROWS, 2), day(ROWS, 14), 13)
    assert (found.versions, found.known_at, found.currency, found.requested_from) == (2, after(24), "USD", day(ROWS, 2))


def test_an_unknown_ticker_is_reported_with_those_there_are(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    commit(collection, "AAPL", fetched_of(ROWS))
    with pytest.raises(SourceError, match="unknown ticker 'APPL': the source holds AAPL; did you mean AAPL"):
        read_history(collection, "APPL")


def test_disk_use_counts_all_files(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    empty = disk_use(collection)
    assert (empty.tickers, empty.versions, empty.quarantined) == (0, 0, 0)
    for hours in (0, 1, 2):
        commit(collection, "AAPL", fetched_of(ROWS, hours))
    commit(collection, "MSFT", fetched_of(ROWS))
    commit(collection, "BAD", fetched_of(ROWS))
    path_of(collection, "BAD").write_bytes(b"damaged")
    use = disk_use(collection)
    files = [path for path in collection.folder.iterdir() if path.is_file()]
    assert use.size_bytes == sum(len(path.read_bytes()) for path in files)
    assert (use.tickers, use.versions, use.quarantined) == (3, 4, 0)
    quarantine_file(collection, "BAD")
    assert (disk_use(collection).tickers, disk_use(collection).quarantined) == (2, 1)
    assert disk_use(collection).size_bytes == use.size_bytes


def test_terms_are_read_by_people() -> None:
    assert CollectionTerms.model_validate_json(made.TERMS.model_dump_json()) == made.TERMS


FOLDER = Path("/store/prices/yahoo")
HOSTILE = (
    *("../../x", "..\\x", "A/B", "/etc/passwd", "%2e%2e%2f", "A%2FB", "", ".", "..", "-", ".AAPL", "~", "C:", "A:B"),
    *("A\0B", "A\nB", "A\n", "A B", " A", "$(id)", "A*", "A?", "<script>alert(1)</script>", "A&lt;"),
    *("ＡＡＰＬ", "\u202eLPAA", "A\u200b", "é", "x" * 10_000, "A" * 33),
)
DEVICES = ("CON", "con", "Con", "con.txt", "CON.DE", "NUL", "PRN.L", "AUX", "COM1", "com9.T", "LPT1", "LPT9.DE")
PLAIN = (
    "AAPL",
    "aapl",
    "BRK-B",
    "brk.b",
    "^GSPC",
    "M&M.NS",
    "GC=F",
    "BTC-USD",
    "A_B",
    "CONE",
    "COM10",
    "A.",
    "0700.HK",
)
NAMES = st.one_of(
    st.text(max_size=40),
    st.text("AaBb0.^-=&_%/\\ \0", max_size=6),
    st.from_regex(r"[A-Za-z0-9^][A-Za-z0-9.\-=&_]{0,31}", fullmatch=True),
    st.sampled_from(HOSTILE + DEVICES + PLAIN),
)
RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])", re.IGNORECASE)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(NAMES)
@example("../../x")
def test_a_file_lies_in_the_folder_or_the_name_is_refused(ticker: str) -> None:
    if not is_ticker(ticker):
        with pytest.raises(SourceError, match="as a ticker"):
            file_name(ticker)
        return
    name = file_name(ticker)
    assert (FOLDER / name).resolve().parent == FOLDER.resolve()
    assert re.fullmatch(r"[A-Z0-9.\-=&_^%]+\.parquet", name)
    assert not RESERVED.fullmatch(name.split(".")[0])
    assert not name.startswith(".")
    assert len(name) <= 255
    assert ticker_of(name) == ticker


@settings(max_examples=600, derandomize=True, deadline=None)
@given(NAMES.filter(is_ticker), NAMES.filter(is_ticker))
@example("AAPL", "aapl")
@example("CON", "con")
def test_two_tickers_never_share_a_file_even_where_case_is_ignored(first: str, second: str) -> None:
    assert (file_name(first).casefold() == file_name(second).casefold()) == (first == second)


@settings(max_examples=600, derandomize=True, deadline=None)
@given(st.one_of(NAMES, NAMES.map("{}.parquet".format), st.text("%0123456789ABCDEFabcdef.parquet", max_size=20)))
def test_no_other_name_is_taken_for_a_tickers_file(name: str) -> None:
    ticker = ticker_of(name)
    assert ticker is None or file_name(ticker) == name


@pytest.mark.parametrize("ticker", HOSTILE)
def test_a_hostile_string_is_refused_in_one_printable_line(ticker: str) -> None:
    with pytest.raises(SourceError) as refused:
        file_name(ticker)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_file_names_are_readable() -> None:
    assert [file_name(ticker) for ticker in ("AAPL", "^GSPC", "M&M.NS", "CON.DE", "ab")] == [
        "AAPL.parquet",
        "^GSPC.parquet",
        "M&M.NS.parquet",
        "%43ON.DE.parquet",
        "%61%62.parquet",
    ]


@pytest.mark.parametrize(
    "name",
    [".AAPL.parquet.draft", "AAPL.parquet.damaged-20240101T000000.000000Z", "aapl.parquet", "AAPL", "%41.parquet"],
)
def test_drafts_and_files_quarantined_are_nobodys(name: str) -> None:
    assert ticker_of(name) is None
