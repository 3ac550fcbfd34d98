"""The tutorials' networks as named presets, learned and judged by the code of every run."""
