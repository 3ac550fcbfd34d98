"""The environment that a forecast is made in: with the same one the same inputs give the same bits."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("arch", "exchange-calendars", "lightgbm", "numpy", "pandas", "safetensors", "scipy", "torch")
"""Packages whose version can change a number of a forecast."""
SOURCE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """The version of this code (with the digest of its source), of the packages, and what the CPU can do."""

    code_version: str
    packages: dict[str, str]
    cpu_capability: str

    @property
    def lock_digest(self) -> str:
        """The SHA-256 of the packages and their versions."""
        return hashlib.sha256(json.dumps(self.packages, sort_keys=True).encode()).hexdigest()


@cache
def this_environment() -> Environment:
    """Return the environment of this process."""
    from torch.backends import cpu  # noqa: PLC0415  slow to import

    return Environment(
        code_version=f"{version('tapecast')}+{_source_digest()[:12]}",
        packages={name: version(name) for name in PACKAGES},
        cpu_capability=cpu.get_cpu_capability(),
    )


def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*.py")):
        digest.update(path.relative_to(SOURCE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
