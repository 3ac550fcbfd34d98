"""The network: what stands around its cells, its shapes, the decoder, the embedding, and weights from the generator."""

import math

import pytest
import torch
from torch import Tensor

from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent.cells import output_size
from pipeline.forecasters.recurrent.network import RecurrentNetwork, dropped, new_network, split_horizons
from pipeline.forecasters.recurrent.specification import RecurrentSpec

INPUTS, HORIZONS = 4, 3
CELLS = ("lstm", "gru", "rnn", "rnncell", "concat", "elman")
every_cell = pytest.mark.parametrize("cell", CELLS)


def spec_of(**values: object) -> RecurrentSpec:
    return RecurrentSpec.model_validate({"cell": "lstm", "hidden_size": 5, "head": {"kind": "quantiles"}, **values})


def network_of(spec: RecurrentSpec, seed: int = 0, tickers: int = 0, known: int = 0) -> RecurrentNetwork:
    """A network whose weights are large enough that everything it reads matters."""
    network = new_network(spec, INPUTS, HORIZONS, torch.Generator().manual_seed(seed), tickers, known)
    with torch.no_grad():
        network.linear.weight.mul_(10.0)
    return network


def inputs(seed: int = 0, batch: int = 3, sessions: int = 20, size: int = INPUTS) -> Tensor:
    return torch.randn(batch, sessions, size, generator=torch.Generator().manual_seed(seed))


def raw_of(network: RecurrentNetwork, x: Tensor, ticker: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return network(x, ticker)[0]


# --- Layers ---


def slow_layers(network: RecurrentNetwork, x: Tensor) -> Tensor:
    """Normalise, run the cell, add what was read: one layer after the other."""
    hidden = x
    for layer in network.layers:
        read = hidden
        if network.spec.layer_norm:
            mean = hidden.mean(dim=-1, keepdim=True)
            variance = ((hidden - mean) ** 2).mean(dim=-1, keepdim=True)
            read = (hidden - mean) / torch.sqrt(variance + 1e-5) * layer.norm.weight + layer.norm.bias
        out = layer.cell(read, None)[0]
        hidden = out + hidden if network.spec.residual and out.shape == hidden.shape else out
    return hidden


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@every_cell
def test_layers_with_norms_and_ways_past_them_against_a_slow_twin(cell: str, residual: bool, layer_norm: bool) -> None:
    network = network_of(spec_of(cell=cell, num_layers=3, residual=residual, layer_norm=layer_norm))
    assert len(network.layers) == 3
    with torch.no_grad():
        for layer in network.layers:
            for number, parameter in enumerate(layer.norm.parameters()):
                parameter.add_(0.3 * inputs(number)[0, 0, 0])
        x = inputs()
        hidden = slow_layers(network, x)
        expected = hidden @ network.linear.weight.T + (network.linear.bias if cell != "elman" else 0.0)
    found = raw_of(network, x)
    assert found.shape == (3, 20, HORIZONS, len(LEVELS))
    for h in range(HORIZONS):
        torch.testing.assert_close(found[:, :, h], expected[..., 7 * h : 7 * h + 7], atol=2e-5, rtol=1e-5)


def test_a_way_past_a_layer_needs_equal_sizes() -> None:
    same = new_network(spec_of(hidden_size=INPUTS, residual=True), INPUTS, 1, torch.Generator().manual_seed(0))
    other = network_of(spec_of(residual=True, num_layers=2))
    concat = network_of(spec_of(cell="concat", residual=True, num_layers=2))
    assert [layer.passes for layer in same.layers] == [True]
    assert [layer.passes for layer in other.layers] == [False, True]
    assert [layer.passes for layer in concat.layers] == [False, False]  # it grows with every layer


@pytest.mark.parametrize("layers", [1, 2])
@every_cell
def test_reading_in_two_parts_with_the_states_is_reading_the_whole(cell: str, layers: int) -> None:
    network = network_of(spec_of(cell=cell, num_layers=layers, layer_norm=True, embedding_size=2), tickers=5)
    x, ticker = inputs(sessions=30), torch.tensor([2, 0, 5])
    with torch.no_grad():
        whole, last = network(x, ticker)
        first, states = network(x[:, :13], ticker)
        second, after = network(x[:, 13:], ticker, states)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, atol=1e-5, rtol=0)
    assert len(states) == layers
    for actual, other in zip(after, last, strict=True):
        torch.testing.assert_close(actual, other, atol=1e-6, rtol=0)


