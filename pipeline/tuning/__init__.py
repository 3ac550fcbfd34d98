"""Tuning: which settings to try, on which rows they are judged, and the study that remembers every trial."""
