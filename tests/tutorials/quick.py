"""Results of tutorials that are trained for a few steps only: complete, but nothing is learned."""

from dataclasses import replace

from pipeline.tutorials.data import Tutorial
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import TOYS, ohlc
from pipeline.tutorials.run import TutorialResult, run_tutorial

STEPS = {"min_steps": 4, "max_steps": 4, "epochs": 1, "validation_checks": 2}


def quick(tutorial: Tutorial, mark: float = 1e9) -> Tutorial:
    training = tutorial.training.model_copy(update=STEPS)
    return replace(tutorial, training=training, starts=1, mark=mark)


def quick_results() -> tuple[TutorialResult, ...]:
    """A tutorial for each kind of figure; the one of directions misses its mark."""
    return (
        run_tutorial(quick(TOYS["elman"]), 0),
        run_tutorial(quick(TOYS["seq2seq-toy"]), 0),
        run_tutorial(quick(TOYS["concat-cell"], mark=-1.0), 0),
        run_tutorial(quick(ohlc(OhlcSpec(), "one_to_many")), 0),
    )
