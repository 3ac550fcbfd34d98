"""Recurrent networks: layers of one fused cell each, and a quantile head that cannot cross."""

import math
from collections.abc import Iterator

import torch
from scipy.stats import t as student
from torch import Tensor, nn

from pipeline.models.specification import LEVELS, MEDIAN, RecurrentSpec

START_DEGREES_OF_FREEDOM = 5.0
START_WEIGHT_SCALE = 0.1  # the head starts close to an unconditional Student t


class QuantileHead(nn.Module):
    """Quantiles [..., horizon, level] in units of vol x sqrt(h), increasing in the level by construction.

    The median is free; every other level is the neighbour towards the median plus or minus a softplus.
    """

    def __init__(self, inputs: int, horizons: int) -> None:
        super().__init__()
        self.horizons = horizons
        self.linear = nn.Linear(inputs, horizons * len(LEVELS))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the quantiles of hidden states [..., input]."""
        raw = self.linear(hidden).unflatten(-1, (self.horizons, len(LEVELS)))  # [..., horizon, level]
        step = nn.functional.softplus(raw)  # [..., horizon, level]
        median = raw[..., MEDIAN : MEDIAN + 1]  # [..., horizon, 1]
        below = median - step[..., :MEDIAN].flip(-1).cumsum(-1).flip(-1)  # [..., horizon, MEDIAN]
        above = median + step[..., MEDIAN + 1 :].cumsum(-1)  # [..., horizon, level - MEDIAN - 1]
        return torch.cat((below, median, above), dim=-1)  # [..., horizon, level]

    def start_as_student_t(self) -> None:
        """Set the weights so that the first forecast is a unit-variance Student t whatever the input."""
        scale = math.sqrt(1 - 2 / START_DEGREES_OF_FREEDOM)
        quantiles = torch.tensor(student.ppf(LEVELS, START_DEGREES_OF_FREEDOM) * scale, dtype=torch.float32)
        step = torch.empty_like(quantiles)
        step[:MEDIAN] = quantiles[1 : MEDIAN + 1] - quantiles[:MEDIAN]
        step[MEDIAN + 1 :] = quantiles[MEDIAN + 1 :] - quantiles[MEDIAN:-1]
        raw = torch.log(torch.expm1(step))  # the inverse of softplus
        raw[MEDIAN] = 0.0
        with torch.no_grad():
            self.linear.weight.mul_(START_WEIGHT_SCALE)
            self.linear.bias.copy_(raw.repeat(self.horizons))


class RecurrentNetwork(nn.Module):
    """Features [batch, session, feature] to quantiles [batch, session, horizon, level], from a zero state."""

    def __init__(self, spec: RecurrentSpec, inputs: int, horizons: int) -> None:
        super().__init__()
        sizes = [inputs, *[spec.hidden_size] * (spec.num_layers - 1)]
        self.layers = nn.ModuleList(_cell(spec, size) for size in sizes)
        self.head = QuantileHead(spec.hidden_size, horizons)
        self.dropout = spec.dropout

    def forward(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the quantiles; with a generator the network trains and its dropout is drawn from it."""
        hidden = features  # [batch, session, feature]
        for layer in self.layers:
            hidden = layer(hidden)[0]  # [batch, session, hidden]
            hidden = self._dropped(hidden, generator)
        quantiles: Tensor = self.head(hidden)
        return quantiles

    def _dropped(self, hidden: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or self.dropout == 0.0:
            return hidden
        keep = 1.0 - self.dropout
        mask = torch.empty_like(hidden).bernoulli_(keep, generator=generator)  # [batch, session, hidden]
        return hidden * mask / keep


def new_network(spec: RecurrentSpec, inputs: int, horizons: int, generator: torch.Generator) -> RecurrentNetwork:
    """Return a network whose every weight is drawn from the generator: U(-1/sqrt(size), 1/sqrt(size))."""
    network = RecurrentNetwork(spec, inputs, horizons)
    with torch.no_grad():
        for module in _leaves(network):
            bound = 1.0 / math.sqrt(module.in_features if isinstance(module, nn.Linear) else spec.hidden_size)
            for parameter in module.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
    network.head.start_as_student_t()
    return network


def _cell(spec: RecurrentSpec, inputs: int) -> nn.Module:
    if spec.cell == "rnn":
        return nn.RNN(inputs, spec.hidden_size, nonlinearity=spec.nonlinearity, bias=spec.bias, batch_first=True)
    cell = nn.LSTM if spec.cell == "lstm" else nn.GRU
    return cell(inputs, spec.hidden_size, bias=spec.bias, batch_first=True)


def _leaves(network: RecurrentNetwork) -> Iterator[nn.Module]:
    yield from network.layers
    yield network.head.linear
