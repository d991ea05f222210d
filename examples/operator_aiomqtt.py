"""An operator on aiomqtt: creates a job for a thing and tells what happens until it has ended."""

import argparse
import asyncio
import json
import uuid

import aiomqtt


async def main() -> None:
    """Listen first, then create: no event can be missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("operator")
    options.add_argument("token")
    options.add_argument("thing")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=1883)
    given = options.parse_args()

    job_id = f"example-{uuid.uuid4()}"
    create = f"operators/{given.operator}/jobs/create"
    job = {
        "jobId": job_id,
        "targets": [f"arn:aws:iot:us-east-1:000000000000:thing/{given.thing}"],
        "document": {"operation": "reboot"},
    }
    server = aiomqtt.Client(given.host, given.port, username=given.operator, password=given.token)
    async with server as client:
        await client.subscribe(f"{create}/+", qos=1)
        await client.subscribe(f"$aws/events/job/{job_id}/+", qos=1)
        await client.subscribe(f"$aws/events/jobExecution/{job_id}/+", qos=1)
        await client.publish(create, json.dumps(job), qos=1)
        async for message in client.messages:
            body = json.loads(message.payload)
            if str(message.topic).endswith("/rejected"):
                raise SystemExit(f"{body['code']}: {body['message']}")
            print(message.topic, json.dumps(body), flush=True)
            if body.get("eventType") == "JOB" and body["operation"] in ("completed", "canceled"):
                return


asyncio.run(main())
