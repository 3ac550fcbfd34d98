"""Watching a run: what is told while it goes on, and how long each stage took."""

from pipeline.training.jobs import FitResult


class LogWatch:
    """Writes to the log of the Prefect run, for runs that nobody sits in front of."""

    def begins(self, stage: str) -> None:
        """Say nothing: the end is what counts."""

    def ends(self, stage: str, seconds: float) -> None:
        """Log the stage with its seconds."""
        self.says(f"{stage}: {seconds:.1f} s")

    def fitted(self, result: FitResult, done: int, total: int) -> None:  # noqa: ARG002  the count says enough
        """Log every tenth fit and the last."""
        if done % 10 == 0 or done == total:
            self.says(f"{done} of {total} fits")

    def says(self, text: str) -> None:
        """Log a sentence."""
        from prefect import get_run_logger  # noqa: PLC0415

        get_run_logger().info(text)
