"""A history as one Parquet file: rows as columns that any reader opens, versions and digests in its footer."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from pipeline.errors import SourceError
from pipeline.market.store.columns import INSTANT, KNOWN, Columns, fields_of
from pipeline.market.store.history import Facts, History, Version, facts_of

FORMAT = 1
HEADER, HEADER_DIGEST, VERSIONS = b"tapecast", b"tapecast.sha256", b"tapecast.versions"
FEW_VALUES = ["dividend", "split", *KNOWN]
COMPRESSION, COMPRESSION_LEVEL = "zstd", 3

DECODING_ERRORS = (OSError, MemoryError, ValueError, LookupError, TypeError, pa.ArrowException)
"""What pyarrow and pydantic raise on bytes that are not what was written; corrupt pages come as OSErrors."""

_VERSIONS: TypeAdapter[tuple[Version, ...]] = TypeAdapter(tuple[Version, ...])


class DamagedFileError(SourceError):
    """A file of the store is not what was written; fetching the whole history again repairs it."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"{path} is damaged: found {found}, expected what Tapecast wrote; the next update quarantines the file "
            "and fetches the whole history"
        )


class FileHeader(BaseModel, frozen=True, extra="forbid"):
    """The header in the footer: the ticker, the facts about its rows, and the digests of all else."""

    format: Literal[1]
    ticker: str
    facts: Facts
    stored_rows: int
    rows_sha256: str
    versions_sha256: str


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """A file's content with its digests verified, the versions still as text."""

    header: FileHeader
    columns: Columns
    versions: bytes


def encoded(ticker: str, history: History) -> bytes:
    """Return the history as the bytes of its Parquet file."""
    versions = _VERSIONS.dump_json(history.versions, exclude_defaults=True, by_alias=True)
    header = FileHeader(
        format=FORMAT,
        ticker=ticker,
        facts=facts_of(history),
        stored_rows=len(history.columns["session"]),
        rows_sha256=rows_sha256(history.columns),
        versions_sha256=hashlib.sha256(versions).hexdigest(),
    )
    text = header.model_dump_json(exclude_defaults=True, by_alias=True).encode()
    footer = {HEADER: text, HEADER_DIGEST: hashlib.sha256(text).hexdigest().encode(), VERSIONS: versions}
    return _parquet(history.columns, footer)


def opened(content: bytes, path: Path, ticker: str, keep_adj_close: bool) -> OpenedFile:
    """Return the file's content, verified; raises DamagedFileError where it is not what was written."""
    try:
        return _opened(content, ticker, keep_adj_close)
    except DECODING_ERRORS as error:
        raise DamagedFileError(path, _described(error)) from error


def decoded(content: bytes, path: Path, ticker: str, keep_adj_close: bool) -> History:
    """Return the history in the file's content; raises DamagedFileError where it is not what was written."""
    try:
        stored = _opened(content, ticker, keep_adj_close)
        return History(stored.columns, _VERSIONS.validate_json(stored.versions))
    except DECODING_ERRORS as error:
        raise DamagedFileError(path, _described(error)) from error


def read_header(path: Path, ticker: str) -> FileHeader:
    """Return the header of the file's footer, verified by its own digest only; raises DamagedFileError or OSError."""
    with path.open("rb") as file:  # opened here, so that an OSError from pyarrow can only mean the content
        try:
            return _header(_footer(pq.read_metadata(file)), ticker)
        except DECODING_ERRORS as error:
            raise DamagedFileError(path, _described(error)) from error


def read_versions(path: Path, ticker: str) -> tuple[Version, ...]:
    """Return the versions in the file's footer, verified, without its rows; raises DamagedFileError or OSError."""
    with path.open("rb") as file:
        try:
            footer = _footer(pq.read_metadata(file))
            return _VERSIONS.validate_json(_versions(footer, _header(footer, ticker)))
        except DECODING_ERRORS as error:
            raise DamagedFileError(path, _described(error)) from error


def rows_sha256(columns: Columns) -> str:
    """Return the digest of names and values, not of the encoding: times as counts since 1970, numbers by bits."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(f"{name} {values.dtype} {len(values)}\n".encode())
        digest.update(np.ascontiguousarray(values).view("<i8").data)
    return digest.hexdigest()


def _parquet(columns: Columns, footer: dict[bytes, bytes]) -> bytes:
    fields = tuple(name for name in columns if name not in ("session", *KNOWN))
    schema = _schema(fields)
    arrays = [pa.array(columns[name], type=schema.field(name).type) for name in schema.names]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression=COMPRESSION,
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=FEW_VALUES,
        use_byte_stream_split=[name for name in fields if name not in FEW_VALUES],
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,  # Arrow's own schema: Parquet's is sufficient
    ) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(columns["session"]))
        writer.add_key_value_metadata(footer)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _opened(content: bytes, ticker: str, keep_adj_close: bool) -> OpenedFile:
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    footer = _footer(file.metadata)
    header = _header(footer, ticker)
    versions = _versions(footer, header)
    fields = fields_of(keep_adj_close)
    _refuse(not file.schema_arrow.equals(_schema(fields)), f"columns {', '.join(file.schema_arrow.names)[:200]}")
    _refuse(file.metadata.num_rows != header.stored_rows, f"{file.metadata.num_rows} rows")
    columns = _columns(file.read(use_threads=False))
    _refuse(rows_sha256(columns) != header.rows_sha256, "rows unlike their digest")
    return OpenedFile(header, columns, versions)


def _footer(metadata: Any) -> dict[bytes, bytes]:
    return metadata.metadata or {}


def _header(footer: dict[bytes, bytes], ticker: str) -> FileHeader:
    _refuse(not {HEADER, HEADER_DIGEST, VERSIONS} <= footer.keys(), "a Parquet file that Tapecast did not write")
    _refuse(hashlib.sha256(footer[HEADER]).hexdigest().encode() != footer[HEADER_DIGEST], "a footer unlike its digest")
    header = FileHeader.model_validate_json(footer[HEADER])
    _refuse(header.ticker != ticker, f"the rows of {header.ticker}")
    return header


def _versions(footer: dict[bytes, bytes], header: FileHeader) -> bytes:
    """Return the versions as text, verified by their digest."""
    _refuse(hashlib.sha256(footer[VERSIONS]).hexdigest() != header.versions_sha256, "versions unlike their digest")
    return footer[VERSIONS]


def _columns(table: Any) -> Columns:
    return {name: _array(table.column(name)) for name in table.column_names}


def _array(column: Any) -> NDArray[Any]:
    """Return an Arrow column as an array of the type given in Columns."""
    values = column.combine_chunks()
    if pa.types.is_date32(values.type):
        return np.asarray(values.cast(pa.int32())).astype("datetime64[D]")
    if pa.types.is_timestamp(values.type):
        counts = values.cast(pa.int64()).fill_null(np.iinfo(np.int64).min)  # numpy's bits for no time
        return np.asarray(counts).view(INSTANT)
    return np.asarray(values)


@cache
def _schema(fields: tuple[str, ...]) -> Any:
    instant = pa.timestamp("us", tz="UTC")
    numbers = [pa.field(name, pa.float64(), nullable=False) for name in fields]
    known = [pa.field("known_from", instant, nullable=False), pa.field("known_until", instant)]
    return pa.schema([pa.field("session", pa.date32(), nullable=False), *numbers, *known])


def _refuse(wrong: bool, found: str) -> None:
    if wrong:
        raise ValueError(found)


def _described(error: Exception) -> str:
    """Return the error's text on one line without control characters, as damaged bytes may contain some."""
    line = " ".join(str(error).split())[:200] or type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in line)
