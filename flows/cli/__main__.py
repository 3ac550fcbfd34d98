"""Where the command line starts: signals are handled from here on, before anything that takes time is imported."""

from flows.cli.signals import INTERRUPTED_STATUS, exit_now, interrupt_on_signals


def main() -> None:
    """Start the command line; an interrupt that no command has handled ends it all the same."""
    interrupt_on_signals()
    try:
        from flows.cli.app import start  # noqa: PLC0415

        start()
    except KeyboardInterrupt:
        exit_now(INTERRUPTED_STATUS)


if __name__ == "__main__":
    main()
