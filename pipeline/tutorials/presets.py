"""The tutorials by name, with all their settings and marks."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, get_args

from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, PointHeadSpec, RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.tutorials import toy_series
from pipeline.tutorials.data import Tutorial
from pipeline.tutorials.ohlc import OHLC_WINDOW, OhlcSpec, SequenceShape, ohlc_data

POINT = PointHeadSpec(loss="mse")


def training_for(steps: int, **values: object) -> TrainingSpec:
    """Return a training of this many steps: no averaged weights, no early stopping, a constant learning rate."""
    defaults: dict[str, object] = {
        "min_steps": steps,
        "max_steps": steps,
        "optimizer": "adam",
        "schedule": "constant",
        "weight_decay": 0.0,
        "burn_in_sessions": 0,
        "gradient_clip": 1e6,
        "averaging": 0.0,
        "validation_checks": 50,
        "patience_checks": 100,
    }
    return TrainingSpec.model_validate({**defaults, **values})


def window_training(sessions: int) -> dict[str, object]:
    """Return settings that train on windows of this many steps with one output at the end; epochs count windows."""
    return {"chunk_sessions": sessions, "burn_in_sessions": sessions - 1, "lookback_sessions": sessions}


RNNCELL = Tutorial(
    name="rnncell",
    description="nn.RNNCell unrolled by hand: ten inputs, twenty units, the last hidden state into one output",
    network=RecurrentSpec(cell="rnncell", hidden_size=20, shape="many_to_one", dropout=0.0, head=POINT),
    training=training_for(1000, learning_rate=1e-3, batch_chunks=32, **window_training(toy_series.LEVEL_WINDOW)),
    data=toy_series.level_data,
    figure_steps=80,
    measure="mse",
    mark=0.1,
)

NOISY_SINE = Tutorial(
    name="noisy-sine",
    description="a sine in uniform noise: three steps into 128 units, the last step into a linear layer",
    network=RecurrentSpec(cell="rnn", hidden_size=128, shape="many_to_one", dropout=0.0, head=POINT),
    training=training_for(
        1,
        max_steps=10_000,
        epochs=100,
        learning_rate=1e-4,
        batch_chunks=32,
        validation_checks=100,
        **window_training(toy_series.SINE_WINDOW),
    ),
    data=toy_series.noisy_sine_data,
    measure="mse",
    mark=0.46,
    seeds=3,
)

RELU_SEQUENCE = Tutorial(
    name="relu-sequence",
    description="a hundred ReLU units with an output at every step, on windows of fifty steps of a sine",
    network=RecurrentSpec(cell="rnn", nonlinearity="relu", hidden_size=100, dropout=0.0, head=POINT),
    training=training_for(500, learning_rate=1e-3, batch_chunks=16, chunk_sessions=50, lookback_sessions=50),
    data=toy_series.pure_sine_data,
    measure="mse",
    mark=0.001,
)

SEQ2SEQ_TOY = Tutorial(
    name="seq2seq-toy",
    description="five numbers read by one recurrent unit, the next five returned by one",
    network=RecurrentSpec(
        cell="rnn", hidden_size=1, shape="many_to_one", horizon_mode="decoder", dropout=0.0, head=POINT
    ),
    training=training_for(
        1, max_steps=1000, epochs=1000, learning_rate=0.02, batch_chunks=2, **window_training(toy_series.LENGTH)
    ),
    data=toy_series.number_data,
    measure="rmse",
    mark=1.0,
    starts=5,  # a single unit with bad initial weights never recovers
    remark=toy_series.tanh_range_remark(),
)

CONCAT_CELL = Tutorial(
    name="concat-cell",
    description="state and output both linear in input and state side by side; LogSoftmax of down, flat, up",
    network=RecurrentSpec(cell="concat", hidden_size=8, dropout=0.0, head=DirectionHeadSpec(flat=toy_series.FLAT)),
    training=training_for(
        600,
        learning_rate=5e-3,
        batch_chunks=16,
        chunk_sessions=60,
        burn_in_sessions=20,
        lookback_sessions=60,
        validation_checks=30,
    ),
    data=toy_series.direction_data,
    figure_steps=150,
    measure="excess nll",
    mark=0.015,
)

ELMAN = Tutorial(
    name="elman",
    description="weights written by hand, 7 x 6 and 6 x 1, one step of backpropagation at a time",
    network=RecurrentSpec(cell="elman", hidden_size=6, bias=False, dropout=0.0, head=POINT),
    training=training_for(
        300,
        optimizer="sgd",
        learning_rate=0.1,
        batch_chunks=1,
        chunk_sessions=toy_series.POINTS,
        truncate_sessions=1,
        lookback_sessions=toy_series.POINTS,
    ),
    data=toy_series.elman_data,
    measure="mse",
    mark=0.04,
)

SHAPES: tuple[SequenceShape, ...] = get_args(SequenceShape)


MARKS: Mapping[SequenceShape, float] = {"many_to_one": 2.2, "one_to_one": 2.2, "one_to_many": 2.2, "many_to_many": 1.45}


def ohlc(spec: OhlcSpec, shape: SequenceShape) -> Tutorial:
    """Return the tutorial on Open, High, Low and Close in one of its four shapes."""
    words = shape.replace("_", " ")
    return Tutorial(
        name="ohlc" if shape == SHAPES[0] else f"ohlc {words}",
        description=f"the next closing prices of {spec.ticker} from Open, High, Low and Close, {words}",
        network=spec.network(shape),
        training=training_for(1000, learning_rate=2e-3, batch_chunks=32, **_ohlc_chunks(shape)),
        data=partial(ohlc_data, spec, shape),
        figure_steps=250,
        measure="relative rmse",
        mark=MARKS[shape],
        remark="Price levels are forecast as in the tutorial. At 1.00 the forecast is as good as the last close alone.",
    )


def _ohlc_chunks(shape: SequenceShape) -> dict[str, object]:
    if shape == "many_to_one":
        return window_training(OHLC_WINDOW)
    return {"chunk_sessions": 3 * OHLC_WINDOW, "burn_in_sessions": OHLC_WINDOW, "lookback_sessions": 3 * OHLC_WINDOW}


TutorialName = Literal["rnncell", "noisy-sine", "relu-sequence", "seq2seq-toy", "concat-cell", "elman", "ohlc"]

TOYS: Mapping[TutorialName, Tutorial] = {
    "rnncell": RNNCELL,
    "noisy-sine": NOISY_SINE,
    "relu-sequence": RELU_SEQUENCE,
    "seq2seq-toy": SEQ2SEQ_TOY,
    "concat-cell": CONCAT_CELL,
    "elman": ELMAN,
}
NAMES: tuple[TutorialName, ...] = get_args(TutorialName)


def tutorials(name: TutorialName | Literal["all"], spec: OhlcSpec) -> tuple[Tutorial, ...]:
    """Return the tutorials of a name, or all of them; ohlc is one for each of its shapes."""
    names = NAMES if name == "all" else (name,)
    return tuple(tutorial for each in names for tutorial in _of_name(each, spec))


def _of_name(name: TutorialName, spec: OhlcSpec) -> tuple[Tutorial, ...]:
    return tuple(ohlc(spec, shape) for shape in SHAPES) if name == "ohlc" else (TOYS[name],)
