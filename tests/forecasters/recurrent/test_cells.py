"""Cells: every one against a slow twin, one interface for fused and hand-written ones, and states carried over."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.forecasters.recurrent.cells import State, detached, new_cell, output_size
from pipeline.forecasters.recurrent.network import RecurrentNetwork, new_network
from pipeline.forecasters.recurrent.specification import RecurrentSpec

INPUTS, HIDDEN = 4, 5
CELLS = {
    "lstm": RecurrentSpec(cell="lstm", hidden_size=HIDDEN),
    "lstm without bias": RecurrentSpec(cell="lstm", hidden_size=HIDDEN, bias=False),
    "gru": RecurrentSpec(cell="gru", hidden_size=HIDDEN),
    "gru without bias": RecurrentSpec(cell="gru", hidden_size=HIDDEN, bias=False),
    "rnn": RecurrentSpec(cell="rnn", hidden_size=HIDDEN),
    "rnn relu": RecurrentSpec(cell="rnn", hidden_size=HIDDEN, nonlinearity="relu"),
    "rnn without bias": RecurrentSpec(cell="rnn", hidden_size=HIDDEN, bias=False),
    "rnncell": RecurrentSpec(cell="rnncell", hidden_size=HIDDEN),
    "rnncell relu": RecurrentSpec(cell="rnncell", hidden_size=HIDDEN, nonlinearity="relu"),
    "rnncell without bias": RecurrentSpec(cell="rnncell", hidden_size=HIDDEN, bias=False),
    "concat": RecurrentSpec(cell="concat", hidden_size=HIDDEN),
    "concat without bias": RecurrentSpec(cell="concat", hidden_size=HIDDEN, bias=False),
    "elman": RecurrentSpec(cell="elman", hidden_size=HIDDEN),
}
every_cell = pytest.mark.parametrize("spec", CELLS.values(), ids=list(CELLS))


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cell_of(spec: RecurrentSpec, seed: int = 0, inputs: int = INPUTS) -> nn.Module:
    cell = new_cell(spec, inputs)
    with torch.no_grad():
        for place, parameter in enumerate(cell.parameters()):
            parameter.copy_(0.4 * drawn(100 * seed + place, *parameter.shape))
    return cell


def state_of(spec: RecurrentSpec, seed: int, batch: int) -> State:
    first = 0.5 * drawn(seed, 1, batch, HIDDEN)
    return (first, 0.5 * drawn(seed + 1, 1, batch, HIDDEN)) if spec.cell == "lstm" else first


def parts(state: State) -> tuple[torch.Tensor, ...]:
    assert state is not None
    return state if isinstance(state, tuple) else (state,)


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def slow_cell(cell: nn.Module, spec: RecurrentSpec, x: np.ndarray, state: State) -> tuple[np.ndarray, list[np.ndarray]]:
    """One layer over [session, input] as the textbook writes it, in float64: outputs and last state."""
    w = {name.split(".")[-1].removesuffix("_l0"): value.detach().double().numpy() for name, value in
         cell.named_parameters()}  # fmt: skip
    h = parts(state)[0][0, 0].double().numpy()
    c = parts(state)[-1][0, 0].double().numpy()
    out = []
    for row in x:
        joined = np.concatenate([row, h])
        if spec.cell == "elman":
            h = np.tanh(joined @ w["weight"])
            out.append(h)
        elif spec.cell == "concat":
            h = w["weight"] @ joined + w.get("bias", 0.0)
            out.append(joined)
        else:
            a, b = w["weight_ih"] @ row + w.get("bias_ih", 0.0), w["weight_hh"] @ h + w.get("bias_hh", 0.0)
            h, c = slow_gates(spec, a, b, h, c)
            out.append(h)
    return np.array(out), [h, c] if spec.cell == "lstm" else [h]


def slow_gates(
    spec: RecurrentSpec, a: np.ndarray, b: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if spec.cell in ("rnn", "rnncell"):
        return (np.tanh(a + b) if spec.nonlinearity == "tanh" else np.maximum(a + b, 0)), c
    if spec.cell == "gru":
        r, z = sigmoid(a[:HIDDEN] + b[:HIDDEN]), sigmoid(a[HIDDEN : 2 * HIDDEN] + b[HIDDEN : 2 * HIDDEN])
        return (1 - z) * np.tanh(a[2 * HIDDEN :] + r * b[2 * HIDDEN :]) + z * h, c
    i, f, g, o = np.split(a + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@every_cell
def test_a_cell_is_its_formula(spec: RecurrentSpec) -> None:
    cell, x = cell_of(spec), drawn(1, 1, 12, INPUTS)
    assert any("bias" in name for name, _ in cell.named_parameters()) == (spec.bias and spec.cell != "elman")
    for state in (state_of(spec, 7, 1), None):
        zero = torch.zeros(1, 1, HIDDEN)
        expected, last = slow_cell(cell, spec, x[0].double().numpy(), (zero, zero) if state is None else state)
        with torch.no_grad():
            found, after = cell(x, state)
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-5)
        for actual, slow in zip(parts(after), last, strict=True):
            np.testing.assert_allclose(actual[0, 0].numpy(), slow, atol=1e-5)


@every_cell
def test_fused_and_hand_written_cells_share_one_interface(spec: RecurrentSpec) -> None:
    outputs, state = cell_of(spec)(drawn(1, 3, 9, INPUTS), None)
    assert outputs.shape == (3, 9, output_size(spec, INPUTS))
    assert output_size(spec, INPUTS) == (INPUTS + HIDDEN if spec.cell == "concat" else HIDDEN)
    assert [part.shape for part in parts(state)] == [(1, 3, HIDDEN)] * (2 if spec.cell == "lstm" else 1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(list(CELLS)), st.integers(1, 29), st.booleans(), st.integers(1, 4))
def test_reading_in_two_parts_with_the_state_is_reading_the_whole(name: str, cut: int, begun: bool, batch: int) -> None:
    spec = CELLS[name]
    cell, x = cell_of(spec), drawn(2, batch, 30, INPUTS)
    begin = state_of(spec, 5, batch) if begun else None
    with torch.no_grad():
        whole, last = cell(x, begin)
        first, between = cell(x[:, :cut], begin)
        second, after = cell(x[:, cut:], between)
        cold, _ = cell(x[:, cut:], None)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, atol=1e-6, rtol=0)
    for actual, other in zip(parts(after), parts(last), strict=True):
        torch.testing.assert_close(actual, other, atol=1e-6, rtol=0)
    assert not torch.allclose(cold[:, :1], second[:, :1], atol=1e-3)  # and the state does matter


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_cell_unrolled_by_hand_is_torchs_own_rnn(nonlinearity: str, bias: bool, layers: int) -> None:
    """Through all layers of a network, outputs and states, with the weights copied over."""
    spec = RecurrentSpec(
        cell="rnncell", hidden_size=HIDDEN, num_layers=layers, bias=bias, nonlinearity=nonlinearity, dropout=0.0
    )
    network = new_network(spec, INPUTS, 1, torch.Generator().manual_seed(layers))
    fused = nn.RNN(INPUTS, HIDDEN, layers, nonlinearity=nonlinearity, bias=bias, batch_first=True)
    with torch.no_grad():
        for depth, layer in enumerate(network.layers):
            for name, value in layer.cell.cell.named_parameters():
                getattr(fused, f"{name}_l{depth}").copy_(value)
        x = drawn(3, 4, 25, INPUTS)
        expected, last = fused(x)
        found, states = x, []
        for layer in network.layers:
            found, state = layer(found, None, None)
            states.append(state)
        raw, after = network(x)
    assert {name for name, _ in fused.named_parameters()} == {
        f"{name}_l{depth}" for depth in range(layers) for name, _ in network.layers[depth].cell.cell.named_parameters()
    }
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat(states), last, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat(after), last, atol=1e-6, rtol=0)
    torch.testing.assert_close(raw[:, :, 0], network.linear(expected), atol=1e-6, rtol=0)


def test_both_rnns_make_one_network_from_the_same_weights() -> None:
    def of(cell: str) -> RecurrentNetwork:
        spec = RecurrentSpec.model_validate({"cell": cell, "hidden_size": HIDDEN, "num_layers": 2})
        return new_network(spec, INPUTS, 3, torch.Generator().manual_seed(4))

    by_hand, fused = of("rnncell"), of("rnn")
    assert [value.shape for value in by_hand.parameters()] == [value.shape for value in fused.parameters()]
    for actual, other in zip(by_hand.parameters(), fused.parameters(), strict=True):
        assert torch.equal(actual, other)  # drawn alike
    x = drawn(6, 2, 30, INPUTS)
    torch.testing.assert_close(by_hand(x)[0], fused(x)[0], atol=1e-6, rtol=0)


def test_elman_has_no_bias_and_begins_normal() -> None:
    """One matrix of (input + context) x context with standard deviation 0.4, one of context to output with 0.3."""
    spec = RecurrentSpec(cell="elman", hidden_size=6, head={"kind": "point"})
    small = new_network(spec, 1, 1, torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in small.named_parameters()} == {
        "layers.0.cell.weight": (7, 6),
        "linear.weight": (1, 6),
    }
    wide = spec.model_copy(update={"hidden_size": 120})
    network = new_network(wide, 40, 60, torch.Generator().manual_seed(1))
    for weight, std in ((network.layers[0].cell.weight, 0.4), (network.linear.weight, 0.3)):
        values = weight.detach().flatten()
        assert values.mean().item() == pytest.approx(0.0, abs=4 * std / math.sqrt(len(values)))
        assert values.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * len(values)))
        kurtosis = ((values / std) ** 4).mean().item()
        assert kurtosis == pytest.approx(3.0, abs=4 * math.sqrt(96 / len(values)))  # normal, not uniform (1.8)


@pytest.mark.parametrize("ahead", ["decoder", "direct"])
def test_elman_has_no_bias_anywhere(ahead: str) -> None:
    spec = RecurrentSpec(cell="elman", hidden_size=6, horizon_mode=ahead, num_layers=2)
    names = [name for name, _ in new_network(spec, 3, 2, torch.Generator().manual_seed(0)).named_parameters()]
    assert [name for name in names if "bias" in name] == []


def test_a_detached_state_carries_values_and_no_gradient() -> None:
    state = drawn(0, 1, 2, HIDDEN).requires_grad_() * 2
    assert detached(None) is None
    cut = detached((state, state + 1))
    assert isinstance(cut, tuple)
    assert not cut[0].requires_grad
    assert not cut[1].requires_grad
    assert torch.equal(cut[0], state)
    assert torch.equal(cut[1], state + 1)
    alone = detached(state)
    assert isinstance(alone, torch.Tensor)
    assert torch.equal(alone, state)
    assert not alone.requires_grad
