"""Validation of bars: the rules, the checks of one ticker's rows, and the report of what they find.

Validation is causal by session: what is decided, repaired or quarantined about a session depends on rows of that
session and earlier ones only.
"""
