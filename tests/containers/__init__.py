"""Tests of docker/: its files by the tools that read them, and its start commands as processes."""
