"""The automations that send alerts to a notification block: made, kept up to date and removed when a worker deploys.

All react to an event. Prefect's proactive triggers, which fire where an event does not come, count hours and know no
holidays, and were seen to fire although it had come (PrefectHQ/prefect issues 18838 and 21932, open in 2026).
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_UI_URL

from pipeline.errors import UsageError
from pipeline.operation.alerts import ADVICE, EVENT_PREFIX, KINDS, MEANINGS, AlertKind

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

AT_ONCE = 200
PLACEHOLDER = re.compile(r"{{\s*([\w.]+)\s*}}")
HOW_TO_MAKE = (
    "make one on the page Blocks of Prefect, or see Alerts in README.md for a webhook, Slack and mail in three lines "
    "each; unset TAPECAST_ALERT_BLOCK to go without alerts"
)


def put_automations(client: "SyncPrefectClient", block: str | None, pool: str) -> list[str]:
    """Make or update the automations that send alerts to a block, and return their names; none without a block.

    Where `block` is None those of an earlier deployment are deleted. One that a person has paused stays paused. Raises
    UsageError where the block does not exist or sends no notifications.
    """
    wanted = [] if block is None else automations(block_id(client, block), pool)
    ours = [it for it in client.read_automations(limit=AT_ONCE) if it.name.startswith(EVENT_PREFIX)]
    for automation in wanted:
        _put(client, automation, [it for it in ours if it.name == automation.name])
    names = [it.name for it in wanted]
    for automation in ours:
        if automation.name not in names:
            client.delete_automation(automation.id)
    return names


def _put(client: "SyncPrefectClient", wanted: AutomationCore, existing: Sequence[Automation]) -> None:
    if not existing:
        client.create_automation(wanted)
        return
    first, *twice = existing
    client.update_automation(first.id, wanted.model_copy(update={"enabled": first.enabled}))
    for automation in twice:  # of workers that began at the same instant
        client.delete_automation(automation.id)


def block_id(client: "SyncPrefectClient", block: str) -> UUID:
    """Return the id of the block that is written as type/name; raises UsageError where there is no usable one."""
    kind, _, name = block.partition("/")
    if not kind or not name:
        raise UsageError(
            f"found TAPECAST_ALERT_BLOCK = {block!r}, expected type/name such as custom-webhook/ops; {HOW_TO_MAKE}"
        )
    try:
        found = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound as error:
        raise UsageError(
            f"Prefect has no block {block!r}, expected the one that TAPECAST_ALERT_BLOCK names; {HOW_TO_MAKE}"
        ) from error
    refuse_unusable(block, found.block_schema.capabilities if found.block_schema else [], found.data)
    return found.id


def refuse_unusable(block: str, capabilities: Sequence[str], data: Mapping[str, Any]) -> None:
    """Raise UsageError for a block that sends no notifications, or whose address has a secret.

    Where a webhook does not answer as expected, Prefect's server writes its whole address into its log, the secrets
    that stand in it too. It does so for custom webhooks alone, whose `secrets` may also stand in a header.
    """
    if "notify" not in capabilities:
        raise UsageError(
            f"the block {block!r} sends no notifications, expected one that does, such as custom-webhook or "
            f"slack-webhook; {HOW_TO_MAKE}"
        )
    secrets = set(PLACEHOLDER.findall(f"{data.get('url')} {data.get('params')}")) & set(data.get("secrets") or ())
    if secrets:
        raise UsageError(
            f"the address of the block {block!r} has the secret {min(secrets)!r}, which Prefect's server would write "
            f"into its log where the webhook fails; expected secrets in its headers alone. For a service whose address "
            f"is the secret take its own type of block, such as slack-webhook; {HOW_TO_MAKE}"
        )


def automations(block: UUID, pool: str) -> list[AutomationCore]:
    """Return the automations: one for each kind of alert, and two for what no process can tell of itself."""
    return [*(of_kind(kind, block) for kind in KINDS), killed(block, pool), no_worker(block, pool)]


def of_kind(kind: AlertKind, block: UUID) -> AutomationCore:
    """Return the automation that sends the message of every alert of a kind."""
    return AutomationCore(
        name=f"{EVENT_PREFIX}{kind}",
        description=f"{MEANINGS[kind].capitalize()}.",
        trigger=_on(f"{EVENT_PREFIX}{kind}"),
        actions=[_send(block, "{{ event.payload.subject }}", "{{ event.payload.body }}")],
    )


def killed(block: UUID, pool: str) -> AutomationCore:
    """Return the automation for runs whose process was killed, of which Prefect's own event tells.

    The server emits it with the state, whoever sets that: the worker that sees its child die, or the next worker.
    """
    link = f"{PREFECT_UI_URL.value()}/runs/flow-run/{{{{ flow_run.id }}}}"
    text = (
        "Run {{ flow_run.name }} of flow {{ flow.name }} was cut off: {{ flow_run.state.message }}\n"
        "Model {{ flow_run.parameters.model or 'none' }}, calendar {{ flow_run.parameters.calendar or 'none' }}, "
        f"session: the last before {{{{ flow_run.expected_start_time }}}}.\nWhat to do: {ADVICE['failed']}\n{link}"
    )
    return AutomationCore(
        name=f"{EVENT_PREFIX}failed.killed",
        description="The process of a run was killed.",
        trigger=_on(
            "prefect.flow-run.Crashed", related={"prefect.resource.role": "work-pool", "prefect.resource.name": pool}
        ),
        actions=[_send(block, "Tapecast failed: {{ flow.name }} was cut off", text)],
    )


def no_worker(block: UUID, pool: str) -> AutomationCore:
    """Return the automation for a worker that is gone, which the server notices after some 90 seconds."""
    text = (
        f"No worker of the pool {pool} answers since {{{{ event.occurred }}}}: no model is forecast, and no session "
        f"issued, until one runs.\nWhat to do: {ADVICE['missing']}\n"
        f"{PREFECT_UI_URL.value()}/work-pools/work-pool/{pool}"
    )
    return AutomationCore(
        name=f"{EVENT_PREFIX}missing.worker",
        description="Nothing works on the deployments.",
        trigger=_on("prefect.work-pool.not-ready", match={"prefect.resource.name": pool}),
        actions=[_send(block, "Tapecast missing: no worker", text)],
    )


def _on(event: str, match: dict[str, str] | None = None, related: dict[str, str] | None = None) -> EventTrigger:
    return EventTrigger(
        expect={event},
        match=ResourceSpecification.model_validate(match or {}),
        match_related=ResourceSpecification.model_validate(related or {}),
        posture=Posture.Reactive,
        threshold=1,
    )


def _send(block: UUID, title: str, text: str) -> SendNotification:
    return SendNotification(block_document_id=block, subject=title, body=text)
