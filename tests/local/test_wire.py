"""boto3 as anybody uses it, with only its endpoint URL changed, against the local services."""

import io
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import boto3
import httpx
import pytest
import uvicorn
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

from atelier.contracts.clock import ManualClock
from infra.local.endpoint import EndpointHost
from infra.local.training import TrainingService, TrainingSettings
from infra.local.wire import build_wire
from tests.local.bench import QUICK, TrainingBench, definition, finish, hosts, turns_until
from tests.local.endpoint_bench import EndpointBench, ask_in_the_end

KEY = "ATELIERLOCALKEY"


@dataclass
class Wire:
    """The services behind a real server on a free loopback port."""

    training: TrainingService
    endpoint: EndpointHost
    url: str

    def client(self, service: str, *, key: str = KEY) -> BaseClient:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )


class ServerThread:
    """uvicorn on a free loopback port until it is closed."""

    def __init__(self, app) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        turns_until(lambda: None, lambda: self._server.started)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture
def open_wire(bench: TrainingBench, endpoints: EndpointBench) -> Iterator:
    servers = []

    def opened(
        training: TrainingService | None = None, endpoint: EndpointHost | None = None
    ) -> Wire:
        training = training or bench.service()
        endpoint = endpoint or endpoints.idle_host()
        server = ServerThread(build_wire(training=training, endpoint=endpoint, access_key=KEY))
        servers.append(server)
        return Wire(training, endpoint, server.url)

    yield opened
    for server in servers:
        server.close()


def refused(call, **arguments) -> ClientError:
    with pytest.raises(ClientError) as problem:
        call(**arguments)
    return problem.value


def code_of(problem: ClientError) -> str:
    return problem.response["Error"]["Code"]


