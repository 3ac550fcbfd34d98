"""Where the tutorials' marks come from: whole and broken networks over several seeds. Run as a module.

For each tutorial and seed: the whole network; the same with its recurrent weights set to zero after training; one that
was trained with them held at zero; one that was trained on shuffled targets; and the seconds of the whole one.
"""

import sys
import time

import numpy as np

from pipeline.training.devices import one_thread
from pipeline.training.jobs import FitResult
from pipeline.tutorials.lesson import Tutorial
from pipeline.tutorials.ohlc import OhlcTerms
from pipeline.tutorials.presets import tutorials
from pipeline.tutorials.teaching import examine, teach_once
from tests.tutorials.broken import forgetful, shuffled, without_recurrence

SEEDS = 5


def measured(tutorial: Tutorial, seed: int) -> dict[str, float]:
    lesson = tutorial.lesson(seed)
    began = time.thread_time()
    whole = teach_once(tutorial, lesson, seed)
    seconds = time.thread_time() - began
    zeroed = examine(tutorial, lesson, forgetful(FitResult(whole.job, whole.network)), seed)
    with without_recurrence():
        held = teach_once(tutorial, lesson, seed)
    return {
        "whole": whole.judgement.found,
        "zeroed": zeroed.judgement.found,
        "held at zero": held.judgement.found,
        "shuffled": teach_once(tutorial, shuffled(lesson, seed), seed).judgement.found,
        "seconds": seconds,
    }


def main(names: list[str]) -> None:
    for tutorial in tutorials("all", OhlcTerms()):
        if names and tutorial.name not in names:
            continue
        with one_thread():
            rows = [measured(tutorial, seed) for seed in range(SEEDS)]
        print(f"{tutorial.name}: {tutorial.measure}, mark {tutorial.mark:g}, floor {tutorial.lesson(0).floor:.4g}")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(
                f"  {name:<13}" + " ".join(f"{value:9.4g}" for value in values) + f"   median {np.median(values):.4g}"
            )
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
