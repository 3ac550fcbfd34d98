"""Alerts on a real Prefect server and real receivers on loopback: what arrives, what is off, what no log has."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.states import Crashed
from pydantic import SecretStr

from flows.alerts import request_heartbeat, resource_id
from flows.automations import automations, put_automations
from flows.prefect_engine import DEPLOYED, PREFECT
from flows.worker import GONE
from pipeline.errors import UsageError
from pipeline.market.calendars import last_completed_session
from pipeline.operation.alerts import KINDS, Alert

from .command import TAPECAST
from .loopback_receiver import Received, mail_server, webhook
from .servers import wait_for, wait_until_answering
from .test_deployments import EXPERIMENT, ROOT, Server, server_in, worker_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

TOKEN = "s3cr3t-t0ken"  # noqa: S105  no real one
ARRIVES_SECONDS = 20.0
NAMES = [*(f"tapecast.{kind}" for kind in KINDS), "tapecast.failed.killed", "tapecast.missing.worker"]


def hook_block(port: int, **values: Any) -> CustomWebhookNotificationBlock:
    usual = {
        "name": "ops",
        "url": f"http://127.0.0.1:{port}/hook",
        "headers": {"Authorization": "Bearer {{token}}"},
        "json_data": {"text": "{{subject}}\n{{body}}"},
        "secrets": {"token": TOKEN},
    }
    return CustomWebhookNotificationBlock(**{**usual, **values})


# --- The heartbeat ---


def test_the_heartbeats_address_is_requested() -> None:
    with webhook() as received:
        assert request_heartbeat(SecretStr(f"http://127.0.0.1:{received.port}/ping/{TOKEN}")) is None
    assert received.paths == [f"/ping/{TOKEN}"]
    assert request_heartbeat(None) is None


@pytest.mark.parametrize("address", ["refused", "status", "file", "nonsense", "no host", "line break"])
def test_a_heartbeat_that_fails_only_warns_and_does_not_name_its_address(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / TOKEN).touch()
    with webhook() as received, caplog.at_level(logging.DEBUG):
        received.status = 404
        url = {
            "refused": f"http://127.0.0.1:1/{TOKEN}",
            "status": f"http://127.0.0.1:{received.port}/{TOKEN}",
            "file": (tmp_path / TOKEN).as_uri(),
            "nonsense": f"http://[{TOKEN}",
            "no host": f"http:///{TOKEN}",
            "line break": f"http://127.0.0.1:{received.port}/{TOKEN}\n/x",
        }[address]
        warning = request_heartbeat(SecretStr(url))
    assert warning
    assert "TAPECAST_HEARTBEAT_URL" in warning
    captured = capsys.readouterr()
    assert TOKEN not in warning + caplog.text + captured.out + captured.err


# --- The automations ---


@pytest.fixture
def client(prefect_server: str) -> Iterator["SyncPrefectClient"]:
    with get_client(sync_client=True) as made:
        yield made
        put_automations(made, None, "tapecast")


def listed(client: "SyncPrefectClient") -> list[str]:
    return sorted(it.name for it in client.read_automations() if it.name.startswith("tapecast."))


def test_two_deployments_make_each_automation_once_and_without_the_setting_none_is_left(
    client: "SyncPrefectClient",
) -> None:
    hook_block(1).save("ops", overwrite=True)
    assert put_automations(client, "custom-webhook/ops", "tapecast") == NAMES
    (late,) = client.read_automations_by_name("tapecast.late")
    client.pause_automation(late.id)
    first = {it.name: it.id for it in client.read_automations()}
    assert put_automations(client, "custom-webhook/ops", "tapecast") == NAMES
    assert {it.name: it.id for it in client.read_automations()} == first
    assert listed(client) == sorted(NAMES)
    paused = [it.name for it in client.read_automations() if not it.enabled]
    assert paused == ["tapecast.late"], "what a person paused stays paused"
    assert put_automations(client, None, "tapecast") == []
    assert listed(client) == []


def test_one_that_two_workers_made_at_once_is_left_once(client: "SyncPrefectClient") -> None:
    block = hook_block(1).save("ops", overwrite=True)
    for wanted in automations(block, "tapecast"):
        client.create_automation(wanted)
        client.create_automation(wanted)
    put_automations(client, "custom-webhook/ops", "tapecast")
    assert listed(client) == sorted(NAMES)


def test_another_block_takes_over_and_automations_of_others_are_left_alone(client: "SyncPrefectClient") -> None:
    first, second = (hook_block(1).save(name, overwrite=True) for name in ("ops", "other"))
    theirs = client.create_automation(automations(first, "tapecast")[0].model_copy(update={"name": "mine"}))
    put_automations(client, "custom-webhook/ops", "tapecast")
    put_automations(client, "custom-webhook/other", "tapecast")
    used = {it.name: it.actions[0].block_document_id for it in client.read_automations()}  # type: ignore[union-attr]
    assert used == {**dict.fromkeys(NAMES, second), "mine": first}
    put_automations(client, None, "tapecast")
    assert [it.name for it in client.read_automations()] == ["mine"]
    client.delete_automation(theirs)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("custom-webhook/none", r"no block 'custom-webhook/none'.*page Blocks.*README"),
        ("no-such-type/ops", r"no block 'no-such-type/ops'"),
        ("ops", r"'ops', expected type/name such as custom-webhook/ops"),
        ("/ops", r"expected type/name"),
        ("secret/word", r"sends no notifications"),
        ("custom-webhook/in-path", r"has the secret 'token'.*log.*headers"),
        ("custom-webhook/in-query", r"has the secret 'token'"),
    ],
)
def test_a_block_that_cannot_be_used_is_an_error_that_says_how_to_make_one(
    client: "SyncPrefectClient", block: str, says: str
) -> None:
    Secret(value="x").save("word", overwrite=True)
    hook_block(1, url="http://127.0.0.1:1/{{ token }}").save("in-path", overwrite=True)
    hook_block(1, params={"key": "{{token}}", "about": "{{subject}}"}).save("in-query", overwrite=True)
    with pytest.raises(UsageError, match=says) as caught:
        put_automations(client, block, "tapecast")
    assert "TAPECAST_ALERT_BLOCK" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert listed(client) == []


def test_the_resource_of_an_event_is_the_model_and_the_calendar() -> None:
    assert resource_id(Alert("late", "daily", "24/7", None, "x")) == "tapecast.daily.24-7"
    assert resource_id(Alert("partial", "mine", "", None, "x")) == "tapecast.mine.all"


# --- A flow that fails ---


def events_of(client: "SyncPrefectClient", resource: str) -> list[dict[str, Any]]:
    wanted = {"limit": 10, "filter": {"resource": {"id": [resource]}}}
    return list(client._client.post("/events/filter", json=wanted).json()["events"])


def test_a_deployed_flow_that_fails_raises_failed_and_that_of_a_command_does_not(client: "SyncPrefectClient") -> None:
    def fails(model: str, calendar: str) -> None:
        raise UsageError(f"cannot write to postgresql://me:{TOKEN}@host/ledger for {model} on {calendar}")

    for engine, model in ((PREFECT, "by-hand"), (DEPLOYED, "unattended")):
        state = engine.flow("daily", "a run")(fails)(model, "XNYS", return_state=True)
        assert state.is_failed()
    assert wait_for(lambda: bool(events_of(client, "tapecast.unattended.XNYS")), 30)
    (event,) = events_of(client, "tapecast.unattended.XNYS")
    assert event["event"] == "tapecast.failed"
    payload = event["payload"]
    assert (payload["kind"], payload["model"], payload["calendar"]) == ("failed", "unattended", "XNYS")
    assert payload["session"] == str(last_completed_session("XNYS", datetime.now(UTC)))
    assert "cannot write to postgresql://me:***@host/ledger for unattended on XNYS" in payload["body"]
    assert payload["body"].splitlines()[-1].endswith(f"/runs/flow-run/{state.state_details.flow_run_id}")
    assert TOKEN not in json.dumps(payload)
    assert events_of(client, "tapecast.by-hand.XNYS") == []


def test_the_state_that_a_worker_sets_for_a_run_of_a_killed_one_is_an_event_of_the_server(
    client: "SyncPrefectClient",
) -> None:
    run = client.create_flow_run(PREFECT.flow("stranded", "a run")(lambda: None))
    client.set_flow_run_state(run.id, Crashed(message=GONE), force=True)
    assert wait_for(lambda: bool(events_of(client, f"prefect.flow-run.{run.id}")), 30)
    found = [event["event"] for event in events_of(client, f"prefect.flow-run.{run.id}")]
    assert "prefect.flow-run.Crashed" in found
    assert {"prefect.flow-run.Crashed"} == set(automations(run.id, "tapecast")[-2].trigger.expect)  # type: ignore[union-attr]


# --- What arrives ---


@dataclass(frozen=True)
class Place:
    """A Prefect server on which alerts may be raised, with its receivers."""

    server: Server
    folder: Path
    hook: Received
    mail: Received

    def python(self, code: str) -> None:
        """Run a script as a run's process would."""
        subprocess.run([sys.executable, "-c", code], env=self.server.environment, cwd=ROOT, check=True, timeout=100)

    def put_automations(self, block: str | None) -> None:
        self.python(
            "from prefect.client.orchestration import get_client\n"
            "from flows.automations import put_automations\n"
            f"with get_client(sync_client=True) as client: put_automations(client, {block!r}, 'tapecast')"
        )
        time.sleep(1)  # the server's triggers read them again

    def raise_alert(self, alert: Alert) -> None:
        fields = (alert.kind, alert.model, alert.calendar, alert.session, alert.sentence, dict(alert.numbers))
        self.python(
            "import datetime\nfrom flows.alerts import raise_alerts\nfrom pipeline.operation.alerts import Alert\n"
            f"raise_alerts([Alert(*{fields!r})])"
        )

    def logs(self) -> str:
        """All that servers and workers have written, and what Prefect's server keeps of runs and events."""
        files = [path.read_text() for path in self.folder.glob("*.log")]
        kept = [self.server.ask(path, {}) for path in ("/logs/filter", "/events/filter", "/flow_runs/filter")]
        return "\n".join([*files, json.dumps(kept)])

    def events(self, name: str) -> list[dict[str, Any]]:
        found = self.server.ask("/events/filter", {"limit": 50, "filter": {"event": {"name": [name]}}})
        return list(found["events"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("alerts")
    quick = {  # a worker that is gone is noticed after seconds
        "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "2",
        "PREFECT_SERVER_SERVICES_FOREMAN_INACTIVITY_HEARTBEAT_MULTIPLE": "2",
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
    }
    with webhook() as hook, mail_server() as mail, server_in(folder, **quick) as server:
        wait_until_answering(f"{server.api}/health")
        made = Place(server, folder, hook, mail)
        made.python(
            "from tests.flows.test_alerts import hook_block, mail_block\n"
            f"hook_block({hook.port}).save('ops')\nmail_block({mail.port}).save('mail')"
        )
        yield made


def mail_block(port: int) -> SlackWebhook:
    return SlackWebhook(url=SecretStr(f"mailto://127.0.0.1:{port}/?from=tapecast@example.com&to=ops@example.com"))


SAID = Alert("decayed", "daily", "XNYS", date(2024, 7, 3), "The skill is -1.2 % & falling.", {"skill": -0.012})


@pytest.mark.slow
def test_an_alert_arrives_at_a_webhook_and_by_mail_and_not_at_all_without_the_setting(place: Place) -> None:
    place.put_automations(None)
    place.raise_alert(SAID)
    assert wait_for(lambda: bool(place.events("tapecast.decayed")), ARRIVES_SECONDS)
    assert not wait_for(lambda: bool(place.hook.texts or place.mail.texts), 5), "alerts are off"

    place.put_automations("custom-webhook/ops")
    place.raise_alert(SAID)
    text = json.loads(place.hook.wait_for_text("decayed", seconds=ARRIVES_SECONDS))["text"]
    assert text.splitlines() == [
        "Tapecast decayed: daily, XNYS, 2024-07-03",
        "The skill is -1.2 % & falling.",
        "Model daily, calendar XNYS, session 2024-07-03.",
        "Numbers: skill -0.012.",
        "What to do: Compare the live record with the backtest's promise, and decide on a refit or a roll-back.",
    ]
    assert len(place.hook.texts) == 1

    place.put_automations("slack-webhook/mail")
    place.raise_alert(SAID)
    mail = place.mail.wait_for_text("Subject: Tapecast decayed: daily, XNYS, 2024-07-03", seconds=ARRIVES_SECONDS)
    assert "To: ops@example.com" in mail
    assert "The skill is -1.2 % & falling." in mail
    assert len(place.hook.texts) == 1


@pytest.mark.slow
def test_a_webhook_that_fails_brings_no_secret_into_a_log(place: Place) -> None:
    place.put_automations("custom-webhook/ops")
    before, place.hook.status = len(place.hook.texts), 500
    try:
        place.raise_alert(SAID)
        assert wait_for(lambda: "after 4 retries" in place.logs(), ARRIVES_SECONDS)
    finally:
        place.hook.status = 200
    assert len(place.hook.texts) == before + 4, "Prefect tries again three times"
    assert TOKEN not in place.logs()


@contextmanager
def worker_on(place: Place, log: str, **environment: str) -> Iterator[None]:
    server = Server(place.server.api, {**place.server.environment, **environment})
    with worker_of(server, place.folder / log):
        yield


def run_deployment(place: Place, name: str, **parameters: Any) -> None:
    """Start a run of a deployment, and leave it to the worker."""
    arguments = [text for key, value in parameters.items() for text in ("--param", f"{key}={json.dumps(value)}")]
    place.server.prefect("deployment", "run", name, *arguments)


@pytest.mark.slow
def test_a_worker_without_its_block_ends_in_one_sentence(place: Place) -> None:
    environment = {**place.server.environment, "TAPECAST_ALERT_BLOCK": "custom-webhook/none"}
    found = subprocess.run(
        [TAPECAST, "worker"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 2
    assert (
        "error: Prefect has no block 'custom-webhook/none', expected the one that TAPECAST_ALERT_BLOCK" in found.stderr
    )
    assert "Traceback" not in found.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_of_a_worker_tell_that_they_failed_were_killed_late_or_missing_and_that_it_is_gone(place: Place) -> None:
    place.hook.texts.clear()
    beat = f"http://127.0.0.1:{place.hook.port}/beat/{TOKEN}"
    alerting = {"TAPECAST_ALERT_BLOCK": "custom-webhook/ops", "TAPECAST_HEARTBEAT_URL": beat}
    with worker_on(place, "worker.log", **alerting):
        gone = {"source": {"kind": "files", "path": "/no/such/file.csv"}, "tickers": ["AAA"]}
        run_deployment(place, "daily/daily", experiment=gone, calendar="XNYS")
        text = place.hook.wait_for_text("Tapecast failed: daily, XNYS", seconds=120)
        assert "Flow daily failed: " in text
        assert "What to do: Read the run's log" in text
        assert "/runs/flow-run/" in text
        assert wait_for(lambda: bool(place.events("tapecast.failed")), ARRIVES_SECONDS)  # stored in batches
        (event,) = place.events("tapecast.failed")
        assert event["resource"]["prefect.resource.id"] == "tapecast.daily.XNYS"
        assert f"/beat/{TOKEN}" not in place.hook.paths

        run_deployment(place, "missing/missing", now="2024-07-04T02:30:00+00:00", calendar="XNYS")  # a short day
        text = place.hook.wait_for_text("Tapecast missing: daily, XNYS, 2024-07-03", seconds=120)
        assert "Nothing was ever issued" in text

        run_deployment(place, "daily/daily", experiment=EXPERIMENT, model=None)
        text = place.hook.wait_for_text("Tapecast late: synthetic", seconds=150)  # made prices end long ago
        assert "Issued late on XNYS" in text
        assert wait_for(lambda: f"/beat/{TOKEN}" in place.hook.paths, 30)

        run_deployment(place, "sine/sine-sanity")
        kill_run(place)
        text = place.hook.wait_for_text("sine was cut off", seconds=120)
        assert "What to do" in text
    # Its process group was ended by SIGTERM, then SIGKILL: the server alone can tell.
    text = place.hook.wait_for_text("Tapecast missing: no worker", seconds=120)
    assert "No worker of the pool tapecast answers" in text
    assert TOKEN not in place.logs()
    assert len([text for text in place.hook.texts if "Tapecast failed: daily" in text]) == 1


def kill_run(place: Place) -> None:
    """Kill the process that works on a run, once it does."""
    found: list[int] = []

    def works() -> bool:
        runs = place.server.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
        ids = {run["id"] for run in runs}
        found[:] = [process.pid for process in psutil.process_iter() if run_of(process) in ids]
        return bool(found)

    assert wait_for(works, 120)
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def run_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("PREFECT__FLOW_RUN_ID")
    except (psutil.Error, OSError):
        return None
