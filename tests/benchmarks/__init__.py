"""Measurements, run by `make bench`: none of them is a test, and every number stated anywhere comes from here."""
