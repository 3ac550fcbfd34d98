"""The file of a ticker: readable by other tools, and refused where it is damaged."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.market.bars import Problem, Severity
from pipeline.market.store.collection import facts, path_of, read_history
from pipeline.market.store.commits import commit
from pipeline.market.store.history import History, Version, as_known
from pipeline.market.store.layout import (
    HEADER,
    HEADER_DIGEST,
    VERSIONS,
    DamagedFileError,
    decoded,
    encoded,
    rows_sha256,
)
from pipeline.market.store.merging import merged
from pipeline.market.store.stored import current_rows
from tests.market.rows import good_rows
from tests.market.store.made import WITH_ADJ_CLOSE, after, day, fetched_of, opened, repriced

ROWS = good_rows(20)
PATH = Path("prices/made/AAPL.parquet")


@pytest.fixture(scope="module")
def history() -> History:
    restated = ROWS.assign(close=ROWS["close"].where(ROWS.index < 12, 1.0), volume=np.nan)
    return merged(merged(None, fetched_of(ROWS), False), fetched_of(restated, 24, day(ROWS, 8)), False)


@pytest.fixture(scope="module")
def content(history: History) -> bytes:
    return encoded("AAPL", history)


def same(first: History, second: History) -> bool:
    return first.versions == second.versions and rows_sha256(first.columns) == rows_sha256(second.columns)


def test_what_is_read_is_what_was_written(history: History, content: bytes) -> None:
    found = decoded(content, PATH, "AAPL", keep_adj_close=False)
    assert same(found, history)
    for name, values in history.columns.items():
        assert found.columns[name].dtype == values.dtype
        assert found.columns[name].tobytes() == values.tobytes()
    assert not any(values.flags.writeable for name, values in found.columns.items() if name in ("open", "close"))


def test_problems_are_kept_with_the_version() -> None:
    problem = Problem("A", "2024-02-01", "100x jump", Severity.REPAIRED, "<found> ü\n", "expected", rows=3)
    fetched = fetched_of(ROWS)
    history = merged(None, type(fetched)(fetched.rows, None, "USD", after(0), (problem,)), False)
    assert decoded(encoded("A", history), PATH, "A", False).latest.problems == (problem,)


def test_a_file_is_opened_with_pandas_by_hand(tmp_path: Path) -> None:
    collection = opened(tmp_path, WITH_ADJ_CLOSE)
    commit(collection, "BRK-B", fetched_of(ROWS))
    commit(collection, "BRK-B", fetched_of(repriced(ROWS, 1), 24))
    by_hand = pd.read_parquet(tmp_path / "made" / "BRK-B.parquet")
    assert len(by_hand) == 2 * len(ROWS)
    now = by_hand[by_hand["known_until"].isna()].drop(columns=["known_from", "known_until"]).reset_index(drop=True)
    now["session"] = pd.to_datetime(now["session"]).astype("datetime64[s]")
    pd.testing.assert_frame_equal(now, repriced(ROWS, 1), check_exact=True)
    assert str(by_hand["known_from"].dtype) == "datetime64[us, UTC]"


def test_a_collection_is_queried_with_duckdb(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    collection = opened(tmp_path)
    for ticker in ("A", "B"):
        commit(collection, ticker, fetched_of(ROWS))
        commit(collection, ticker, fetched_of(repriced(ROWS, 1), 24))
    query = "SELECT count(*) FROM read_parquet(?) WHERE known_until IS NULL"
    assert duckdb.execute(query, [f"{tmp_path}/made/*.parquet"]).fetchone() == (2 * len(ROWS),)


def test_any_changed_byte_is_found_or_changes_nothing(history: History, content: bytes) -> None:
    draws = np.random.default_rng(0)
    places = range(0, len(content), 2)
    found = 0
    for at in places:
        spoilt = bytearray(content)
        spoilt[at] ^= int(draws.integers(1, 256))
        read = read_or_error(bytes(spoilt))
        if isinstance(read, DamagedFileError):
            assert str(read).isprintable()
            assert "AAPL.parquet is damaged: found " in str(read)
            found += 1
        else:
            assert same(read, history), f"byte {at} changed what is read"
    assert found > 0.8 * len(places)  # the rest are bytes that pyarrow does not read, or that say the same


def read_or_error(content: bytes) -> History | DamagedFileError:
    try:
        return decoded(content, PATH, "AAPL", keep_adj_close=False)
    except DamagedFileError as error:
        return error


def test_a_truncated_or_foreign_file_is_found(content: bytes) -> None:
    for count in range(0, len(content), 7):
        with pytest.raises(DamagedFileError, match="is damaged"):
            decoded(content[:count], PATH, "AAPL", keep_adj_close=False)
    for foreign in (b"", b"PAR1", b"PAR1PAR1", b"<html>" * 100, b"\0" * 5000, content[4:], content + b"x"):
        with pytest.raises(DamagedFileError, match="is damaged"):
            decoded(foreign, PATH, "AAPL", keep_adj_close=False)


def rewritten(content: bytes, **changes: bytes) -> bytes:
    """The file with other values in its footer, and the head's digest made to fit again where the head is changed."""
    table = pq.read_table(pa.BufferReader(content))
    footer = {**pq.read_metadata(pa.BufferReader(content)).metadata}
    footer |= {name.replace("_", ".").encode(): value for name, value in changes.items()}
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(footer)
    return bytes(sink.getvalue())


