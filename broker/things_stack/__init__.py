"""The Things Stack from outside: a client of its HTTP API, and the worker of runs."""
