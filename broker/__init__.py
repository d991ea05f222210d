"""The edges and the process: MQTT, command line, configuration, clock, servers run as children."""
