"""Tests of significance, each a plain function on arrays."""
