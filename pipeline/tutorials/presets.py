"""The tutorials by name: every number of theirs stands here."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, get_args

from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, PointHeadSpec, RecurrentSpec, TrainingSpec
from pipeline.tutorials import toys
from pipeline.tutorials.lesson import Tutorial
from pipeline.tutorials.ohlc import WINDOW, OhlcTerms, Shape, levels_of

POINT = PointHeadSpec(loss="mse")


def trained(steps: int, **values: object) -> TrainingSpec:
    """Return a training of this many steps: no averaged weights, no stop before the end, a constant learning rate."""
    plain: dict[str, object] = {
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
    return TrainingSpec.model_validate({**plain, **values})


def windows(sessions: int) -> dict[str, object]:
    """Return what trains on windows of this many steps with one answer at the end of each; epochs then count them."""
    return {"chunk_sessions": sessions, "burn_in_sessions": sessions - 1, "lookback_sessions": sessions}


RNNCELL = Tutorial(
    name="rnncell",
    teaches="nn.RNNCell unrolled by hand: ten inputs, twenty units, the last hidden state into one output",
    network=RecurrentSpec(cell="rnncell", hidden_size=20, shape="many_to_one", dropout=0.0, head=POINT),
    training=trained(1000, learning_rate=1e-3, batch_chunks=32, **windows(toys.LEVEL_WINDOW)),
    lesson=toys.levels,
    shown_steps=80,
    measure="mse",
    mark=0.1,
)

NOISY_SINE = Tutorial(
    name="noisy-sine",
    teaches="a sine in uniform noise: three steps into 128 units, the last step into a linear layer",
    network=RecurrentSpec(cell="rnn", hidden_size=128, shape="many_to_one", dropout=0.0, head=POINT),
    training=trained(
        1,
        max_steps=10_000,
        epochs=100,
        learning_rate=1e-4,
        batch_chunks=32,
        validation_checks=100,
        **windows(toys.SINE_WINDOW),
    ),
    lesson=toys.sine_in_noise,
    measure="mse",
    mark=0.46,
    seeds=3,
)

RELU_SEQUENCE = Tutorial(
    name="relu-sequence",
    teaches="a hundred ReLU units with an output at every step, on windows of fifty steps of a sine",
    network=RecurrentSpec(cell="rnn", nonlinearity="relu", hidden_size=100, dropout=0.0, head=POINT),
    training=trained(500, learning_rate=1e-3, batch_chunks=16, chunk_sessions=50, lookback_sessions=50),
    lesson=toys.pure_sine,
    measure="mse",
    mark=0.001,
)

SEQ2SEQ_TOY = Tutorial(
    name="seq2seq-toy",
    teaches="five numbers read by one recurrent unit, the next five returned by one",
    network=RecurrentSpec(
        cell="rnn", hidden_size=1, shape="many_to_one", horizon_mode="decoder", dropout=0.0, head=POINT
    ),
    training=trained(1, max_steps=1000, epochs=1000, learning_rate=0.02, batch_chunks=2, **windows(toys.LENGTH)),
    lesson=toys.numbers,
    measure="rmse",
    mark=1.0,
    starts=5,  # a single unit that begins at the wrong place never leaves it
    remark=toys.out_of_reach(),
)

CONCAT_CELL = Tutorial(
    name="concat-cell",
    teaches="state and output both linear in input and state side by side; LogSoftmax of down, flat, up",
    network=RecurrentSpec(cell="concat", hidden_size=8, dropout=0.0, head=DirectionHeadSpec(flat=toys.FLAT)),
    training=trained(
        600,
        learning_rate=5e-3,
        batch_chunks=16,
        chunk_sessions=60,
        burn_in_sessions=20,
        lookback_sessions=60,
        validation_checks=30,
    ),
    lesson=toys.directions,
    shown_steps=150,
    measure="nll above floor",
    mark=0.015,
)

ELMAN = Tutorial(
    name="elman",
    teaches="weights written by hand, 7 x 6 and 6 x 1, one step of backpropagation at a time",
    network=RecurrentSpec(cell="elman", hidden_size=6, bias=False, dropout=0.0, head=POINT),
    training=trained(
        300,
        optimizer="sgd",
        learning_rate=0.1,
        batch_chunks=1,
        chunk_sessions=toys.POINTS,
        truncate_sessions=1,
        lookback_sessions=toys.POINTS,
    ),
    lesson=toys.elman_sine,
    measure="mse",
    mark=0.04,
)

SHAPES: tuple[Shape, ...] = get_args(Shape)


MARKS: Mapping[Shape, float] = {"many_to_one": 2.2, "one_to_one": 2.2, "one_to_many": 2.2, "many_to_many": 1.45}


def ohlc(terms: OhlcTerms, shape: Shape) -> Tutorial:
    """Return the tutorial on Open, High, Low and Close in one of its four shapes."""
    words = shape.replace("_", " ")
    return Tutorial(
        name="ohlc" if shape == SHAPES[0] else f"ohlc {words}",
        teaches=f"the closing price of {terms.ticker} to come from Open, High, Low and Close, {words}",
        network=terms.network(shape),
        training=trained(1000, learning_rate=2e-3, batch_chunks=32, **_reading(shape)),
        lesson=partial(levels_of, terms, shape),
        shown_steps=250,
        measure="rmse / last close",
        mark=MARKS[shape],
        remark="Price levels are learned as in the tutorial. At 1.00 the forecast is as good as the last close alone.",
    )


def _reading(shape: Shape) -> dict[str, object]:
    if shape == "many_to_one":
        return windows(WINDOW)
    return {"chunk_sessions": 3 * WINDOW, "burn_in_sessions": WINDOW, "lookback_sessions": 3 * WINDOW}


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


def tutorials(name: TutorialName | Literal["all"], terms: OhlcTerms) -> tuple[Tutorial, ...]:
    """Return the tutorials of a name, or all of them; ohlc is one for each of its shapes."""
    wanted = NAMES if name == "all" else (name,)
    return tuple(one for each in wanted for one in _of_name(each, terms))


def _of_name(name: TutorialName, terms: OhlcTerms) -> tuple[Tutorial, ...]:
    return tuple(ohlc(terms, shape) for shape in SHAPES) if name == "ohlc" else (TOYS[name],)
