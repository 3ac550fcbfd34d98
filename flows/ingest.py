"""The flow ingest: bring the price store up to date, and show what was found as Prefect artifacts."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.tasks import as_task
from flows.watching import LogWatch
from pipeline.files import refuse_unwritable
from pipeline.market.files import open_files
from pipeline.market.held import HeldPrices
from pipeline.market.specification import FilesSource, PriceBasis, YahooSource
from pipeline.market.verdicts import SOUND, counts
from pipeline.settings import Settings
from pipeline.workflow.ingest import (
    IMPORTS,
    Ingested,
    import_files,
    plan_from_yahoo,
    records,
    row_of,
    update_from_yahoo,
)
from pipeline.workflow.progress import Stopwatch, Watch
from pipeline.workflow.tickers import tickers_of

FROM_YAHOO = YahooSource()


Reader = Callable[[Path, PriceBasis | None], HeldPrices]


def build_ingest(watch: Watch, read: Reader = open_files) -> Callable[..., Ingested]:
    """Return the flow with someone watching: the terminal, or the log of a deployment; `read` opens files."""

    @flow(name="ingest", flow_run_name="ingest {source.kind}", persist_result=False)
    def ingest(
        tickers: tuple[str, ...] = (),
        universe: Path | None = None,
        source: YahooSource | FilesSource = FROM_YAHOO,
        collection: str = IMPORTS,
    ) -> Ingested:
        """Bring the price store up to date: from Yahoo, or import files into the named collection.

        Without tickers or universe all that the store, or the files, hold.
        """
        settings, clock, now = Settings(), Stopwatch(watch), datetime.now(UTC)
        refuse_unwritable(settings.root)
        if isinstance(source, YahooSource):
            with clock.stage("plan"):
                planned = plan_from_yahoo(settings, source, tickers, universe, now)
            result = update_from_yahoo(settings, planned, clock)
        else:
            named = tickers_of(settings, source, tickers, universe)
            with clock.stage("read"):
                prices = as_task(read, "read")(source.path, source.price_basis)
            result = import_files(settings, prices, named, collection, now, clock)
        show_ingested(result)
        return result

    return ingest


def show_ingested(result: Ingested) -> None:
    """Make the artifacts: a summary, the verdicts with findings, and the tickers that are not up to date."""
    key = result.collection.replace("_", "-")
    create_markdown_artifact(markdown(result), key=f"ingest-{key}", description="What the update did")
    findings = result.verdicts[result.verdicts["verdict"] != SOUND]
    if len(findings):
        create_table_artifact(records(findings), key=f"verdicts-{key}", description="The data contract")
    if result.not_settled:
        rows = [row_of(one) for one in result.not_settled]
        create_table_artifact(rows, key=f"not-up-to-date-{key}", description="Tickers that are not up to date, and why")


def markdown(result: Ingested) -> str:
    """Return the update in markdown."""
    states = "\n".join(f"- {count} {state}" for state, count in result.states.items())
    judged = ", ".join(f"{count} {verdict}" for verdict, count in counts(result.verdicts).items())
    size_mb = result.disk.size_bytes / 1e6
    disk = f"{result.disk.tickers} tickers, {result.disk.versions} versions, {size_mb:.1f} MB"
    return f"**{result.status}**\n\n{states}\n\nThe data contract on what changed: {judged}.\n\nThe store: {disk}."


# What prefect.yaml deploys.
ingest = build_ingest(LogWatch())
