"""Writes an experiment as a TOML file that `tapecast run --experiment` reads back as the same experiment."""

import tomllib
from pathlib import Path

import tomli_w

from pipeline.errors import TapecastError
from pipeline.experiment import Experiment
from pipeline.files import write_whole


def write_experiment(path: Path, experiment: Experiment, comments: tuple[str, ...]) -> None:
    """Write the experiment with comments above it, whole or not at all; raises UsageError where it cannot be written.

    Settings that are None are omitted, as TOML has no null.
    """
    header = "".join(f"# {line}\n" for text in comments for line in text.splitlines())
    text = f"{header}\n{tomli_w.dumps(experiment.model_dump(mode='json', exclude_none=True))}"
    if Experiment.model_validate(tomllib.loads(text)) != experiment:
        raise TapecastError(f"the experiment for {path} would be read back as a different one; expected the same")
    write_whole(path, text.encode())
