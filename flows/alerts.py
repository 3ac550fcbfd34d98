"""What runs tell: alerts as Prefect events, and the heartbeat's request to a service outside."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from pipeline.operation.alerts import Alert, body, subject
from pipeline.workflow.alerts import failed_alert

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

HEARTBEAT_SECONDS = 10.0


def raise_alerts(alerts: Sequence[Alert]) -> None:
    """Emit an event for each alert; Prefect sends them in the background, and logs where that fails."""
    from prefect.runtime import flow_run  # noqa: PLC0415  a second of imports

    for alert in alerts:
        raise_alert(alert, flow_run.get_id())


def raise_alert(alert: Alert, flow_run_id: str | None) -> None:
    """Emit the event of an alert, with the text of its message and a link to the run that raises it."""
    from prefect.events import emit_event  # noqa: PLC0415
    from prefect.utilities.urls import url_for  # noqa: PLC0415

    link = url_for("flow-run", flow_run_id) if flow_run_id else None
    emit_event(
        event=alert.event,
        resource={
            "prefect.resource.id": resource_id(alert),
            "prefect.resource.name": " ".join((alert.model, alert.calendar)).strip(),
            "tapecast.model": alert.model,
            "tapecast.calendar": alert.calendar or "all",
        },
        payload={
            "kind": alert.kind,
            "model": alert.model,
            "calendar": alert.calendar,
            "session": alert.session and alert.session.isoformat(),
            "sentence": alert.sentence,
            "numbers": dict(alert.numbers),
            "subject": subject(alert),
            "body": body(alert, link),
        },
    )


def resource_id(alert: Alert) -> str:
    """Return the id of what an alert is about: "tapecast.daily.XNYS"."""
    return ".".join(("tapecast", alert.model, alert.calendar.replace("/", "-") or "all"))


def tell_of_failure(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    """Raise the alert of a flow run that failed or took too long; a hook of Prefect's, called in the run's process.

    Of a process that was killed nothing is called: the server's own event stands for it (`automations.killed`).
    """
    alert = failed_alert(flow.name, flow_run.parameters, state.message or state.name or "", datetime.now(UTC))
    raise_alert(alert, str(flow_run.id))


def request_heartbeat(url: SecretStr | None) -> str | None:
    """Request the address of a service that gives an alarm where it is not requested; return a warning where it fails.

    The address is a secret: no warning has any part of it. Where there is none, nothing is done.
    """
    if url is None:
        return None
    address = url.get_secret_value()
    if not address.startswith(("http://", "https://")):
        return "TAPECAST_HEARTBEAT_URL is no address that begins with http:// or https://: it was not requested"
    try:
        with urllib.request.urlopen(address, timeout=HEARTBEAT_SECONDS):  # noqa: S310  the scheme is checked above
            return None
    except urllib.error.HTTPError as error:
        reason = f"status {error.code}"
        error.close()
    except (OSError, HTTPException, ValueError) as error:
        reason = type(getattr(error, "reason", error)).__name__  # its text may have the address
    return f"The address in TAPECAST_HEARTBEAT_URL did not answer as expected ({reason}); the run is not changed by it"
