"""Opening: tables are made and brought up to date, and every fault is one sentence of ours."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from pipeline.errors import LedgerError
from pipeline.operation.ledger.database import MIGRATIONS, Ledger, open_ledger
from pipeline.operation.ledger.schema import HEAD, METADATA, VERSION_TABLE
from pipeline.operation.ledger.verification import verify
from pipeline.operation.ledger.writing import append
from pipeline.sqlite import sqlite_uri

from .issued import issue


def test_the_migrations_lead_to_the_tables_that_the_code_uses(url: str) -> None:
    ledger = open_ledger(url)
    with ledger.reading() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
        for name, table in METADATA.tables.items():
            found = sa.inspect(connection).get_pk_constraint(name)["constrained_columns"]
            assert found == [column.name for column in table.primary_key]


def test_the_newest_revision_is_the_one_that_the_code_knows() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert scripts.get_heads() == [HEAD]
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)


def test_the_rows_are_kept_without_a_second_index_on_their_key(tmp_path: Path) -> None:
    open_ledger(sqlite_uri(tmp_path / "l.db"))
    with sqlite3.connect(tmp_path / "l.db") as connection:
        (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'ledger_forecasts'").fetchone()
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert "WITHOUT ROWID" in made
    assert mode == "wal"


def test_opening_again_keeps_what_is_there(url: str) -> None:
    first = append(open_ledger(url), issue())
    assert append(open_ledger(url), issue()).digest == first.digest


def test_a_ledger_that_is_held_open_is_read_and_written_as_ever(ledger: Ledger) -> None:
    with ledger.held_open():
        first = append(ledger, issue())
        assert append(ledger, issue()).existing == first.added
    with pytest.raises(KeyboardInterrupt), ledger.held_open():
        raise KeyboardInterrupt
    assert verify(ledger, "daily", {first.sequence: first.digest}).fault is None


def test_a_held_ledger_keeps_sqlites_files_until_it_is_released(tmp_path: Path) -> None:
    ledger, files = open_ledger(sqlite_uri(tmp_path / "l.db")), {"l.db", "l.db-wal", "l.db-shm"}
    with ledger.held_open():
        append(ledger, issue())
        assert {path.name for path in tmp_path.iterdir()} == files
    assert {path.name for path in tmp_path.iterdir()} == {"l.db"}


def test_alembic_is_not_needed_once_the_tables_are_there(tmp_path: Path) -> None:
    address = sqlite_uri(tmp_path / "l.db")
    open_ledger(address)
    script = f"import sys; from pipeline.operation.ledger.database import open_ledger; open_ledger({address!r}); "
    script += "print('alembic' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout == "False\n"


def test_a_ledger_of_a_newer_version_is_refused(url: str) -> None:
    ledger = open_ledger(url)
    with ledger.writing("daily") as connection:
        connection.execute(sa.update(sa.table(VERSION_TABLE, sa.column("version_num"))).values(version_num="9999"))
    with pytest.raises(LedgerError, match=r"tables of revision 9999, expected 0001 or earlier.*upgrade"):
        open_ledger(url)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("mysql://me:secret@host/x", "expected sqlite:////folder/ledger.db or postgresql"),
        ("sqlite://", "expected sqlite:////folder/ledger.db or postgresql"),
        ("/a/path/ledger.db", "expected sqlite:////folder/ledger.db or postgresql"),
        ("postgresql+psycopg2://me:secret@127.0.0.1:1/x", "could not open the ledger .*me:\\*\\*\\*@127.0.0.1"),
        ("postgresql+nosuchdriver://127.0.0.1:1/x", "expected sqlite"),
        ("postgresql+psycopg://127.0.0.1:1/x", "No module named 'psycopg'"),
        ("sqlite:////dev/null/ledger.db", "could not open the ledger"),
        ("sqlite:////proc/ledger.db", "could not open the ledger"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_sentence(address: str, expected: str) -> None:
    with pytest.raises(LedgerError, match=expected) as refused:
        open_ledger(address)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_damaged_file_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(LedgerError, match="file is not a database"):
        open_ledger(sqlite_uri(tmp_path / "l.db"))


def test_a_locked_database_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.operation.ledger.database.WAIT_SECONDS", 0.1)
    ledger = open_ledger(sqlite_uri(tmp_path / "l.db"))
    other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(LedgerError, match=r"could not write the ledger .*database is locked"):
            append(ledger, issue())
    finally:
        other.close()


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    ledger = open_ledger(sqlite_uri(tmp_path / "l.db"))
    with ledger.writing("daily"), ledger.reading() as reader:
        assert reader.execute(sa.text("SELECT count(*) FROM ledger_entries")).scalar_one() == 0
