"""A fleet of devices in one process, each behaving as AWS's device clients do, over real MQTT."""
