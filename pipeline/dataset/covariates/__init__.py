"""Covariates: sectors, series from files known afterwards or in advance, and the calendar of the target sessions."""
