"""The presets have the settings of the original tutorials."""

import pytest
from pydantic import ValidationError

from flows.cli.options import TutorialChoice
from pipeline.forecasters.recurrent.cells import ConcatCell, ElmanCell, UnrolledCell
from pipeline.forecasters.recurrent.gradient_steps import steps_for
from pipeline.forecasters.recurrent.network import RecurrentNetwork
from pipeline.forecasters.recurrent.reading import fit_input_scaler
from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, RecurrentSpec
from pipeline.forecasters.recurrent.supervision import supervision
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import NAMES, SHAPES, TOYS, ohlc, tutorials

SPEC = OhlcSpec()


def network_of(name: str) -> RecurrentNetwork:
    tutorial = next(preset for preset in tutorials("all", SPEC) if preset.name == name)
    frames = tutorial.data(0).frames
    return RecurrentNetwork(tutorial.network, len(frames.feature_names), frames.horizons)


def gradient_steps(name: str) -> int:
    tutorial = TOYS[name]  # type: ignore[index]
    data = tutorial.data(0)
    rows = data.frames.until(data.fold.validation.stop).of(data.trained_tickers)
    supervised = supervision(rows, fit_input_scaler(rows, data.fold.train), data.fold.train, 0.0, "cpu")
    return steps_for(supervised, tutorial.training)


def test_every_name_is_a_command_and_all_means_all() -> None:
    assert [choice.value for choice in TutorialChoice] == ["all", *NAMES]
    assert [preset.name for preset in tutorials("all", SPEC)][:6] == list(NAMES[:6])
    assert len(tutorials("all", SPEC)) == 6 + len(SHAPES)
    assert tutorials("elman", SPEC) == (TOYS["elman"],)


def test_rnncell_is_a_cell_by_hand_of_ten_inputs_twenty_units_and_one_output() -> None:
    network, training = network_of("rnncell"), TOYS["rnncell"].training
    (cell,) = [module for module in network.modules() if isinstance(module, UnrolledCell)]
    assert (cell.cell.input_size, cell.cell.hidden_size, network.linear.out_features) == (10, 20, 1)
    assert (training.optimizer, training.learning_rate, TOYS["rnncell"].network.shape) == ("adam", 1e-3, "many_to_one")


def test_noisy_sine_is_128_units_on_three_steps_for_a_hundred_epochs_of_32() -> None:
    tutorial = TOYS["noisy-sine"]
    training, data = tutorial.training, tutorial.data(0)
    assert (tutorial.network.cell, tutorial.network.hidden_size, training.chunk_sessions) == ("rnn", 128, 3)
    assert (training.learning_rate, training.batch_chunks, training.epochs) == (1e-4, 32, 100)
    assert gradient_steps("noisy-sine") == 100 * 25 - 9  # 797 windows have a next value before step 800
    assert (len(data.frames.sessions), data.fold.test.start, tutorial.seeds) == (1000, 800, 3)


def test_relu_sequence_is_100_relu_units_on_windows_of_fifty_for_500_steps() -> None:
    network, training = TOYS["relu-sequence"].network, TOYS["relu-sequence"].training
    assert (network.nonlinearity, network.hidden_size, network.shape) == ("relu", 100, "many_to_many")
    assert (training.chunk_sessions, training.learning_rate, training.burn_in_sessions) == (50, 1e-3, 0)
    assert gradient_steps("relu-sequence") == 500
    assert TOYS["relu-sequence"].data(0).frames.features.shape == (1, 300, 1)


def test_the_toy_of_sequences_has_one_unit_and_a_thousand_epochs() -> None:
    assert TOYS["seq2seq-toy"].network.hidden_size == 1
    assert gradient_steps("seq2seq-toy") == 1000
    assert TOYS["seq2seq-toy"].data(0).trained_tickers == ("1..5", "6..10")


def test_concat_is_linear_in_input_and_state_and_learns_three_classes() -> None:
    network = network_of("concat-cell")
    (cell,) = [module for module in network.modules() if isinstance(module, ConcatCell)]
    assert cell.to_hidden.in_features == 1 + cell.to_hidden.out_features
    assert (network.linear.in_features, network.linear.out_features) == (cell.to_hidden.in_features, 3)
    assert isinstance(TOYS["concat-cell"].network.head, DirectionHeadSpec)


def test_elman_has_weights_of_7_by_6_and_6_by_1_without_bias() -> None:
    network, training = network_of("elman"), TOYS["elman"].training
    (cell,) = [module for module in network.modules() if isinstance(module, ElmanCell)]
    assert tuple(cell.weight.shape) == (7, 6)
    assert tuple(network.linear.weight.T.shape) == (6, 1)
    assert network.linear.bias is None
    assert (training.optimizer, training.learning_rate, training.truncate_sessions) == ("sgd", 0.1, 1)
    assert (gradient_steps("elman"), training.batch_chunks, training.chunk_sessions) == (300, 1, 21)


def test_the_settings_of_ohlc_are_those_of_the_network() -> None:
    spec = OhlcSpec(hidden_size=7, num_layers=2, nonlinearity="relu", bias=False, dropout=0.3, input_size=2)
    network = spec.network("many_to_one")
    assert isinstance(network, RecurrentSpec)
    settings = (
        network.cell,
        network.hidden_size,
        network.num_layers,
        network.nonlinearity,
        network.bias,
        network.dropout,
    )
    assert settings == ("rnn", 7, 2, "relu", False, 0.3)
    assert spec.columns == ("low", "close")
    with pytest.raises(ValidationError, match="batch_first"):
        OhlcSpec.model_validate({"batch_first": False})


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_an_option_of_the_specification(shape: str) -> None:
    tutorial = ohlc(SPEC, shape)  # type: ignore[arg-type]
    assert tutorial.network.shape == shape
    assert tutorial.network.horizon_mode == ("decoder" if shape == "one_to_many" else "direct")
    assert tutorial.data(0).frames.horizons == (5 if shape == "one_to_many" else 1)
