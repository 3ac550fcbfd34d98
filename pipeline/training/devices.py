"""Where a network is trained: the device that was asked for, if it is there."""

from typing import Literal

from pipeline.errors import UsageError

DeviceChoice = Literal["auto", "cpu", "cuda"]


def choose_device(choice: DeviceChoice) -> str:
    """Return "cpu" or "cuda"; raises UsageError where cuda was asked for and there is none."""
    if choice == "cpu":
        return "cpu"
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        raise UsageError("device = cuda, but torch finds no CUDA device here; use device = auto or cpu")
    return "cpu"
