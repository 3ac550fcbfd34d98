"""Verdicts of tutorials that are trained for a moment only: everything is there, nothing is learned."""

from dataclasses import replace

from pipeline.tutorials.lesson import Tutorial
from pipeline.tutorials.ohlc import OhlcTerms
from pipeline.tutorials.presets import TOYS, ohlc
from pipeline.tutorials.teaching import Verdict, teach

STEPS = {"min_steps": 4, "max_steps": 4, "epochs": 1, "validation_checks": 2}


def quick(tutorial: Tutorial, mark: float = 1e9) -> Tutorial:
    training = tutorial.training.model_copy(update=STEPS)
    return replace(tutorial, training=training, starts=1, mark=mark)


def quick_verdicts() -> tuple[Verdict, ...]:
    """A tutorial of each kind of figure; the one of directions misses its mark."""
    return (
        teach(quick(TOYS["elman"]), 0),
        teach(quick(TOYS["seq2seq-toy"]), 0),
        teach(quick(TOYS["concat-cell"], mark=-1.0), 0),
        teach(quick(ohlc(OhlcTerms(), "one_to_many")), 0),
    )
