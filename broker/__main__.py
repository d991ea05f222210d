"""`python -m broker` is `jobbroker`."""

from broker.cli import main

main()
