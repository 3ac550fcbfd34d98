"""The tables, as the migrations leave them; a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

from pipeline.forecasting.forecasts import QUANTILE_COLUMNS

HEAD = "0001"
"""The newest revision of the migrations: revisions are numbered, so that a later one is greater."""
VERSION_TABLE = "ledger_revision"
"""A name of its own, since MLflow's and Optuna's tables in the same database have `alembic_version`."""

METADATA = MetaData()
KEY_IDS = ("as_of", "ticker_id", "horizon", "forecaster_id")
"""The key of a row under a model as numbers; by day first, so that rows are added at the end and read in one piece.

It is the only index of the large tables: the rows of an entry are found by its first and last origin."""


def _key_columns() -> list[Column[int]]:
    return [
        Column("model_id", Integer, primary_key=True, autoincrement=False),
        *(Column(name, _KEY_TYPES[name], primary_key=True, autoincrement=False) for name in KEY_IDS),
    ]


_KEY_TYPES = {"as_of": Integer, "ticker_id": Integer, "horizon": SmallInteger, "forecaster_id": Integer}

names = Table(
    "ledger_names",  # of models, tickers and forecasters: rows name them by a small number
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

entries = Table(
    "ledger_entries",  # one per issue: the chain
    METADATA,
    Column("model_id", Integer, ForeignKey("ledger_names.id"), primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("issued_at", BigInteger, nullable=False),  # instants: microseconds since 1970
    Column("row_count", Integer, nullable=False),
    Column("first_origin", Integer, nullable=False),  # days since 1970
    Column("last_origin", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("calendar", Text, nullable=False),
    Column("experiment_digest", Text, nullable=False),
    Column("calibration_digest", Text),
    Column("code_version", Text, nullable=False),
    Column("lock_digest", Text, nullable=False),
    Column("cpu_capability", Text, nullable=False),
    Column("known_at", BigInteger),
    Column("price_basis", Text, nullable=False),
    Column("backtest_date", Integer),
    Column("backtest_verdict", Text),
    Column("backtest_run_id", Text),
    Column("run_id", Text, nullable=False),
)

forecasts = Table(
    "ledger_forecasts",  # no foreign keys here and in grades: a third of the time; verification finds a stray row
    METADATA,
    *_key_columns(),
    Column("sequence", Integer, nullable=False),
    Column("target_session", Integer, nullable=False),
    Column("reference_close", Double, nullable=False),
    *(Column(name, Double, nullable=False) for name in QUANTILE_COLUMNS),  # log returns
    Column("published", Boolean, nullable=False),
    Column("status", SmallInteger, nullable=False),  # the place in issues.STATUSES
    sqlite_with_rowid=False,
)

waiting = Table(
    "ledger_ungraded",  # what waits for its outcome; made from the others, and no part of the record
    METADATA,
    Column("model_id", Integer, primary_key=True, autoincrement=False),
    Column("target_session", Integer, primary_key=True, autoincrement=False),
    *(Column(name, _KEY_TYPES[name], primary_key=True, autoincrement=False) for name in KEY_IDS),
    sqlite_with_rowid=False,
)

gradings = Table(
    "ledger_gradings",  # one per act of grading
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("model_id", Integer, ForeignKey("ledger_names.id"), nullable=False),
    Column("graded_at", BigInteger, nullable=False),
    Column("known_at", BigInteger),
)

grades = Table(
    "ledger_grades",
    METADATA,
    *_key_columns(),
    Column("revision", SmallInteger, primary_key=True, autoincrement=False),
    Column("grading_id", Integer, ForeignKey("ledger_gradings.id"), nullable=False),
    Column("outcome", Double, nullable=False),  # log return
    Column("pinball", Double, nullable=False),
    Column("crps", Double, nullable=False),
    Column("error", Double, nullable=False),
    Column("inside_50", Boolean, nullable=False),
    Column("inside_80", Boolean, nullable=False),
    Column("inside_90", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
