"""Heads: each owns its loss, and the way from raw numbers to a distribution."""
