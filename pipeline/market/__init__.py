"""Bars: their sources, the contract they must meet, and the sessions of their exchanges."""
