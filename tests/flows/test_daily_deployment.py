"""Five sessions of the deployment `daily` on a real Prefect server: one missed, a holiday, the worker started anew."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.market.calendars import closed_at
from tests.market.fake_yahoo import FakeYahoo
from tests.panels import random_rows
from tests.workflow.simulated_days import reported

from .command import Command
from .test_deployments import Server, server_in, worker_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAYS = [np.datetime64(f"2023-12-{day}") for day in (20, 21, 26, 27, 28)]  # the 22nd is missed, the 25th is Christmas
ROWS = {name: random_rows(420, seed, np.datetime64("2023-12-29")) for seed, name in enumerate(("AAA", "BBB"))}
EXPERIMENT = {
    "source": {"kind": "yahoo", "start": "2022-01-03"},
    "tickers": list(ROWS),
    "seeds": 1,
    "horizons": 2,
    "device": "cpu",
    "workers": 1,
    "network": {"hidden_size": 4},
    "training": {"min_steps": 4, "max_steps": 8, "batch_chunks": 4},
    "folds": {"refit_months": 12, "validation_months": 3},
}


def evening(day: np.datetime64) -> datetime:
    return closed_at("XNYS", day) + timedelta(hours=2, minutes=30)


def run_day(server: Server, fake: FakeYahoo, day: np.datetime64, now: datetime | None = None) -> None:
    """Let Yahoo know the bars up to a day, and run the deployment that evening, or at another instant."""
    known = {name: rows[rows["session"] <= day].reset_index(drop=True) for name, rows in ROWS.items()}
    fake.play.frames = {name: reported(rows) for name, rows in known.items()}
    parameters = {"experiment": EXPERIMENT, "now": (now or evening(day)).isoformat()}
    arguments = [text for name, value in parameters.items() for text in ("--param", f"{name}={json.dumps(value)}")]
    server.prefect("deployment", "run", "daily/daily", *arguments, "--watch", "--watch-timeout", "200")


def states(server: Server) -> list[str]:
    """The names of the states of all runs, in the order in which they started."""
    runs: list[dict[str, Any]] = server.ask(
        "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    )
    return [run["state_name"] for run in sorted(runs, key=lambda run: str(run["start_time"]))]


def test_five_sessions_by_way_of_the_server_and_its_worker(tmp_path: Path) -> None:
    with FakeYahoo({}, tmp_path) as fake:
        proxy = f"http://127.0.0.1:{fake.server.server_address[1]}"
        through = {
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
            "REQUESTS_CA_BUNDLE": str(fake.authority),
        }
        with server_in(tmp_path, **through) as server:
            with worker_of(server, tmp_path / "worker.log"):
                for day in DAYS[:3]:
                    run_day(server, fake, day)
            with worker_of(server, tmp_path / "second.log"):
                run_day(server, fake, DAYS[3])
                run_day(server, fake, DAYS[3], evening(DAYS[3]) + timedelta(hours=2))  # a slot that was missed
                run_day(server, fake, DAYS[4])
            found = states(server)
            made = sorted(server.ask("/artifacts/filter", {}), key=lambda artifact: str(artifact["created"]))
    keys = {artifact["key"]: artifact["data"] for artifact in made}
    assert found == ["Completed", "Completed", "Partial", "Completed", "Completed", "Completed"]
    assert "Issued 2023-12-28 (on time)" in keys["daily-daily"]
    assert "Version 1, backtest of 2023-12-20" in keys["daily-daily"]

    tapecast = Command(tmp_path / "home")
    status, listed = tapecast.json("ledger", "list")
    assert status == 0
    entries = listed["entries"][::-1]
    issued = ["2023-12-20", "2023-12-21", "2023-12-22", "2023-12-26", "2023-12-27", "2023-12-28"]
    assert [entry["last_origin"] for entry in entries] == issued
    status, verified = tapecast.json("ledger", "verify")
    assert (status, verified["status"], verified["entries"]) == (0, "ok", 6)
    status, shown = tapecast.json("ledger", "show", "3")
    assert {row["status"] for row in shown["forecasts"]} == {"late"}
    status, replayed = tapecast.json("replay", "3")
    assert (status, replayed["agreement"]) == (0, "identical")
    text = tapecast("ledger", "grades").stdout
    assert "calibrated" in text