@every_cell
def test_what_comes_later_changes_no_earlier_bit(cell: str) -> None:
    network, x = network_of(spec_of(cell=cell, num_layers=2, layer_norm=True, residual=True)), inputs(sessions=40)
    other = x.clone()
    other[:, 25:] = 100 * inputs(9, 3, 15)
    before, after = raw_of(network, x), raw_of(network, other)
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


def test_one_series_does_not_see_another() -> None:
    network, x = network_of(spec_of(layer_norm=True)), inputs(batch=4)
    other = x.clone()
    other[[0, 1, 3]] = 50.0
    assert torch.equal(raw_of(network, x)[2], raw_of(network, other)[2])


# --- Shapes ---


@pytest.mark.parametrize(
    "values",
    [
        {"shape": "one_to_one"},
        {"shape": "one_to_many", "horizon_mode": "decoder"},
        {"shape": "one_to_one", "num_layers": 2},
    ],
    ids=str,
)
@every_cell
def test_one_to_one_and_one_to_many_read_the_origins_session_alone(cell: str, values: dict[str, object]) -> None:
    network = network_of(spec_of(cell=cell, **values))
    x = inputs()
    found = raw_of(network, x)
    assert found.shape == (3, 20, HORIZONS, len(LEVELS))
    alone = torch.cat([raw_of(network, x[:, t : t + 1]) for t in range(20)], dim=1)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
    other = x.clone()
    other[:, 12] += 1.0
    changed = (raw_of(network, other) != found).flatten(2).any(dim=2)
    assert changed.nonzero().tolist() == [[0, 12], [1, 12], [2, 12]]
    with torch.no_grad():
        carried = network(x, None, network(x)[1])[0]
    assert torch.equal(carried, found)  # there is no state to carry


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one"])
@every_cell
def test_many_to_many_and_many_to_one_read_what_came_before(cell: str, shape: str) -> None:
    network = network_of(spec_of(cell=cell, shape=shape))
    x = inputs()
    other = x.clone()
    other[:, 12] += 1.0
    changed = (raw_of(network, other) != raw_of(network, x)).flatten(2).any(dim=2).all(dim=0)
    assert changed[:12].sum() == 0
    assert changed[12:16].all()


def test_a_recursive_network_answers_one_session_ahead() -> None:
    network = network_of(spec_of(horizon_mode="recursive"))
    assert network.horizons == 1
    assert raw_of(network, inputs()).shape == (3, 20, 1, len(LEVELS))


@pytest.mark.parametrize(("head", "size"), [("quantiles", 7), ("point", 1), ("student_t", 3), ("direction", 3)])
@pytest.mark.parametrize("ahead", ["direct", "decoder"])
def test_the_head_switches_the_size_of_the_answer_alone(ahead: str, head: str, size: int) -> None:
    network = network_of(spec_of(horizon_mode=ahead, head={"kind": head}))
    assert raw_of(network, inputs()).shape == (3, 20, HORIZONS, size)
    plain = network_of(spec_of(horizon_mode=ahead))
    for (name, parameter), (_, other) in zip(network.named_parameters(), plain.named_parameters(), strict=True):
        assert name.startswith("linear") or torch.equal(parameter, other), name


# --- The decoder ---