def with_head(content: bytes, **values: object) -> bytes:
    """The file with other values in its head, digest included: someone who knows what he does."""
    head = json.loads(pq.read_metadata(pa.BufferReader(content)).metadata[HEADER]) | values
    text = json.dumps(head).encode()
    return rewritten(content, tapecast=text, tapecast_sha256=hashlib.sha256(text).hexdigest().encode())


def test_a_tampered_footer_is_found(history: History, content: bytes) -> None:
    footer = pq.read_metadata(pa.BufferReader(content)).metadata
    assert {HEADER, HEADER_DIGEST, VERSIONS} <= footer.keys()
    assert same(decoded(rewritten(content), PATH, "AAPL", False), history)  # another encoding is no damage
    assert same(decoded(with_head(content), PATH, "AAPL", False), history)
    for spoilt, said in (
        (rewritten(content, tapecast=footer[HEADER].replace(b"USD", b"EUR")), "footer unlike its digest"),
        (rewritten(content, tapecast_versions=footer[VERSIONS].replace(b"USD", b"EUR")), "versions unlike"),
        (with_head(content, format=2), "format"),
        (with_head(content, more=1), "more"),
        (with_head(content, ticker="MSFT"), "the rows of MSFT"),
        (with_head(content, rows_sha256="0" * 64), "rows unlike"),
        (with_head(content, versions_sha256="0" * 64), "versions unlike"),
        (with_head(content, stored_rows=3), "rows"),
    ):
        with pytest.raises(DamagedFileError, match=said):
            decoded(spoilt, PATH, "AAPL", keep_adj_close=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda versions: [{**versions[0], "more": 1}, versions[1]],
        lambda versions: [{**versions[0], "known_at": "2024-06-03T21:30:00"}, versions[1]],
        lambda versions: [{**versions[0], "rows": "many"}, versions[1]],
        lambda versions: [versions[0], {**versions[1], "rows": 3}],
        lambda versions: [versions[0], {**versions[1], "restatements": [{"kind": "whim"}]}],
        lambda versions: versions[::-1],
        lambda versions: versions[:0],
        lambda versions: versions[0],
    ],
)
def test_versions_are_validated_even_where_their_digest_fits(
    content: bytes, change: Callable[[list[dict[str, object]]], object]
) -> None:
    versions = json.loads(pq.read_metadata(pa.BufferReader(content)).metadata[VERSIONS])
    text = json.dumps(change(versions)).encode()
    forged = rewritten(with_head(content, versions_sha256=hashlib.sha256(text).hexdigest()), tapecast_versions=text)
    with pytest.raises(DamagedFileError, match="is damaged"):
        decoded(forged, PATH, "AAPL", keep_adj_close=False)


