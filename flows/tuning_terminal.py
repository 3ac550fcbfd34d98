"""What a person sees of a search on the terminal: the best trials, and where to go on."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.workflow.tune import Row, Tuned, note_of

SHOWN_TRIALS = 10


def show_tuned(console: Console, tuned: Tuned) -> None:
    """Print what was found, the best trials, and where the experiment and the trials are."""
    best, *rest = note_of(tuned)
    console.print(f"\n[bold]{escape(best)}[/bold]")
    console.print(trial_table(tuned))
    for sentence in rest:
        console.print(escape(sentence))
    for row in tuned.stale:
        console.print(f"[yellow]not up to date[/yellow] {escape(row['ticker'])}: {escape(row['reason'])}")
    for row in tuned.left_out:
        console.print(f"[yellow]left out[/yellow] {escape(row['ticker'])}: {escape(row['reason'])}")
    console.print(f"Next    tapecast run --experiment {tuned.experiment}", soft_wrap=True)
    console.print(f"More    trials with --study {tuned.study} and a larger --trials", soft_wrap=True)
    console.print(f"MLflow  {tuned.mlflow_url}  (start it with `tapecast ui`)", soft_wrap=True)
    console.print(f"Took    {sum(tuned.seconds.values()):.0f} s in all stages", style="dim")


def trial_table(tuned: Tuned) -> Table:
    """Return a row per trial, the best first: state, validation pinball and values."""
    table = Table(title="Validation pinball x1e4: lower is better", title_justify="left")
    for name in ("trial", "state", "pinball"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("settings")
    for row in tuned.trials[:SHOWN_TRIALS]:
        table.add_row(*cells(row))
    if len(tuned.trials) > SHOWN_TRIALS:
        table.caption = f"{len(tuned.trials) - SHOWN_TRIALS} more trials in MLflow"
    return table


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of one trial; of one that was given up the estimate of its loss."""
    loss = row["validation_pinball"]
    sign = "~" if row["state"] == "pruned" else ""
    settings = ", ".join(f"{short(name)} {value_in_words(value)}" for name, value in sorted(row["values"].items()))
    return (str(row["trial"]), row["state"], "" if loss is None else f"{sign}{1e4 * loss:.3f}", settings)


def short(name: str) -> str:
    """Return a setting's name without its table."""
    return name.split(".", 1)[1]


def value_in_words(value: object) -> str:
    """Return a value with few digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
