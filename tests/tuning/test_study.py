"""The study: the same seed gives the same trials, and a kill at any instant loses none and counts none twice."""

import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest

from pipeline.errors import TrackingError, UsageError
from pipeline.tuning.storage import Storage
from pipeline.tuning.study import INTERRUPTED, NUMBER, TRIALS_AT_ONCE, WORKER
from pipeline.tuning.trial import Trial, best_trial, count_statuses, ranked_trials
from tests.panels import NOW

from .small_studies import FIRST, SHARED_SETTINGS, opened, results_of, run_trials, storage_in

ROOT = Path(__file__).parents[2]
TOTAL, SHORT = 12, 8  # three groups, and a part of two


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, ...]:
    """A study that nothing interrupted."""
    with opened(tmp_path_factory.mktemp("whole")) as study:
        return run_trials(study, TOTAL)


def rows_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """Every trial that the database has, read by optuna alone."""
    return optuna.load_study(study_name="s", storage=storage_in(folder).uri).get_trials(deepcopy=False)


def test_it_begins_with_the_first_values(whole: tuple[Trial, ...]) -> None:
    assert dict(whole[0].values) == FIRST
    assert [trial.number for trial in whole] == list(range(TOTAL))
    assert len({str(trial.values) for trial in whole}) > TOTAL / 2


def test_trials_that_are_worse_than_the_median_are_pruned(whole: tuple[Trial, ...]) -> None:
    by_state = count_statuses(whole)
    assert by_state["complete"] + by_state["pruned"] == TOTAL
    assert by_state["pruned"] >= 2
    first = [trial.losses[0] for trial in whole]
    for trial in whole:
        if trial.state == "pruned":
            assert trial.number >= TRIALS_AT_ONCE
            assert len(trial.losses) == 1
            assert trial.loss == trial.losses[0]
            assert trial.losses[0] > sorted(first)[0]


def test_the_search_finds_better_values_than_the_first(whole: tuple[Trial, ...]) -> None:
    best = best_trial(whole)
    assert best is not None
    assert best.loss == min(trial.loss for trial in whole if trial.state == "complete" and trial.loss is not None)
    assert best.loss < (whole[0].loss or 0.0)


