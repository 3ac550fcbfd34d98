"""`python -m flows.cli` is the command `tapecast`."""

from flows.cli.app import main

main()
