"""Tests of the market room."""
