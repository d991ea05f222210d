"""A Things Stack to run against: its HTTP API on loopback, for tests, demos and trying things out.

It answers as The Things Stack v3 does, the awkward parts included: one identity server and regional clusters whose
registries know nothing of each other, soft deletion with reserved ids, lists without a key when they are empty, 403 for
what is missing, errors with details. It makes nothing easier for a client than the real server would, and holds all in
memory. What it leaves out: gRPC, OAuth and sessions, contacts and e-mail, traffic of devices, external join servers.
"""

from broker.simulator.things_stack.faults import Faults, Kind
from broker.simulator.things_stack.options import HostPlan, Options
from broker.simulator.things_stack.server import ThingsStackServer, running_things_stack
from broker.simulator.things_stack.state import Stack

__all__ = [
    "Faults",
    "HostPlan",
    "Kind",
    "Options",
    "Stack",
    "ThingsStackServer",
    "running_things_stack",
]
