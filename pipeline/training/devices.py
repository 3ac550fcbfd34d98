"""Where a network computes: on the requested device, and with one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pipeline.errors import UsageError

DeviceChoice = Literal["auto", "cpu", "cuda"]


def choose_device(choice: DeviceChoice) -> str:
    """Return "cpu" or "cuda"; raises UsageError where cuda was requested and there is none."""
    if choice == "cpu":
        return "cpu"
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        raise UsageError("device = cuda, but torch finds no CUDA device here; use device = auto or cpu")
    return "cpu"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within: sums then have one order, and fits run side by side."""
    import torch  # noqa: PLC0415

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
