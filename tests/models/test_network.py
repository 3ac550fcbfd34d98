"""The network: quantiles that cannot cross, every option honoured, weights from the generator alone, causality."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from torch import nn

from pipeline.models.network import QuantileHead, RecurrentNetwork, new_network
from pipeline.models.specification import LEVELS, RecurrentSpec

INPUTS, HORIZONS = 4, 3
CELLS = [
    RecurrentSpec(cell="lstm", hidden_size=5),
    RecurrentSpec(cell="gru", hidden_size=5),
    RecurrentSpec(cell="rnn", hidden_size=5),
    RecurrentSpec(cell="rnn", hidden_size=5, nonlinearity="relu"),
    RecurrentSpec(cell="lstm", hidden_size=5, num_layers=3, bias=False),
    RecurrentSpec(cell="gru", hidden_size=5, num_layers=2, bias=False),
]
NAMED = [f"{s.cell}-{s.nonlinearity}-{s.num_layers}-{s.bias}" for s in CELLS]


def network_of(spec: RecurrentSpec, seed: int = 0) -> RecurrentNetwork:
    return new_network(spec, INPUTS, HORIZONS, torch.Generator().manual_seed(seed))


def inputs(seed: int = 0, batch: int = 3, sessions: int = 20) -> torch.Tensor:
    return torch.randn(batch, sessions, INPUTS, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(1e-3, 200.0), st.floats(0.0, 100.0), st.integers(1, 6))
def test_quantiles_cannot_cross(seed: int, weight: float, size: float, horizons: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    head = QuantileHead(INPUTS, horizons)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(0.0, weight, generator=generator)
        quantiles = head(size * torch.randn(8, INPUTS, generator=generator))
    assert quantiles.shape == (8, horizons, len(LEVELS))
    assert torch.isfinite(quantiles).all()
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("spec", CELLS, ids=NAMED)
def test_the_first_forecast_is_close_to_a_student_t_of_unit_variance(spec: RecurrentSpec) -> None:
    head = network_of(spec).head
    with torch.no_grad():
        unconditional = head(torch.zeros(spec.hidden_size))
        conditional = head(torch.randn(50, spec.hidden_size, generator=torch.Generator().manual_seed(1)).clamp(-1, 1))
    expected = torch.tensor(student.ppf(LEVELS, 5.0) * math.sqrt(3 / 5), dtype=torch.float32)
    torch.testing.assert_close(unconditional, expected.expand(HORIZONS, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(conditional, expected.expand(50, HORIZONS, -1), atol=0.35, rtol=0)
    assert conditional.std(dim=0).min() > 0  # close to it, but not deaf to what it reads


def slow_cell(layer: nn.Module, spec: RecurrentSpec, x: np.ndarray) -> np.ndarray:
    """One layer over [session, input] as the textbook writes it, in float64 numpy."""
    w = {name: value.detach().numpy().astype(np.float64) for name, value in layer.named_parameters()}
    size = spec.hidden_size
    zero = np.zeros(w["weight_ih_l0"].shape[0])
    b_i, b_h = w.get("bias_ih_l0", zero), w.get("bias_hh_l0", zero)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    h, c, out = np.zeros(size), np.zeros(size), []
    for row in x:
        a, b = w["weight_ih_l0"] @ row + b_i, w["weight_hh_l0"] @ h + b_h
        if spec.cell == "rnn":
            h = np.tanh(a + b) if spec.nonlinearity == "tanh" else np.maximum(a + b, 0)
        elif spec.cell == "gru":
            r, z = sigmoid(a[:size] + b[:size]), sigmoid(a[size : 2 * size] + b[size : 2 * size])
            n = np.tanh(a[2 * size :] + r * b[2 * size :])
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = np.split(a + b, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def slow_head(head: QuantileHead, hidden: np.ndarray) -> np.ndarray:
    """The quantiles of one hidden state, level by level out from the median."""
    raw = head.linear.weight.detach().double().numpy() @ hidden + head.linear.bias.detach().double().numpy()
    raw = raw.reshape(HORIZONS, len(LEVELS))
    result = raw.copy()
    for h in range(HORIZONS):
        for k in (2, 1, 0):
            result[h, k] = result[h, k + 1] - math.log1p(math.exp(raw[h, k]))
        for k in (4, 5, 6):
            result[h, k] = result[h, k - 1] + math.log1p(math.exp(raw[h, k]))
    return result


@pytest.mark.parametrize("spec", CELLS, ids=NAMED)
def test_every_option_of_the_cell_is_honoured(spec: RecurrentSpec) -> None:
    """Number of layers, cell, nonlinearity, hidden size and bias: against a slow twin."""
    network, x = network_of(spec), inputs(batch=1)
    with torch.no_grad():
        found = network(x)[0].numpy()
    assert len(network.layers) == spec.num_layers
    hidden = x[0].double().numpy()
    for layer in network.layers:
        assert any("bias" in name for name, _ in layer.named_parameters()) == spec.bias
        hidden = slow_cell(layer, spec, hidden)
    expected = np.array([slow_head(network.head, state) for state in hidden])
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("spec", CELLS, ids=NAMED)
def test_what_comes_later_changes_no_earlier_bit(spec: RecurrentSpec) -> None:
    network, x = network_of(spec), inputs(batch=4, sessions=40)
    other = x.clone()
    other[:, 25:] = 100 * torch.randn(4, 15, INPUTS, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        before, after = network(x), network(other)
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


def test_one_series_does_not_see_another() -> None:
    network, x = network_of(CELLS[0]), inputs(batch=4)
    other = x.clone()
    other[[0, 1, 3]] = 50.0
    with torch.no_grad():
        assert torch.equal(network(x)[2], network(other)[2])


def test_dropout_is_drawn_from_the_generator_and_off_without_one() -> None:
    spec = RecurrentSpec(hidden_size=40, dropout=0.4)
    network, x = network_of(spec), inputs()
    with torch.no_grad():
        quiet = [network(x) for _ in range(2)]
        noisy = [network(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
        without = network_of(spec.model_copy(update={"dropout": 0.0}))(x, torch.Generator().manual_seed(1))
    assert torch.equal(quiet[0], quiet[1])
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    assert not torch.equal(noisy[0], quiet[0])
    assert torch.equal(without, quiet[0])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    network = network_of(RecurrentSpec(hidden_size=5, dropout=0.3))
    ones = torch.ones(200, 100, 5)
    dropped = network._dropped(ones, torch.Generator().manual_seed(3))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("spec", CELLS, ids=NAMED)
def test_weights_come_from_the_generator_alone(spec: RecurrentSpec) -> None:
    states = []
    for global_seed, seed in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(global_seed)
        states.append(network_of(spec, seed).state_dict())
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name != "head.linear.bias")
    bound = 1 / math.sqrt(spec.hidden_size)
    for name, value in first.items():
        if name.startswith("layers"):
            assert value.abs().max() <= bound
            assert value.abs().max() > bound / 2