def test_other_columns_are_found(content: bytes, history: History) -> None:
    with pytest.raises(DamagedFileError, match="columns session, open"):
        decoded(content, PATH, "AAPL", keep_adj_close=True)
    with pytest.raises(DamagedFileError, match="the rows of AAPL"):
        decoded(content, PATH, "MSFT", keep_adj_close=False)
    table = pq.read_table(pa.BufferReader(content))
    sink = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["volume"]), sink)
    with pytest.raises(DamagedFileError, match="close, dividend"):
        decoded(bytes(sink.getvalue()), PATH, "AAPL", keep_adj_close=False)


def test_every_way_of_reading_reports_damage_and_what_to_do(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    commit(collection, "AAPL", fetched_of(ROWS))
    path = path_of(collection, "AAPL")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for read in (facts, read_history, current_rows):
        with pytest.raises(SourceError, match=r"AAPL\.parquet is damaged: found .*; the next update quarantines"):
            read(collection, "AAPL")
    spoilt = bytearray(whole)
    spoilt[60] ^= 255  # within the first page
    path.write_bytes(spoilt)
    assert facts(collection, "AAPL") is not None
    for read in (read_history, current_rows):
        with pytest.raises(DamagedFileError):
            read(collection, "AAPL")


def test_a_file_that_may_not_be_read_is_no_damage(tmp_path: Path) -> None:
    collection = opened(tmp_path)
    path_of(collection, "AAPL").mkdir()
    for read in (facts, read_history, current_rows):
        with pytest.raises(SourceError, match="cannot read") as refused:
            read(collection, "AAPL")
        assert not isinstance(refused.value, DamagedFileError)


def test_a_year_of_daily_fetches_takes_little(tmp_path: Path) -> None:
    long = good_rows(300)
    history = merged(None, fetched_of(long.iloc[:50]), False)
    first = len(encoded("A", history))
    for count in range(250):
        tail = fetched_of(long.iloc[: 51 + count], 24.0 * count + 24, day(long, 40 + count))
        history = merged(history, tail, False)
    assert len(history.versions) == 251
    assert len(history.columns["session"]) == 300
    assert len(encoded("A", history)) - first < 250 * 300
    assert len(as_known(history, after(0) + timedelta(days=100.5))) == 150


@pytest.mark.parametrize(
    ("spelling", "severity"), [("rows put aside", Severity.ROWS), ("bars end there", Severity.TICKER)]
)
def test_severities_stored_by_earlier_versions_are_read(spelling: str, severity: Severity) -> None:
    problem = Problem("A", "2024-01-05", "price", severity, "low -1.0", "positive finite prices")
    stored = merged(None, replace(fetched_of(ROWS), problems=(problem,)), False).latest.model_dump_json()
    earlier = stored.replace(severity.value, spelling)
    assert earlier != stored
    assert Version.model_validate_json(earlier).problems == (problem,)


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a valid Severity"):
        Severity("grave")


def test_the_first_requested_day_keeps_its_key_on_disk() -> None:
    """Earlier versions wrote and read it as `asked_from`."""
    requested = day(ROWS, 4)
    stored = encoded("AAPL", merged(None, fetched_of(ROWS, since=requested), keep_adj_close=False))
    metadata = pq.read_schema(pa.BufferReader(stored)).metadata
    assert json.loads(metadata[VERSIONS])[0]["asked_from"] == str(requested)
    assert json.loads(metadata[HEADER])["facts"]["asked_from"] == str(requested)
    assert decoded(stored, PATH, "AAPL", keep_adj_close=False).latest.requested_from == requested
