"""The broker as a process, with a real Mosquitto and a real PostgreSQL."""
