"""The worker processes of this process, as the operating system lists them."""

import os
from pathlib import Path


def children() -> set[int]:
    """The workers of this process that are alive."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status[1]) == os.getpid() and status[0] != "Z" and b"pipeline.execution.worker" in command:
            found.add(int(folder.name))
    return found