def test_a_job_is_created_and_described_as_botocore_reads_it(open_wire, bench: TrainingBench):
    wire = open_wire(bench.service("(ML / 'model/weights').write_text('w')"))
    sagemaker = wire.client("sagemaker")
    created = sagemaker.create_training_job(**definition(Environment={"A": "b"}))
    finish(wire.training)
    told = sagemaker.describe_training_job(TrainingJobName="job-1")
    assert told["TrainingJobArn"] == created["TrainingJobArn"]
    assert told["TrainingJobStatus"] == "Completed"
    assert told["SecondaryStatus"] == "Completed"
    assert [step["Status"] for step in told["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert told["ModelArtifacts"]["S3ModelArtifacts"].endswith("/job-1/output/model.tar.gz")
    assert told["HyperParameters"] == {"manifest_key": "manifests/job-1.json"}
    assert told["Environment"] == {"A": "b"}
    assert told["ResourceConfig"] == hosts(1)
    assert abs(told["CreationTime"] - datetime.now(UTC)) < timedelta(minutes=5)  # noqa: TID251
    assert told["TrainingStartTime"] <= told["TrainingEndTime"]
    assert told["BillableTimeInSeconds"] >= 1


def test_a_failed_job_tells_its_reason(open_wire, bench: TrainingBench):
    wire = open_wire(bench.service("sys.exit(9)"))
    wire.client("sagemaker").create_training_job(**definition())
    finish(wire.training)
    told = wire.client("sagemaker").describe_training_job(TrainingJobName="job-1")
    assert told["FailureReason"].startswith("AlgorithmError: ")


def test_the_second_creation_within_a_second_is_throttled(open_wire, bench: TrainingBench):
    wire = open_wire(bench.service(clock=ManualClock(), settings=TrainingSettings()))
    sagemaker = wire.client("sagemaker")
    sagemaker.create_training_job(**definition("a"))
    problem = refused(sagemaker.create_training_job, **definition("b"))
    assert code_of(problem) == "ThrottlingException"
    assert problem.response["Error"]["Message"] == "Rate exceeded"
    assert problem.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_each_refusal_has_sagemakers_error_code(open_wire, bench: TrainingBench):
    full = replace(QUICK, capacity={"ml.g6.xlarge": 0})
    sagemaker = open_wire(bench.service(settings=full)).client("sagemaker")
    sagemaker.create_training_job(**definition())
    other_type = {**hosts(1), "InstanceType": "ml.g6.xlarge"}
    cases = {
        "ResourceInUse": definition(),
        "ResourceLimitExceeded": definition("b", ResourceConfig=hosts(4)),
        "ValidationException": definition("b_c"),
        "CapacityError": definition("b", ResourceConfig=other_type),
    }
    for code, given in cases.items():
        assert code_of(refused(sagemaker.create_training_job, **given)) == code


def test_errors_that_the_model_names_can_be_caught_by_their_class(open_wire):
    sagemaker = open_wire().client("sagemaker")
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.describe_training_job(TrainingJobName="nobody")


def test_a_job_is_stopped_and_a_stopped_job_cannot_be(open_wire):
    wire = open_wire()
    sagemaker = wire.client("sagemaker")
    sagemaker.create_training_job(**definition())
    sagemaker.stop_training_job(TrainingJobName="job-1")
    assert finish(wire.training).status.value == "Stopped"
    problem = refused(sagemaker.stop_training_job, TrainingJobName="job-1")
    assert code_of(problem) == "ValidationException"
    assert "in status Stopped" in str(problem)


def test_jobs_are_listed_page_by_page_with_filters(open_wire, bench: TrainingBench):
    wire = open_wire(bench.service(settings=replace(QUICK, instance_quota=20)))
    sagemaker = wire.client("sagemaker")
    for i in range(5):
        sagemaker.create_training_job(**definition(f"blue-{i}"))
    sagemaker.create_training_job(**definition("red"))
    finish(wire.training, "red")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="blue", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    names = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert names == [["blue-0", "blue-1"], ["blue-2", "blue-3"], ["blue-4"]]
    listed = sagemaker.list_training_jobs(StatusEquals="Completed", NameContains="red")
    assert listed["TrainingJobSummaries"][0]["TrainingJobStatus"] == "Completed"
    later = datetime(2100, 1, 1, tzinfo=UTC)
    assert not sagemaker.list_training_jobs(CreationTimeAfter=later)["TrainingJobSummaries"]
    problem = refused(sagemaker.list_training_jobs, NextToken="mine")
    assert code_of(problem) == "ValidationException"


def test_the_endpoint_is_described(open_wire, endpoints: EndpointBench):
    sagemaker = open_wire(endpoint=endpoints.host()).client("sagemaker")
    told = sagemaker.describe_endpoint(EndpointName="atelier")
    assert told["EndpointStatus"] == "InService"
    assert told["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert code_of(refused(sagemaker.describe_endpoint, EndpointName="other")) == (
        "ValidationException"
    )


def test_an_endpoint_whose_server_has_not_answered_yet_is_creating(open_wire):
    told = open_wire().client("sagemaker").describe_endpoint(EndpointName="atelier")
    assert told["EndpointStatus"] == "Creating"


def test_a_target_model_is_invoked_with_its_headers(open_wire, endpoints: EndpointBench):
    endpoints.publish("tiny/o/m/v1.tar.gz", "card of v1")
    runtime = open_wire(endpoint=endpoints.host()).client("sagemaker-runtime")
    told = runtime.invoke_endpoint(
        EndpointName="atelier",
        TargetModel="tiny/o/m/v1.tar.gz",
        ContentType="application/json",
        Accept="image/png",
        CustomAttributes="trace=1",
        Body=b'{"prompt": "a fox"}',
    )
    document = json.loads(told["Body"].read())
    assert document["model"] == "card of v1"
    assert document["headers"]["accept"] == "image/png"
    assert document["headers"]["x-amzn-sagemaker-custom-attributes"] == "trace=1"
    assert told["ContentType"] == "application/json"
    assert told["InvokedProductionVariant"] == "AllTraffic"
    assert told["CustomAttributes"] == "from=container"


def invoke(runtime: BaseClient, target: str = "a.tar.gz", **given) -> ClientError:
    return refused(
        runtime.invoke_endpoint,
        EndpointName="atelier",
        TargetModel=target,
        Body=json.dumps(given).encode(),
    )


def test_what_the_container_refuses_is_a_model_error_with_its_answer(
    open_wire, endpoints: EndpointBench
):
    endpoints.publish("a.tar.gz")
    runtime = open_wire(endpoint=endpoints.host()).client("sagemaker-runtime")
    document = {"error": "InvalidRequest", "message": "no prompt"}
    problem = invoke(runtime, act="answer", status=400, document=document)
    assert code_of(problem) == "ModelError"
    assert problem.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert problem.response["OriginalStatusCode"] == 400
    assert json.loads(problem.response["OriginalMessage"]) == document
    assert isinstance(problem, runtime.exceptions.ModelError)


def test_an_answer_that_takes_too_long_is_a_model_error(open_wire, endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host(invoke_seconds=0.3)
    ask_in_the_end(host, "a.tar.gz")
    runtime = open_wire(endpoint=host).client("sagemaker-runtime")
    assert code_of(invoke(runtime, seconds=600)) == "ModelError"


def test_a_model_that_is_still_loading_is_not_ready(open_wire, endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a slow model")
    host = endpoints.host(invoke_seconds=0.2)
    runtime = open_wire(endpoint=host).client("sagemaker-runtime")
    problem = invoke(runtime)
    assert code_of(problem) == "ModelNotReadyException"
    assert problem.response["ResponseMetadata"]["HTTPStatusCode"] == 429


def test_a_target_model_without_artifact_is_a_validation_error(open_wire, endpoints: EndpointBench):
    runtime = open_wire(endpoint=endpoints.host()).client("sagemaker-runtime")
    assert code_of(invoke(runtime, "no.tar.gz")) == "ValidationError"


def test_an_artifact_that_does_not_unpack_is_a_model_error(open_wire, endpoints, objects):
    objects.put("artifacts/a.tar.gz", b"no archive")
    runtime = open_wire(endpoint=endpoints.host()).client("sagemaker-runtime")
    assert code_of(invoke(runtime)) == "ModelError"


def test_a_server_that_is_away_is_service_unavailable(open_wire, endpoints: EndpointBench):
    runtime = open_wire(endpoint=endpoints.idle_host(start_wait_seconds=0.01)).client(
        "sagemaker-runtime"
    )
    assert code_of(invoke(runtime)) == "ServiceUnavailable"


def test_another_endpoint_or_no_target_model_is_a_validation_error(open_wire):
    runtime = open_wire().client("sagemaker-runtime")
    for given in ({"EndpointName": "other", "TargetModel": "a"}, {"EndpointName": "atelier"}):
        assert code_of(refused(runtime.invoke_endpoint, Body=b"{}", **given)) == "ValidationError"


def test_a_body_beyond_25_megabytes_is_refused(open_wire):
    runtime = open_wire().client("sagemaker-runtime")
    body = io.BytesIO(b"x" * (25 * 1024 * 1024 + 1))
    problem = refused(runtime.invoke_endpoint, EndpointName="atelier", TargetModel="a", Body=body)
    assert code_of(problem) == "ValidationError"


def test_an_operation_that_is_not_offered_is_unknown(open_wire):
    sagemaker = open_wire().client("sagemaker")
    assert code_of(refused(sagemaker.list_models)) == "UnknownOperationException"


def test_another_access_key_is_refused_by_both_services(open_wire):
    wire = open_wire()
    sagemaker = wire.client("sagemaker", key="SOMEBODYELSE")
    problem = refused(sagemaker.describe_training_job, TrainingJobName="a")
    assert code_of(problem) == "UnrecognizedClientException"
    runtime = wire.client("sagemaker-runtime", key="SOMEBODYELSE")
    assert code_of(invoke(runtime)) == "UnrecognizedClientException"


def status_of(url: str, body: bytes, **headers: str) -> tuple[int, str]:
    answer = httpx.post(url, content=body, headers=headers, timeout=20, trust_env=False)
    return answer.status_code, answer.json()["__type"]


def test_a_foreign_host_name_is_refused(open_wire):
    assert status_of(open_wire().url, b"{}", Host="evil.example") == (403, "AccessDeniedException")


def test_a_body_that_is_no_json_object_is_refused(open_wire):
    headers = {
        "X-Amz-Target": "SageMaker.DescribeTrainingJob",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/x",
    }
    url = open_wire().url
    for body in (b"{", b"[]", b'{"a": 1, "a": 2}'):
        assert status_of(url, body, **headers) == (400, "SerializationException")
