"""Tests of the covariates."""
