"""Where the tutorials' marks come from: whole and broken networks over several seeds. Run as a module.

For each tutorial and seed: the whole network; the same with its recurrent weights set to zero after training; one that
was trained with them held at zero; one that was trained on shuffled targets; and the seconds of the whole one, on one
core. The seconds of as many seeds as a tutorial takes are compared with the bound on its run; the exit status is the
number of tutorials above it.
"""

import sys
import time

import numpy as np

from pipeline.training.devices import one_thread
from pipeline.training.jobs import FitResult
from pipeline.tutorials.data import Tutorial
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import tutorials
from pipeline.tutorials.run import evaluate_fit, fit_tutorial
from tests.tutorials.broken import forgetful, shuffled, without_recurrence

SEEDS = 5
BOUND_SECONDS = 20.0  # of one core, for a tutorial as it is run: all its seeds


def measured(tutorial: Tutorial, seed: int) -> dict[str, float]:
    data = tutorial.data(seed)
    began = time.thread_time()
    whole = fit_tutorial(tutorial, data, seed)
    seconds = time.thread_time() - began
    zeroed = evaluate_fit(tutorial, data, forgetful(FitResult(whole.job, whole.network)), seed)
    with without_recurrence():
        held = fit_tutorial(tutorial, data, seed)
    return {
        "whole": whole.score.found,
        "zeroed": zeroed.score.found,
        "held at zero": held.score.found,
        "shuffled": fit_tutorial(tutorial, shuffled(data, seed), seed).score.found,
        "seconds": seconds,
    }


def in_time(tutorial: Tutorial, seconds: list[float]) -> bool:
    """Print the seconds of a run of the tutorial and their bound, and return whether it was met."""
    taken = float(np.mean(seconds)) * tutorial.seeds
    word = "met" if taken <= BOUND_SECONDS else "MISSED"
    print(f"  {'a run':<13} {taken:9.4g} s, bound {BOUND_SECONDS:g} s: {word}")
    return taken <= BOUND_SECONDS


def main(names: list[str]) -> int:
    """Measure the tutorials of these names, or all, and return the number of those that take too long."""
    met = []
    for tutorial in tutorials("all", OhlcSpec()):
        if names and tutorial.name not in names:
            continue
        with one_thread():
            rows = [measured(tutorial, seed) for seed in range(SEEDS)]
        print(f"{tutorial.name}: {tutorial.measure}, mark {tutorial.mark:g}, floor {tutorial.data(0).floor:.4g}")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(
                f"  {name:<13}" + " ".join(f"{value:9.4g}" for value in values) + f"   median {np.median(values):.4g}"
            )
        met.append(in_time(tutorial, [row["seconds"] for row in rows]))
        sys.stdout.flush()
    return met.count(False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