def slow_decoder(network: RecurrentNetwork, hidden: Tensor, ahead: Tensor) -> Tensor:
    """From each origin [hidden] and what is known ahead [horizon, known], one step of the cell after the other."""
    decoder = network.decoder
    assert decoder is not None
    begin = torch.tanh(hidden @ decoder.begin.weight.T + (0.0 if decoder.begin.bias is None else decoder.begin.bias))
    state = begin[None, None]  # [1, 1, hidden]
    if network.spec.cell == "lstm":
        state = (state, torch.zeros_like(state))
    answers = []
    for known in ahead:
        out, state = decoder.cell(known[None, None], state)
        answers.append(network.linear(out[0, 0]))
    return torch.stack(answers)


@pytest.mark.parametrize("known", [0, 2])
@every_cell
def test_the_decoder_takes_a_step_per_horizon(cell: str, known: int) -> None:
    spec = spec_of(cell=cell, horizon_mode="decoder", num_layers=2)
    size = INPUTS + HORIZONS * known
    network = new_network(spec, size, HORIZONS, torch.Generator().manual_seed(3), known=known)
    x = inputs(batch=2, sessions=6, size=size)
    found = raw_of(network, x)
    with torch.no_grad():
        hidden = slow_layers(network, x)
        for i in range(2):
            for t in range(6):
                known_future = [
                    [x[i, t, INPUTS + known * h + k] for k in range(known)] or [0.0] for h in range(HORIZONS)
                ]
                expected = slow_decoder(network, hidden[i, t], torch.tensor(known_future))
                torch.testing.assert_close(found[i, t], expected, atol=1e-5, rtol=0)


@every_cell
def test_a_horizon_of_the_decoder_reads_what_is_known_up_to_it(cell: str) -> None:
    network = new_network(
        spec_of(cell=cell, horizon_mode="decoder"), INPUTS, HORIZONS, torch.Generator().manual_seed(3), 0, 2
    )
    decoder = network.decoder
    assert decoder is not None
    hidden, ahead = inputs(1, 2, 6, output_size(network.spec, INPUTS)), inputs(2, 2, 18, 2).reshape(2, 6, 3, 2)
    with torch.no_grad():
        before = decoder(hidden, ahead)
        for horizon in range(HORIZONS):
            other = ahead.clone()
            other[:, :, horizon] += 1.0
            changed = (decoder(hidden, other) != before).flatten(3).any(dim=3).flatten(0, 1).all(dim=0)
            assert changed.tolist() == [h >= horizon for h in range(HORIZONS)]
        moved = decoder(hidden + 1.0, ahead) != before
        assert moved.flatten(3).any(dim=3).all() or cell == "concat"


def test_the_horizons_of_a_decoder_differ_though_nothing_is_known_ahead() -> None:
    found = raw_of(network_of(spec_of(horizon_mode="decoder")), inputs())
    assert not torch.allclose(found[:, :, 0], found[:, :, 1], atol=1e-4)
    assert not torch.allclose(found[:, :, 1], found[:, :, 2], atol=1e-4)


# --- The embedding ---


@pytest.mark.parametrize("shape", ["many_to_many", "one_to_one"])
def test_every_ticker_reads_its_own_row(shape: str) -> None:
    network = network_of(spec_of(embedding_size=3, shape=shape), tickers=4)
    x = inputs(batch=4)
    ticker = torch.tensor([4, 1, 0, 2])
    found = raw_of(network, x, ticker)
    for i in range(4):
        torch.testing.assert_close(raw_of(network, x[i : i + 1], ticker[i : i + 1])[0], found[i], atol=1e-5, rtol=0)
    with torch.no_grad():
        network.embedding.weight[1] += 1.0
    moved = (raw_of(network, x, ticker) != found).flatten(2).any(dim=2)
    assert moved.any(dim=1).tolist() == [False, True, False, False]
    assert moved[1].all()


