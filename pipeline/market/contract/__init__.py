"""The contract that bars must meet: the rules, and the gate that judges one ticker's rows by them.

Every rule is causal by session: what is decided, repaired or put aside about a session depends on rows of that
session and earlier ones only.
"""
