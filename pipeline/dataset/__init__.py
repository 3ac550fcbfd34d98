"""Bars into arrays: panel, features, targets, frames, folds, scaling."""
