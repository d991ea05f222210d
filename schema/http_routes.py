"""/api/v1: the one table from each operator command to its method and path, with an example of what is asked for.

The names in a path are members of the command, but for those of jobs, which the topic has over MQTT as well. What is
read by GET has its other members in the query string, all else in a JSON body.
"""

from __future__ import annotations

from typing import Final

from schema.fleet_routes import FLEET_ROUTES
from schema.job_routes import JOB_ROUTES
from schema.stack_routes import STACK_ROUTES

API: Final = "/api/v1"
EVENTS_PATH: Final = f"{API}/events"  # beside the commands: a stream of what happens

ROUTES: Final = (*JOB_ROUTES, *FLEET_ROUTES, *STACK_ROUTES)
