"""The first tables, and triggers that refuse to change or delete what was issued or graded."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

QUANTILES = ("q05", "q10", "q25", "q50", "q75", "q90", "q95")
APPEND_ONLY = ("ledger_names", "ledger_entries", "ledger_forecasts", "ledger_gradings", "ledger_grades")


def upgrade() -> None:
    """Create the tables, indices and triggers."""
    _names_and_entries()
    _forecasts()
    _grades()
    _refuse_changes()


def _names_and_entries() -> None:
    op.create_table(
        "ledger_names",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("model_id", sa.Integer, sa.ForeignKey("ledger_names.id"), primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("first_origin", sa.Integer, nullable=False),
        sa.Column("last_origin", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("calendar", sa.Text, nullable=False),
        sa.Column("experiment_digest", sa.Text, nullable=False),
        sa.Column("calibration_digest", sa.Text),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("lock_digest", sa.Text, nullable=False),
        sa.Column("cpu_capability", sa.Text, nullable=False),
        sa.Column("known_at", sa.BigInteger),
        sa.Column("price_basis", sa.Text, nullable=False),
        sa.Column("backtest_date", sa.Integer),
        sa.Column("backtest_verdict", sa.Text),
        sa.Column("backtest_run_id", sa.Text),
        sa.Column("run_id", sa.Text, nullable=False),
    )


def _key() -> list[sa.Column[int]]:
    return [
        sa.Column("as_of", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ticker_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("horizon", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("forecaster_id", sa.Integer, primary_key=True, autoincrement=False),
    ]


def _model() -> sa.Column[int]:
    return sa.Column("model_id", sa.Integer, primary_key=True, autoincrement=False)


def _forecasts() -> None:
    op.create_table(
        "ledger_forecasts",
        _model(),
        *_key(),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("target_session", sa.Integer, nullable=False),
        sa.Column("reference_close", sa.Double, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in QUANTILES),
        sa.Column("published", sa.Boolean, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_ungraded",
        _model(),
        sa.Column("target_session", sa.Integer, primary_key=True, autoincrement=False),
        *_key(),
        sqlite_with_rowid=False,
    )


def _grades() -> None:
    op.create_table(
        "ledger_gradings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("ledger_names.id"), nullable=False),
        sa.Column("graded_at", sa.BigInteger, nullable=False),
        sa.Column("known_at", sa.BigInteger),
    )
    op.create_table(
        "ledger_grades",
        _model(),
        *_key(),
        sa.Column("revision", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("grading_id", sa.Integer, sa.ForeignKey("ledger_gradings.id"), nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("outcome", "pinball", "crps", "error")),
        *(sa.Column(f"inside_{band}", sa.Boolean, nullable=False) for band in (50, 80, 90)),
        sqlite_with_rowid=False,
    )


def _refuse_changes() -> None:
    """Make the database itself refuse UPDATE and DELETE: an accident is refused, an attack is seen by the chain."""
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            for change in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()"
        )
