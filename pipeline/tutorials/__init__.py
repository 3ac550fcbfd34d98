"""The tutorials' networks as named presets, trained and scored by the code of every run."""
