"""Alembic's migrations of the ledger: `versions/` in order; found in an installed package too."""
