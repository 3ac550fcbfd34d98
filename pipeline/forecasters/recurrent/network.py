"""Recurrent networks: layers of one cell each, a decoder where horizons are unrolled, and the head's raw numbers."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.forecasters.recurrent.cells import ElmanCell, State, new_cell, output_size
from pipeline.forecasters.recurrent.heads.empirical import direction_head, point_head
from pipeline.forecasters.recurrent.heads.head import Head
from pipeline.forecasters.recurrent.heads.parametric import mixture_head, student_head
from pipeline.forecasters.recurrent.heads.quantiles import quantile_head
from pipeline.forecasters.recurrent.specification import (
    DirectionHeadSpec,
    HeadSpec,
    MixtureHeadSpec,
    PointHeadSpec,
    QuantileHeadSpec,
    RecurrentSpec,
    StudentHeadSpec,
)

START_WEIGHT_SCALE = 0.1  # the head starts close to its unconditional distribution
START_EMBEDDING_SCALE = 0.1
ELMAN_HIDDEN_STD, ELMAN_HEAD_STD = 0.4, 0.3
States = list[State]


class Layer(nn.Module):
    """One cell with optional layer normalisation, dropout and residual connection."""

    def __init__(self, spec: RecurrentSpec, inputs: int) -> None:
        super().__init__()
        normed = spec.layer_norm and inputs > 1  # of a single input nothing would be left
        self.norm = nn.LayerNorm(inputs) if normed else nn.Identity()
        self.cell = new_cell(spec, inputs)
        self.dropout = spec.dropout
        self.passes = spec.residual and output_size(spec, inputs) == inputs

    def forward(self, inputs: Tensor, state: State, generator: torch.Generator | None) -> tuple[Tensor, State]:
        """Return the outputs [batch, session, output] and the state after the last session."""
        outputs, state = self.cell(self.norm(inputs), state)  # [batch, session, output]
        outputs = dropped(outputs, self.dropout, generator)
        return outputs + inputs if self.passes else outputs, state


class Decoder(nn.Module):
    """A cell unrolled over the horizons from what was read; at each it reads what is known of the target session."""

    def __init__(self, spec: RecurrentSpec, inputs: int, known: int) -> None:
        super().__init__()
        self.known = known
        self.begin = nn.Linear(inputs, spec.hidden_size, bias=spec.cell != "elman")
        self.cell = new_cell(spec, max(known, 1))
        self.has_memory = spec.cell == "lstm"

    def forward(self, hidden: Tensor, ahead: Tensor) -> Tensor:
        """Return [batch, session, horizon, output] of what was read [batch, session, input] and is known in advance."""
        batch, sessions, horizons, _ = ahead.shape
        first = torch.tanh(self.begin(hidden)).reshape(1, batch * sessions, -1)  # [1, batch x session, hidden]
        state = (first, torch.zeros_like(first)) if self.has_memory else first
        inputs = ahead.reshape(batch * sessions, horizons, -1)  # [batch x session, horizon, known]
        outputs: Tensor = self.cell(inputs, state)[0]  # [batch x session, horizon, output]
        return outputs.reshape(batch, sessions, horizons, -1)


class RecurrentNetwork(nn.Module):
    """Inputs [batch, session, input] to the head's raw numbers [batch, session, horizon, size].

    The last `horizons` x `known` inputs are what is known in advance of the target sessions. A network with an
    embedding has a row per ticker it is trained on; row 0 stands for any other.
    """

    def __init__(self, spec: RecurrentSpec, inputs: int, horizons: int, tickers: int = 0, known: int = 0) -> None:
        super().__init__()
        self.spec, self.known = spec, known
        self.horizons = 1 if spec.horizon_mode == "recursive" else horizons
        self.head = head_of(spec.head)
        self.embedding = nn.Embedding(tickers + 1, spec.embedding_size) if spec.embedding_size else None
        sizes = [inputs + spec.embedding_size]
        for _ in range(spec.num_layers):
            sizes.append(output_size(spec, sizes[-1]))
        self.layers = nn.ModuleList(Layer(spec, size) for size in sizes[:-1])
        self.decoder = Decoder(spec, sizes[-1], known) if spec.horizon_mode == "decoder" else None
        read = output_size(spec, max(known, 1)) if self.decoder else sizes[-1]
        answers = 1 if self.decoder else self.horizons
        self.linear = nn.Linear(read, answers * self.head.size, bias=spec.cell != "elman")

    def forward(
        self,
        inputs: Tensor,
        ticker: Tensor | None = None,
        states: States | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, States]:
        """Return the raw numbers and each layer's state after the last session.

        `ticker` [batch] are rows of the embedding (none: all 0). With a generator the network trains, and its dropout
        is drawn from it.
        """
        if self.spec.reads_one:
            raw, _ = self._read(inputs.flatten(0, 1)[:, None], _repeated(ticker, inputs.shape[1]), None, generator)
            return raw.reshape(*inputs.shape[:2], *raw.shape[2:]), []
        return self._read(inputs, ticker, states, generator)

    def _read(
        self, inputs: Tensor, ticker: Tensor | None, states: States | None, generator: torch.Generator | None
    ) -> tuple[Tensor, States]:
        hidden = self._with_ticker(inputs, ticker)  # [batch, session, input]
        after: States = []
        for layer, state in zip(self.layers, states or [None] * len(self.layers), strict=True):
            hidden, last = layer(hidden, state, generator)  # [batch, session, output]
            after.append(last)
        if self.decoder:
            return self.linear(self.decoder(hidden, self._ahead(inputs))), after
        return split_horizons(self.linear(hidden), self.horizons), after

    def _with_ticker(self, inputs: Tensor, ticker: Tensor | None) -> Tensor:
        if self.embedding is None:
            return inputs
        row = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device) if ticker is None else ticker
        embedded = self.embedding(row)[:, None].expand(-1, inputs.shape[1], -1)  # [batch, session, embedding]
        return torch.cat((inputs, embedded), dim=-1)

    def _ahead(self, inputs: Tensor) -> Tensor:
        """Return what is known of the target sessions [batch, session, horizon, known], a zero where nothing is."""
        if not self.known:
            return inputs.new_zeros(*inputs.shape[:2], self.horizons, 1)
        return split_horizons(inputs[..., -self.horizons * self.known :], self.horizons)


def split_horizons(values: Tensor, horizons: int) -> Tensor:
    """Return values [..., horizon x n] as [..., horizon, n]."""
    return values.reshape(*values.shape[:-1], horizons, -1)


def dropped(hidden: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
    """Return hidden states [...] with a share of them set to zero and the others scaled up, while training."""
    if generator is None or dropout == 0.0:
        return hidden
    keep = 1.0 - dropout
    return hidden * torch.empty_like(hidden).bernoulli_(keep, generator=generator) / keep


def new_network(
    spec: RecurrentSpec, inputs: int, horizons: int, generator: torch.Generator, tickers: int = 0, known: int = 0
) -> RecurrentNetwork:
    """Return a network whose every weight is drawn from the generator: U(-1/sqrt(size), 1/sqrt(size)).

    Elman's weights are normal, those of an embedding too; norms begin as the identity.
    """
    network = RecurrentNetwork(spec, inputs, horizons, tickers, known)
    with torch.no_grad():
        for module in _drawn(network):
            _draw(module, spec, generator)
        if network.embedding is not None:
            network.embedding.weight.normal_(0.0, START_EMBEDDING_SCALE, generator=generator)
        # The last that is drawn: another head leaves every other weight as it is.
        _draw_head(network, generator)
    return network


def _draw(module: nn.Module, spec: RecurrentSpec, generator: torch.Generator) -> None:
    bound = 1.0 / math.sqrt(module.in_features if isinstance(module, nn.Linear) else spec.hidden_size)
    for parameter in module.parameters():
        parameter.uniform_(-bound, bound, generator=generator)
    if isinstance(module, ElmanCell):
        module.weight.normal_(0.0, ELMAN_HIDDEN_STD, generator=generator)


def _draw_head(network: RecurrentNetwork, generator: torch.Generator) -> None:
    _draw(network.linear, network.spec, generator)
    if network.spec.cell == "elman":
        network.linear.weight.normal_(0.0, ELMAN_HEAD_STD, generator=generator)
        return
    network.linear.weight.mul_(START_WEIGHT_SCALE)
    answers = network.linear.out_features // network.head.size
    network.linear.bias.copy_(network.head.start.repeat(answers))


def _drawn(network: RecurrentNetwork) -> Iterator[nn.Module]:
    for module in network.modules():
        if isinstance(module, Layer):
            yield module.cell
    if network.decoder:
        yield network.decoder.begin
        yield network.decoder.cell


def _repeated(ticker: Tensor | None, sessions: int) -> Tensor | None:
    return None if ticker is None else ticker.repeat_interleave(sessions)


def head_of(spec: HeadSpec) -> Head:
    """Return the head of a specification."""
    match spec:
        case QuantileHeadSpec():
            return quantile_head()
        case PointHeadSpec():
            return point_head(spec)
        case StudentHeadSpec():
            return student_head()
        case MixtureHeadSpec():
            return mixture_head(spec)
        case DirectionHeadSpec():
            return direction_head(spec)
