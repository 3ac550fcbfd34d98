"""Monitoring: drift of features, of losses and of coverage, and ages, with thresholds by block bootstrap."""
