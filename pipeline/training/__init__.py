"""Fit jobs, run one by one or in processes, and the cache of finished fits."""
