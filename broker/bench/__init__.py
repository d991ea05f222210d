"""`jobbroker bench`: what this machine's servers can do, and how much of that the broker makes of it."""
