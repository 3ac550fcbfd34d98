"""The ledger: which forecasts were issued when, in a chain of digests, and how they were graded."""
