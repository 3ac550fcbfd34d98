"""Tests of the operation room."""