def test_the_same_seed_gives_the_same_trials(whole: tuple[Trial, ...], tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        assert results_of(run_trials(study, TOTAL)) == results_of(whole)
    with opened(tmp_path, "other", seed=1) as study:
        other = run_trials(study, 2)
    assert results_of(other)[0] == results_of(whole)[0]
    assert results_of(other)[1] != results_of(whole)[1]


def test_continuing_makes_no_trial_twice(whole: tuple[Trial, ...], tmp_path: Path) -> None:
    for total in (TRIALS_AT_ONCE, 2 * TRIALS_AT_ONCE, TOTAL, TOTAL, 3):
        with opened(tmp_path) as study:
            trials = run_trials(study, total)
    assert results_of(trials) == results_of(whole)
    assert len(rows_of(tmp_path)) == TOTAL


KILLED_SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.tuning.small_studies import run_trials, opened
reports_left = int(sys.argv[2])
def count():
    global reports_left
    reports_left -= 1
    if not reports_left:
        os.kill(os.getpid(), signal.SIGKILL)
with opened(Path(sys.argv[1])) as study:
    run_trials(study, 8, count)
"""


@pytest.mark.parametrize("reports", [1, 12])
def test_after_kill_9_it_makes_the_same_trials(reports: int, whole: tuple[Trial, ...], tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_SCRIPT, tmp_path, str(reports)], cwd=ROOT, check=False, timeout=100
    )
    assert killed.returncode == -signal.SIGKILL
    under_way = [trial for trial in rows_of(tmp_path) if trial.state == optuna.trial.TrialState.RUNNING]
    assert under_way
    with opened(tmp_path) as study:
        before = study.trials()
        assert results_of(before) == results_of(whole)[: len(before)]
        trials = run_trials(study, SHORT)
    assert results_of(trials) == results_of(whole)[:SHORT]
    rows = rows_of(tmp_path)
    interrupted = [row for row in rows if INTERRUPTED in row.user_attrs]
    assert len(interrupted) == len(under_way)
    assert len(rows) == SHORT + len(interrupted), "an interrupted trial is repeated once, and counted once"


@pytest.mark.parametrize("step", ["while its values are drawn", "before it has its number", "while it is interrupted"])
def test_a_kill_between_two_writes_to_the_database_is_harmless(
    step: str, whole: tuple[Trial, ...], tmp_path: Path
) -> None:
    with opened(tmp_path) as study:
        run_trials(study, TRIALS_AT_ONCE)
    with opened(tmp_path) as study:
        pending = study.ask(SHORT)
    raw = optuna.load_study(study_name="s", storage=storage_in(tmp_path).uri)
    if step == "while its values are drawn":
        study_after_kill(raw, len(pending), lambda trial: trial.suggest_int("network.hidden_size", 2, 8))
    elif step == "before it has its number":
        study_after_kill(raw, len(pending), lambda _: None)
    else:  # enqueued again, and killed before the former trial was ended
        raw.enqueue_trial(dict(pending[0].values), {NUMBER: pending[0].number})
    with opened(tmp_path) as study:
        assert results_of(run_trials(study, SHORT)) == results_of(whole)[:SHORT]


def study_after_kill(raw: optuna.Study, group: int, begun: Callable[[optuna.Trial], object]) -> None:
    """Leave a trial that was only begun, as the first of its group."""
    for number in range(TRIALS_AT_ONCE, TRIALS_AT_ONCE + group):
        trial = optuna.Trial(raw, raw.get_trials()[number]._trial_id)
        trial.set_user_attr(INTERRUPTED, True)
        raw.tell(number, state=optuna.trial.TrialState.FAIL)
    begun(raw.ask())


def test_a_failed_trial_has_its_reason_and_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        first, *rest = study.ask(3)
        study.fail(first, "the loss is not finite")
        for later in rest:
            study.report(later, 0, [1.0], 1.0)
            study.complete(later, 1.0)
        trials = study.trials()
        assert not study.ask(3)
    assert count_statuses(trials) == {"complete": 2, "pruned": 0, "failed": 1}
    assert (trials[0].error, trials[0].loss) == ("the loss is not finite", None)
    assert [trial.number for trial in ranked_trials(trials)] == [1, 2, 0]
    assert best_trial(trials[:1]) is None


def test_a_study_with_other_shared_settings_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        run_trials(study, 2)
    other = {**SHARED_SETTINGS, "prices": "others"}
    with pytest.raises(UsageError, match=r"study s was begun with other prices, .* give another --study"):
        opened(tmp_path, shared=other).__enter__()
    with opened(tmp_path, "t", shared=other) as study:
        assert study.trials() == ()


def test_a_study_that_another_process_works_on_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        run_trials(study, 1)
        worker = study._study.user_attrs[WORKER]
    assert worker["process"] == os.getpid()
    other = psutil.Process(os.getppid())
    raw = optuna.load_study(study_name="s", storage=storage_in(tmp_path).uri)
    began = other.create_time() - psutil.boot_time()
    raw.set_user_attr(WORKER, {**worker, "process": other.pid, "began": began})
    with pytest.raises(UsageError, match=f"process {other.pid} works on study s"):
        opened(tmp_path).__enter__()
    for gone in ({"began": began - 5.0}, {"host": "elsewhere"}):  # the process id was reused, or is of another host
        raw.set_user_attr(WORKER, {**worker, "process": other.pid, "began": began, **gone})
        with opened(tmp_path) as study:
            assert len(study.trials()) == 1


def test_notes_are_stored_in_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a {b} %41"
    with opened(folder) as study:
        assert study.note("run") is None
        study.set_note("run", "abc")
    assert [path.name for path in folder.iterdir()] == ["study.db"]
    with opened(folder) as study:
        assert study.note("run") == "abc"


def test_optuna_logs_nothing(tmp_path: Path) -> None:
    messages: list[str] = []
    listener, before = logging.StreamHandler(io.StringIO()), optuna.logging.get_verbosity()
    listener.addFilter(lambda record: messages.append(record.getMessage()) is None)
    logging.getLogger("optuna").addHandler(listener)
    try:
        with opened(tmp_path) as study:
            run_trials(study, 3)
        assert messages == []
        assert optuna.logging.get_verbosity() == before
        optuna.create_study(study_name="heard")
        assert len(messages) == 1, "the listener receives messages"
    finally:
        logging.getLogger("optuna").removeHandler(listener)


def test_a_file_that_is_no_database_is_a_tracking_error(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    path.write_text("no database, but long enough to be read as one" * 50)
    with pytest.raises(TrackingError, match=r"could not open study s in the study's database .*study\.db"):
        opened(tmp_path).__enter__()


def test_a_database_of_another_library_is_a_tracking_error(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    engine = optuna.storages.RDBStorage(storage_in(tmp_path).uri).engine
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0123456789ab'")
    with pytest.raises(TrackingError, match=r"cannot store a study in .* expected a database with Optuna's tables"):
        opened(tmp_path).__enter__()


def test_a_driver_that_is_not_installed_is_a_tracking_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("sqlite+nosuchdriver:///x.db")
    with pytest.raises(TrackingError, match="nosuchdriver"):
        opened_in(storage)


def opened_in(storage: Storage) -> None:
    from pipeline.tuning.study import open_study  # noqa: PLC0415

    open_study(storage, "s", {}, SHARED_SETTINGS, {}, 0).__enter__()


def test_ranks_put_complete_trials_first() -> None:
    def trial(number: int, state: str, loss: float | None) -> Trial:
        return Trial(number, state, {}, (), loss, "", NOW, NOW)  # type: ignore[arg-type]

    trials = [trial(0, "failed", None), trial(1, "pruned", 0.1), trial(2, "complete", 2.0), trial(3, "complete", 1.0)]
    assert [trial.number for trial in ranked_trials(trials)] == [3, 2, 1, 0]
    best = best_trial([*trials, trial(4, "complete", 1.0)])
    assert best is not None
    assert best.number == 3
