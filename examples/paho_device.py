"""A device on paho-mqtt: asks for its next job, does it, reports; also after the network was away."""

import argparse
import json

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv5

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("thing")
options.add_argument("token")
options.add_argument("--host", default="127.0.0.1")
options.add_argument("--port", type=int, default=1883)
options.add_argument("--jobs", type=int, help="leave when so many are done")
given = options.parse_args()
JOBS = f"$aws/things/{given.thing}/jobs"
outcomes: dict[tuple[str, int], dict] = {}
done: set[str] = set()


def work(document: dict) -> dict:
    """Do what the document says. Work of more than a minute belongs on a thread: MQTT must go on."""
    print("working on", document, flush=True)
    if "operation" not in document:
        return {"status": "FAILED", "statusDetails": {"reason": "no operation in the document"}}
    return {"status": "SUCCEEDED", "statusDetails": {"did": str(document["operation"])[:1024]}}


def on_connect(client: Client, *_: object) -> None:
    """Listen, then ask what there is to do: a job that was begun before is handed out again."""
    client.subscribe(
        [(f"{JOBS}/{one}", 1) for one in ("notify-next", "start-next/+", "+/update/+")]
    )
    client.publish(f"{JOBS}/start-next", "{}", qos=1)


def on_message(client: Client, _: object, message: MQTTMessage) -> None:
    """Start what is next, do what was started, and note what was taken."""
    body, about = json.loads(message.payload), message.topic.removeprefix(f"{JOBS}/")
    if about == "notify-next" and "execution" in body:
        client.publish(f"{JOBS}/start-next", "{}", qos=1)
    elif about == "start-next/accepted" and (job := body.get("execution")):
        key = (job["jobId"], job["executionNumber"])
        outcomes[key] = outcomes.get(key) or work(job["jobDocument"])  # never twice, told again
        update = {**outcomes[key], "expectedVersion": job["versionNumber"]}
        client.publish(f"{JOBS}/{job['jobId']}/update", json.dumps(update), qos=1)
    elif about.endswith("/rejected"):
        print("rejected:", about, body["code"], body["message"], flush=True)
    elif about.endswith("/update/accepted"):
        done.add(about.split("/")[0])
        print("done:", *sorted(done), flush=True)
        if len(done) == given.jobs:
            client.disconnect()


device = Client(CallbackAPIVersion.VERSION2, given.thing, protocol=MQTTv5)
device.username_pw_set(given.thing, given.token)
device.on_connect, device.on_message = on_connect, on_message
device.connect_async(given.host, given.port)
device.loop_forever(retry_first_connection=True)
