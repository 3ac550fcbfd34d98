"""Executors of plain calls: one process per core, started as a module of this package."""
