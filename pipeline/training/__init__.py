"""Fit jobs, run one by one or in processes, and the fits that are kept."""
