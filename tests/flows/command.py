"""The installed command as a subprocess, and an experiment that takes seconds."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAPECAST = Path(sys.executable).with_name("tapecast")

SMALL_TOML = """
seeds = 1
horizons = 2
workers = 1
device = "cpu"

[source]
kind = "synthetic"
process = "random_walk"
sessions = 620
tickers = 3

[network]
hidden_size = 4

[training]
min_steps = 4
max_steps = 8
batch_chunks = 4

[folds]
minimum_train_sessions = 100
"""


@dataclass(frozen=True)
class Command:
    """Runs tapecast with its state in a home of its own, on a Prefect server where one is named."""

    home: Path
    prefect_api: str | None = field(default=None, kw_only=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this process, less what would point Prefect or Tapecast elsewhere."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TAPECAST_"))}
        named = {"PREFECT_API_URL": self.prefect_api} if self.prefect_api else {}
        return {**kept, **named, "TAPECAST_HOME": str(self.home), "COLUMNS": "120"}

    def __call__(self, *arguments: str | Path, seconds: int = 240) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [TAPECAST, *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def json(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        """Return the exit status and the one JSON object on standard output."""
        result = self(*arguments, "--json")
        lines = result.stdout.splitlines()
        assert len(lines) == 1, (result.stdout, result.stderr)
        return result.returncode, json.loads(lines[0])


def small_experiment(folder: Path) -> Path:
    """Return the path of a small experiment's TOML file."""
    path = folder / "small.toml"
    path.write_text(SMALL_TOML)
    return path
