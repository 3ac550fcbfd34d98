"""Recurrent cells behind one interface: inputs [batch, session, input] and a state give outputs and the next state.

The fused ones are torch's own; the others are written out by hand, step by step. A state of None is zero.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.forecasters.recurrent.specification import RecurrentSpec

State = Tensor | tuple[Tensor, Tensor] | None


class UnrolledCell(nn.Module):
    """A plain recurrent cell unrolled over the sessions by hand: h_t = act(W x_t + b + U h_(t-1) + c)."""

    def __init__(self, spec: RecurrentSpec, inputs: int) -> None:
        super().__init__()
        self.cell = nn.RNNCell(inputs, spec.hidden_size, bias=spec.bias, nonlinearity=spec.nonlinearity)

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Return the hidden states [batch, session, hidden] and the last of them [1, batch, hidden]."""
        hidden = _begin(inputs, state, self.cell.hidden_size)  # [batch, hidden]
        outputs = []
        for step in inputs.unbind(dim=1):
            hidden = self.cell(step, hidden)  # [batch, hidden]
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), hidden[None]


class ConcatCell(nn.Module):
    """Input and former state side by side: the next state is linear in them, and they are themselves the output."""

    def __init__(self, spec: RecurrentSpec, inputs: int) -> None:
        super().__init__()
        self.to_hidden = nn.Linear(inputs + spec.hidden_size, spec.hidden_size, bias=spec.bias)

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Return what the head reads [batch, session, input + hidden] and the last state [1, batch, hidden]."""
        hidden = _begin(inputs, state, self.to_hidden.out_features)  # [batch, hidden]
        outputs = []
        for step in inputs.unbind(dim=1):
            joined = torch.cat((step, hidden), dim=1)  # [batch, input + hidden]
            hidden = self.to_hidden(joined)  # [batch, hidden]
            outputs.append(joined)
        return torch.stack(outputs, dim=1), hidden[None]


class ElmanCell(nn.Module):
    """Elman's network (1990): one matrix for input and context side by side, tanh, no bias."""

    def __init__(self, spec: RecurrentSpec, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs + spec.hidden_size, spec.hidden_size))

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Return the hidden states [batch, session, hidden] and the last of them [1, batch, hidden]."""
        context = _begin(inputs, state, self.weight.shape[1])  # [batch, hidden]
        outputs = []
        for step in inputs.unbind(dim=1):
            context = torch.tanh(torch.cat((step, context), dim=1) @ self.weight)  # [batch, hidden]
            outputs.append(context)
        return torch.stack(outputs, dim=1), context[None]


def new_cell(spec: RecurrentSpec, inputs: int) -> nn.Module:
    """Return a cell of the specification over this many inputs."""
    return _MAKERS[spec.cell](spec, inputs)


def output_size(spec: RecurrentSpec, inputs: int) -> int:
    """Return how many numbers a cell over this many inputs gives per session."""
    return inputs + spec.hidden_size if spec.cell == "concat" else spec.hidden_size


def detached(state: State) -> State:
    """Return the state cut off from what made it, where backpropagation through time is truncated."""
    if isinstance(state, tuple):
        return state[0].detach(), state[1].detach()
    return None if state is None else state.detach()


def _begin(inputs: Tensor, state: State, hidden_size: int) -> Tensor:
    return state[0] if isinstance(state, Tensor) else inputs.new_zeros(inputs.shape[0], hidden_size)


def _rnn(spec: RecurrentSpec, inputs: int) -> nn.Module:
    return nn.RNN(inputs, spec.hidden_size, nonlinearity=spec.nonlinearity, bias=spec.bias, batch_first=True)


_MAKERS: dict[str, Callable[[RecurrentSpec, int], nn.Module]] = {
    "lstm": lambda spec, inputs: nn.LSTM(inputs, spec.hidden_size, bias=spec.bias, batch_first=True),
    "gru": lambda spec, inputs: nn.GRU(inputs, spec.hidden_size, bias=spec.bias, batch_first=True),
    "rnn": _rnn,
    "rnncell": UnrolledCell,
    "concat": ConcatCell,
    "elman": ElmanCell,
}
