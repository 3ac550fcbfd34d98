"""What a head is: a value that switches the loss and the distribution, and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

Spread = Mapping[str, Tensor]
"""What a head without a distribution of its own learned of the outcomes around it, by name [horizon, ...]."""


def learn_nothing(_raw: Tensor, _outcome: Tensor, _known: Tensor) -> Spread:
    """Return no spread: the head's raw numbers are a distribution by themselves."""
    return {}


@dataclass(frozen=True)
class Head:
    """`size` raw numbers per horizon, from which loss and distribution follow; values are in units of the target.

    `loss(raw [..., size], outcome [...])` is [...]. `inverse(raw [..., horizon, size], levels, spread)` is the inverse
    distribution function [..., horizon, level] of levels [level] or [..., horizon, level]. `learn(raw, outcome, known)`
    is the spread, learned after training from outcomes [..., horizon] of the validation range. `probabilities(raw)` are
    those of the classes down, flat and up [..., horizon, class], where the head has them.
    """

    size: int
    start: Tensor  # [size], the bias that training begins with
    loss: Callable[[Tensor, Tensor], Tensor]
    inverse: Callable[[Tensor, Tensor, Spread], Tensor]
    learn: Callable[[Tensor, Tensor, Tensor], Spread] = learn_nothing
    probabilities: Callable[[Tensor], Tensor] | None = None
