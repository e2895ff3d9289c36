"""`python -m ingestd` is `ingestd`."""

from ingestd.cli.main import main

main()
