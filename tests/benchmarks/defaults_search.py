"""Searches for the defaults of the network on the validation parts of the panel suite, in stages.

    python -m tests.benchmarks.defaults_search [run STAGE ... | show] [--folder FOLDER]

Every candidate is fitted on every panel with some seeds: trained on the panel's training part, stopped on the first 125
sessions of its validation part, and judged on the others. No test part is read. `run` fits what the results lack and
adds a row per candidate and panel to defaults_search.json next to this file: it may be interrupted and goes on. It ends
once BUDGET_HOURS of CPU time were spent in all. `show` prints the results of every stage. The folder keeps what the
other forecasters say of every panel, so that they are not fitted again.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.experiment import Experiment
from pipeline.files import write_whole
from pipeline.forecasters.forecaster import DEFAULT_FEATURES
from pipeline.forecasting.forecasts import NETWORK
from pipeline.market.bars import Bars
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.devices import one_thread
from pipeline.training.fits import fit, fit_each, quantiles
from tests.benchmarks.combination_choice import HORIZONS, Issued, as_it_is, issued_of
from tests.benchmarks.cuts import Fits
from tests.benchmarks.main_job import PANEL, large_bars
from tests.benchmarks.panels import PANELS, job_of

RESULTS = Path(__file__).with_suffix(".json")
BUDGET_HOURS = 3.0
SHRINKAGES = (0.1, 0.2, 0.3, 0.5)
"""Weights of climatology in a mean with the network that are tried on every candidate."""
TEN = tuple(name for name in DEFAULT_FEATURES if name not in ("volatility_60", "log_volatility"))
FEATURES = {"ten": TEN, "twelve": DEFAULT_FEATURES}
WORKERS = 2


@dataclass(frozen=True)
class Candidate:
    """What is changed of the defaults that the search began with, and with how many seeds it is tried."""

    name: str
    network: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    features: str = "twelve"
    seeds: int = 2


OLD_NETWORK: Mapping[str, Any] = {
    "cell": "lstm",
    "hidden_size": 48,
    "num_layers": 1,
    "dropout": 0.1,
    "head": {"kind": "quantiles"},
}
OLD_TRAINING: Mapping[str, Any] = {
    "epochs": 4,
    "min_steps": 100,
    "max_steps": 300,
    "learning_rate": 4e-3,
    "averaging": 0.9,
    "validation_checks": 12,
    "patience_checks": 4,
}
"""The defaults that the search began with, as far as it changes them."""
HEADS = ("quantiles", "student_t", "mixture")
SHAPES = (
    *product(("lstm",), ((1, 16), (1, 32), (1, 48), (1, 64), (2, 16), (2, 32))),
    *product(("gru",), ((1, 16), (1, 32), (1, 48), (2, 16))),
)
"""Cells, layers and sizes. A GRU of 2 x 32 takes two to four times the seconds of the former default, which is more
than a default may take."""


def shape(cell: str, layers: int, size: int, head: str) -> Candidate:
    changes = {"cell": cell, "num_layers": layers, "hidden_size": size, "head": {"kind": head}}
    return Candidate(f"{cell} {layers} x {size}, {head}", changes)


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "50 steps at least, 200 at most": {"training": {"epochs": 3, "min_steps": 50, "max_steps": 200}},
    "30 steps at least, 200 at most": {"training": {"epochs": 3, "min_steps": 30, "max_steps": 200}},
    "50 steps at least, never stopped": {"training": {"epochs": 3, "min_steps": 50, "patience_checks": 12}},
    "rate 2e-3": {"training": {"learning_rate": 2e-3}},
    "rate 8e-3": {"training": {"learning_rate": 8e-3}},
    "averaging 0.97": {"training": {"averaging": 0.97}},
    "64 chunks, 50 steps at least": {"training": {"batch_chunks": 64, "min_steps": 50, "max_steps": 200}},
    "weight decay 0.1": {"training": {"weight_decay": 0.1}},
    "weighted by volatility": {"training": {"volatility_power": 1.0}},
    "dropout 0.3": {"network": {"dropout": 0.3}},
    "layer norm": {"network": {"layer_norm": True}},
    "ten features": {"features": "ten"},
}
"""What is changed of how a network is trained, dropout, and what it reads."""


def varied(base: Candidate, name: str) -> Candidate:
    changes = VARIANTS[name]
    network = {**base.network, **changes.get("network", {})}
    return Candidate(f"{base.name}, {name}", network, changes.get("training", {}), changes.get("features", "twelve"))


EIGHT: Mapping[str, Any] = {"validation_checks": 8, "patience_checks": 8}
SHORTER: Mapping[str, Any] = {"epochs": 3, "min_steps": 75, "max_steps": 225}


def refined(
    cell: str, size: int, dropout: float, training: Mapping[str, Any] | None = None, name: str = ""
) -> Candidate:
    """Return a network of one layer with a Student t, and another dropout and training."""
    base = shape(cell, 1, size, "student_t")
    named = ", ".join(filter(None, (base.name, f"dropout {dropout:g}", name)))
    return Candidate(named, {**base.network, "dropout": dropout}, training or {}, seeds=5 if "5 seeds" in name else 3)


FORMER = Candidate("former default, 5 seeds", seeds=5)
CHOSEN = refined(
    "gru", 32, 0.5, SHORTER | EIGHT | {"min_steps": 60, "max_steps": 200}, "60 to 200 steps, 8 checks, 5 seeds"
)


@dataclass(frozen=True)
class Stage:
    """Candidates and the panels on which they are tried."""

    candidates: tuple[Candidate, ...]
    panels: tuple[str, ...]


ALL = tuple(panel.name for panel in PANELS)
QUICK = tuple(
    panel.name for panel in PANELS if panel.tickers <= 20 or panel.name in ("50 tickers, 2011", "many zero returns")
)
STAGES: Mapping[str, Stage] = {
    "shapes": Stage(tuple(shape(cell, *size, head) for head in HEADS for cell, size in SHAPES), QUICK),
    "training": Stage(
        tuple(
            varied(shape(*of_shape, "student_t"), name)
            for of_shape in (("gru", 1, 32), ("lstm", 1, 48))
            for name in VARIANTS
        ),
        QUICK,
    ),
    "refined": Stage(
        (
            Candidate("former default, 3 seeds", seeds=3),
            refined("lstm", 32, 0.3),
            refined("lstm", 48, 0.3),
            refined("lstm", 64, 0.4),
            refined("lstm", 48, 0.3, {"learning_rate": 2e-3}, "rate 2e-3"),
            refined("gru", 24, 0.3),
            refined("gru", 32, 0.3),
            refined("gru", 32, 0.5),
            refined("gru", 32, 0.3, {"learning_rate": 2e-3}, "rate 2e-3"),
            refined("gru", 32, 0.3, SHORTER, "75 to 225 steps"),
        ),
        ALL,
    ),
    "noise": Stage(
        (
            FORMER,
            refined("gru", 32, 0.3, SHORTER, "75 to 225 steps, 5 seeds"),
            refined("gru", 32, 0.5, SHORTER, "75 to 225 steps, 5 seeds"),
            refined("gru", 32, 0.4, SHORTER | {"learning_rate": 3e-3}, "75 to 225 steps, rate 3e-3, 5 seeds"),
            refined("gru", 32, 0.3, SHORTER | {"weight_decay": 0.1}, "75 to 225 steps, weight decay 0.1, 5 seeds"),
            refined("gru", 48, 0.5, SHORTER, "75 to 225 steps, 5 seeds"),
        ),
        QUICK,
    ),
    "patience": Stage(
        (
            refined("gru", 32, 0.5, SHORTER | {"patience_checks": 12}, "75 to 225 steps, never stopped, 5 seeds"),
            refined("gru", 32, 0.5, SHORTER | EIGHT, "75 to 225 steps, 8 checks, 5 seeds"),
            refined(
                "gru", 32, 0.4, SHORTER | EIGHT | {"learning_rate": 3e-3}, "75 to 225 steps, 8 checks, 3e-3, 5 seeds"
            ),
            refined("gru", 24, 0.4, SHORTER | EIGHT, "75 to 225 steps, 8 checks, 5 seeds"),
            CHOSEN,
        ),
        QUICK,
    ),
    "chosen": Stage((FORMER, CHOSEN), ALL),
}
OLD = "lstm 1 x 48, quantiles"


def experiment_of(candidate: Candidate) -> Experiment:
    network = {**OLD_NETWORK, **candidate.network}
    training = {**OLD_TRAINING, **candidate.training}
    return Experiment.model_validate(
        {"network": network, "training": training, "features": FEATURES[candidate.features], "device": "cpu"}
    )


# --- One candidate on one panel ---


@dataclass(frozen=True)
class Prepared:
    """A panel with what every forecaster but the network says of its validation part."""

    issued: Issued
    frames: Frames
    fold: Fold


@cache
def bars_of_large() -> Bars:
    return large_bars()


@cache
def prepared(panel: str) -> Prepared:
    """Return a panel; the quantiles of its baselines and benchmarks are fitted here, once per process and panel."""
    (found,) = (each for each in PANELS if each.name == panel)
    job = job_of(found, bars_of_large(), Experiment(device="cpu"), choosing=True)
    frames = frames_of(job.bars, job.experiment)
    folds = folds_of(frames, job.experiment)
    others = [spec.kind for spec in job.experiment.forecasters if spec.kind != NETWORK]
    results = fit_each(jobs_of(frames, folds, job.experiment, "cpu", others), frames)
    return Prepared(issued_of(job, Fits(results, folds, frames)), frames, folds[0])


def tried(candidate: Candidate, panel: str) -> dict[str, Any]:
    """Return the row of a candidate on a panel; losses are by horizon, x 1e4."""
    began = time.process_time()
    at = prepared(panel)
    experiment = experiment_of(candidate).model_copy(update={"seeds": candidate.seeds})
    rows = slice(at.fold.validation.start, at.fold.test.stop)
    seconds, steps, of_seed = [], [], []
    for job in jobs_of(at.frames, (at.fold,), experiment, "cpu", (NETWORK,)):
        start = time.process_time()
        fitted = fit(job, at.frames)
        seconds.append(time.process_time() - start)
        steps.append(fitted.best_step)
        with one_thread():
            of_seed.append(quantiles(fitted, at.frames, rows))
    mean = np.mean(of_seed, axis=0)
    usual = at.issued.quantiles["climatology"]
    shrunk = {f"{share:g}": (1 - share) * mean + share * usual for share in SHRINKAGES}
    issued = with_network(at.issued, mean)
    return {
        "candidate": candidate.name,
        "panel": panel,
        "cpu_seconds": round(time.process_time() - began, 2),
        "fit_seconds": round(float(np.median(seconds)), 2),
        "best_steps": steps,
        "seeds": [losses(issued, values) for values in of_seed],
        "network": losses(issued, mean),
        "shrunk": {name: losses(issued, values) for name, values in shrunk.items()},
        "combined": losses(issued, as_it_is(issued, issued.members)),
        "others": {name: losses(issued, values) for name, values in at.issued.quantiles.items()},
    }


def with_network(issued: Issued, network: np.ndarray) -> Issued:
    return Issued(
        issued.name,
        {NETWORK: network, **issued.quantiles},
        issued.outcome,
        issued.known,
        issued.volatility,
        issued.sessions,
        issued.evaluated,
    )


def losses(issued: Issued, values: np.ndarray) -> list[float]:
    return [round(1e4 * issued.loss(values[:, :, horizon - 1], horizon), 4) for horizon in HORIZONS]


# --- The results ---


def read_results() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def run(stages: Sequence[str]) -> None:
    """Fit what the results lack of these stages."""
    rows = read_results()
    done = {(row["candidate"], row["panel"]) for row in rows}
    wanted = [
        (candidate, panel) for name in stages for panel in STAGES[name].panels for candidate in STAGES[name].candidates
    ]
    wanted = [(candidate, panel) for candidate, panel in wanted if (candidate.name, panel) not in done]
    spent = sum(row["cpu_seconds"] for row in rows)
    with ProcessPoolExecutor(WORKERS) as pool:
        waiting = {pool.submit(tried, candidate, panel) for candidate, panel in wanted}
        for count, finished in enumerate(as_completed(waiting), 1):
            rows.append(finished.result())
            spent += rows[-1]["cpu_seconds"]
            write_results(rows)
            print(f"{count} of {len(wanted)}, {spent / 3600:.2f} core-hours", flush=True)
            if spent > BUDGET_HOURS * 3600:
                pool.shutdown(cancel_futures=True)
                print(f"stopped: {BUDGET_HOURS:g} core-hours are spent")
                return


def write_results(rows: Sequence[Mapping[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_whole(RESULTS, f"[\n{lines}\n]\n".encode())


@dataclass(frozen=True)
class Judged:
    """A candidate over the panels: mean of both horizons, relative to the best simple baseline in hindsight."""

    name: str
    network: np.ndarray  # [panel]
    combined: np.ndarray  # [panel]
    shrunk: Mapping[str, float]
    noise: float  # standard deviation over seeds, x 1e4, horizon 1, mean of the panels
    seconds: float

    def __str__(self) -> str:
        shrunk = " ".join(f"{value:.4f}" for value in self.shrunk.values())
        return (
            f"  {self.name:<58} {self.network.mean():.4f} {self.network.max():.4f}   {self.combined.mean():.4f} "
            f"{self.combined.max():.4f}   {shrunk}   {self.noise:7.3f} {self.seconds:6.2f}"
        )


def judged(name: str, rows: Sequence[Mapping[str, Any]]) -> Judged:
    best = {row["panel"]: np.min([row["others"][kind] for kind in BASELINE_KINDS], axis=0) for row in rows}

    def ratio(key: str, row: Mapping[str, Any]) -> float:
        return float(np.mean(np.array(row[key]) / best[row["panel"]]))

    return Judged(
        name,
        np.array([ratio("network", row) for row in rows]),
        np.array([ratio("combined", row) for row in rows]),
        {
            share: float(np.mean([np.array(row["shrunk"][share]) / best[row["panel"]] for row in rows]))
            for share in rows[0]["shrunk"]
        },
        float(np.mean([np.std([seed[0] for seed in row["seeds"]], ddof=1) for row in rows])),
        float(np.mean([row["fit_seconds"] for row in rows])),
    )


def show() -> None:
    """Print every candidate that was tried on all panels."""
    rows = read_results()
    print(f"{sum(row['cpu_seconds'] for row in rows) / 3600:.2f} core-hours")
    names = ("mean  worst", "combined", f"with {', '.join(f'{share:g}' for share in SHRINKAGES)} of climatology")
    for name, stage in STAGES.items():
        print(f"\n{name}: loss over that of the best simple baseline in hindsight; {'; '.join(names)}; noise; seconds")
        for candidate in stage.candidates:
            of_candidate = [row for row in rows if row["candidate"] == candidate.name and row["panel"] in stage.panels]
            if len(of_candidate) == len(stage.panels):
                print(judged(candidate.name, of_candidate))


def main(arguments: Sequence[str]) -> int:
    """Run stages or show what was found."""
    parser = argparse.ArgumentParser(prog="defaults_search")
    parser.add_argument("action", choices=("run", "show"))
    parser.add_argument("stages", nargs="*", help=f"{', '.join(STAGES)} (default: all)")
    given = parser.parse_args(arguments)
    if unknown := {*given.stages} - {*STAGES}:
        parser.error(f"found no stage {', '.join(sorted(unknown))}, expected some of {', '.join(STAGES)}")
    if not PANEL.exists():
        print(f"no panel at {PANEL}: the search cannot be run here")
        return 1
    if given.action == "run":
        run(given.stages or tuple(STAGES))
    show()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
