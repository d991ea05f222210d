"""The link to the MQTT server: addresses, one connection, and the session that outlives it."""
