"""PostgreSQL and Mosquitto as children of this process: what `jobbroker up` serves from."""
