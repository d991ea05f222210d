"""A device on AWS's own SDK, unmodified: IotJobsClientV2 over MQTT 5, its name proved by a certificate.

The certificate comes from `jobbroker things add NAME --cert --out DIRECTORY`, which writes NAME.crt,
NAME.key and ca.crt there. Nothing here knows of jobbroker but the endpoint.
"""

import argparse
import queue
import threading
from pathlib import Path

from awscrt import mqtt5, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotjobs, mqtt5_client_builder

ANSWER_SECONDS = 10


def main() -> None:
    """Do jobs as they come, until there were --jobs of them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("thing")
    options.add_argument("--certs", type=Path, default=Path(), help="where NAME.crt, ... are")
    options.add_argument("--host", default="localhost")
    options.add_argument("--port", type=int, default=8883)
    options.add_argument("--jobs", type=int, help="leave when so many are done")
    given = options.parse_args()

    work_there_is: queue.Queue[bool] = queue.Queue()
    client = connect(given.thing, given.certs, given.host, port=given.port)
    jobs = iotjobs.IotJobsClientV2(
        client,
        mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4,
            max_streaming_subscriptions=1,
            operation_timeout_in_seconds=ANSWER_SECONDS,
        ),
    )
    stream = jobs.create_next_job_execution_changed_stream(
        iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=given.thing),
        ServiceStreamOptions(
            incoming_event_listener=lambda event: work_there_is.put(event.execution is not None),
            # Also after each reconnect: what came meanwhile was not told to us.
            subscription_status_listener=lambda _: work_there_is.put(True),  # noqa: FBT003 - there may be work
        ),
    )
    stream.open()
    done = 0
    while given.jobs is None or done < given.jobs:
        if not work_there_is.get():
            continue
        try:
            done += do_next(jobs, given.thing)
        except V2ServiceException as problem:
            error = problem.modeled_error
            print("rejected:" if error else "no answer:", error or problem.inner_error, flush=True)
            if error is None:
                work_there_is.put(True)  # noqa: FBT003 - ask again: nobody else will remind us
    client.stop()


def connect(thing: str, certs: Path, host: str, *, port: int) -> mqtt5.Client:
    """Connect as AWS's builder does it for a custom authority, and wait until it stands."""
    connected = threading.Event()
    client = mqtt5_client_builder.mtls_from_path(
        endpoint=host,
        port=port,
        client_id=thing,
        cert_filepath=str(certs / f"{thing}.crt"),
        pri_key_filepath=str(certs / f"{thing}.key"),
        ca_filepath=str(certs / "ca.crt"),
        on_lifecycle_connection_success=lambda _: connected.set(),
        on_lifecycle_connection_failure=lambda data: print("no connection:", data.exception),
    )
    client.start()
    if not connected.wait(ANSWER_SECONDS):
        raise SystemExit(f"{host}:{port} let {thing} not in within {ANSWER_SECONDS} s")
    return client


def do_next(jobs: iotjobs.IotJobsClientV2, thing: str) -> int:
    """Start the next job, do it, report it; return how many were done: 0 or 1.

    Raises V2ServiceException when the broker refuses or does not answer.
    """
    asked = iotjobs.StartNextPendingJobExecutionRequest(thing_name=thing)
    execution = jobs.start_next_pending_job_execution(asked).result().execution
    if execution is None:
        return 0
    print("working on", execution.job_document, flush=True)
    outcome = iotjobs.UpdateJobExecutionRequest(
        thing_name=thing,
        job_id=execution.job_id,
        status=iotjobs.JobStatus.SUCCEEDED,
        expected_version=execution.version_number,
    )
    jobs.update_job_execution(outcome).result()
    print("done:", execution.job_id, flush=True)
    return 1


if __name__ == "__main__":
    main()
