"""Tuning: the search space, the data on which trials are validated, and the study that stores every trial."""