def test_an_unknown_ticker_reads_row_zero() -> None:
    network, x = network_of(spec_of(embedding_size=3), tickers=4), inputs()
    assert network.embedding is not None
    assert network.embedding.weight.shape == (5, 3)
    assert torch.equal(raw_of(network, x), raw_of(network, x, torch.zeros(3, dtype=torch.long)))
    assert not torch.equal(raw_of(network, x), raw_of(network, x, torch.ones(3, dtype=torch.long)))


def test_the_embedding_is_off_by_default() -> None:
    network, x = network_of(spec_of(), tickers=4), inputs()
    assert network.embedding is None
    assert torch.equal(raw_of(network, x), raw_of(network, x, torch.tensor([1, 2, 3])))


# --- Dropout and weights ---


@pytest.mark.parametrize("shape", ["many_to_many", "one_to_one"])
def test_dropout_is_drawn_from_the_generator_and_off_without_one(shape: str) -> None:
    spec = spec_of(hidden_size=40, dropout=0.4, shape=shape)
    network, x = network_of(spec), inputs()
    with torch.no_grad():
        quiet = [network(x)[0] for _ in range(2)]
        noisy = []
        for global_seed, seed in ((0, 1), (5, 1), (0, 2)):
            torch.manual_seed(global_seed)
            noisy.append(network(x, generator=torch.Generator().manual_seed(seed))[0])
        without = network_of(spec.model_copy(update={"dropout": 0.0}))(x, generator=torch.Generator().manual_seed(1))
    assert torch.equal(quiet[0], quiet[1])
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    assert not torch.equal(noisy[0], quiet[0])
    assert torch.equal(without[0], quiet[0])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    ones = torch.ones(200, 100, 5)
    found = dropped(ones, 0.3, torch.Generator().manual_seed(3))
    assert (found == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert found.mean().item() == pytest.approx(1.0, abs=0.01)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert dropped(ones, 0.3, None) is ones


@pytest.mark.parametrize("ahead", ["direct", "decoder"])
@every_cell
def test_weights_come_from_the_generator_alone(cell: str, ahead: str) -> None:
    spec = spec_of(cell=cell, horizon_mode=ahead, num_layers=2, embedding_size=2)
    states = []
    for global_seed, seed in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(global_seed)
        states.append(new_network(spec, INPUTS, HORIZONS, torch.Generator().manual_seed(seed), 3, 0).state_dict())
    first, same, other = states
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if name != "linear.bias")
    assert all(torch.isfinite(value).all() for value in first.values())


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "rnncell"])
def test_weights_begin_uniform_within_one_over_the_root_of_the_size(cell: str) -> None:
    network = new_network(spec_of(cell=cell, num_layers=2), INPUTS, HORIZONS, torch.Generator().manual_seed(1))
    bound = 1 / math.sqrt(5)
    for layer in network.layers:
        for value in layer.cell.parameters():
            assert value.abs().max() <= bound
            assert value.abs().max() > bound / 2
    norm = new_network(spec_of(layer_norm=True), INPUTS, HORIZONS, torch.Generator().manual_seed(1)).layers[0].norm
    assert torch.equal(norm.weight, torch.ones(INPUTS))
    assert torch.equal(norm.bias, torch.zeros(INPUTS))


@pytest.mark.parametrize("head", ["quantiles", "point", "student_t", "mixture", "direction"])
@pytest.mark.parametrize("ahead", ["direct", "decoder"])
def test_training_begins_near_the_start_of_the_head(ahead: str, head: str) -> None:
    spec = spec_of(horizon_mode=ahead, head={"kind": head})
    network = new_network(spec, INPUTS, HORIZONS, torch.Generator().manual_seed(0))
    raw = raw_of(network, inputs(batch=20))
    torch.testing.assert_close(raw, network.head.start.expand_as(raw), atol=0.4, rtol=0)
    assert raw.flatten(0, 1).std(dim=0).min() > 0  # close to it, but not deaf to what it reads


def test_split_puts_horizons_first() -> None:
    assert split_horizons(torch.arange(6), 3).tolist() == [[0, 1], [2, 3], [4, 5]]
