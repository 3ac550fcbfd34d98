"""Tests of the simulation of trading rules."""
