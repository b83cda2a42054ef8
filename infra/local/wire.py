"""SageMaker's wire protocols in front of the local services, so that boto3 works against them.

    client("sagemaker", endpoint_url=…)           AWS JSON 1.1, POST / with X-Amz-Target
    client("sagemaker-runtime", endpoint_url=…)   REST JSON, POST /endpoints/<name>/invocations

Sources: smithy.io `aws-json-1_1-protocol`, `aws-restjson1-protocol`; the shapes are botocore's
models of sagemaker 2017-07-24 and sagemaker-runtime 2017-05-13. Signatures are not verified (only
this machine reaches the port); with `access_key` the key id in them must be that one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from atelier.contracts.container import TARGET_MODEL_HEADER
from atelier.contracts.documents import DocumentError, parse_json
from atelier.contracts.errors import (
    AdapterRejected,
    AtelierError,
    CapacityMissing,
    InvalidRequest,
    JobNameTaken,
    ModelNotReady,
    NotFound,
    QuotaExceeded,
    ServiceUnavailable,
    Throttled,
)
from infra.local.endpoint import CUSTOM_ATTRIBUTES_HEADER, EndpointHost
from infra.local.job_record import JobStatus, describe_document, seconds, summary_document
from infra.local.job_store import JobFilter
from infra.local.model_server import Answer
from infra.local.training import TrainingService

MAX_REQUEST_BYTES = 1024 * 1024
MAX_INVOCATION_BYTES = 25 * 1024 * 1024
VARIANT = "AllTraffic"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_TARGET_PREFIX = "SageMaker."
_JSON_1_1 = "application/x-amz-json-1.1"
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
_CONCURRENT_INVOCATIONS = 256

_Operation = Callable[[Mapping[str, Any]], dict[str, Any] | None]

ERROR_CODES: dict[type[AtelierError], str] = {
    Throttled: "ThrottlingException",
    QuotaExceeded: "ResourceLimitExceeded",
    CapacityMissing: "CapacityError",
    JobNameTaken: "ResourceInUse",
    NotFound: "ResourceNotFound",
    InvalidRequest: "ValidationException",
}
"""Our errors as the control plane names them. SageMaker itself tells of missing capacity later, in
a job's FailureReason; `CapacityError` is the word that it uses there."""


class _WireError(Exception):
    """An error that has no place in our tree: the protocol's own."""

    def __init__(self, code: str, message: str, *, status: int = 400, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.body = {"message": message, **more}


def build_wire(
    *,
    training: TrainingService,
    endpoint: EndpointHost,
    access_key: str | None = None,
    hosts: frozenset[str] = LOOPBACK_HOSTS,
) -> Starlette:
    """Return the ASGI app of both services.

    Args:
        training: answers `sagemaker`'s training operations.
        endpoint: answers DescribeEndpoint and InvokeEndpoint.
        access_key: the access key id that clients must sign with; None takes any.
        hosts: names under which it may be addressed, against DNS rebinding.
    """
    door = _Door(training, endpoint, access_key, hosts)
    return Starlette(
        routes=[
            Route("/", door.control, methods=["POST"]),
            Route("/endpoints/{name}/invocations", door.invocations, methods=["POST"]),
        ]
    )


class _Door:
    """Reads requests, asks the services, writes answers and errors as AWS writes them."""

    def __init__(
        self,
        training: TrainingService,
        endpoint: EndpointHost,
        access_key: str | None,
        hosts: frozenset[str],
    ) -> None:
        self._endpoint = endpoint
        self._access_key = access_key
        self._hosts = hosts
        self._numbers = itertools.count(1)
        self._invocations = anyio.CapacityLimiter(_CONCURRENT_INVOCATIONS)
        control = ControlPlane(training, endpoint)
        self._operations: dict[str, _Operation] = {
            "CreateTrainingJob": control.create_training_job,
            "DescribeTrainingJob": control.describe_training_job,
            "StopTrainingJob": control.stop_training_job,
            "ListTrainingJobs": control.list_training_jobs,
            "DescribeEndpoint": control.describe_endpoint,
        }

    async def control(self, request: Request) -> Response:
        """Answer one operation of `sagemaker`."""
        try:
            self._admit(request)
            operation = self._operation(request.headers.get("x-amz-target", ""))
            given = _parsed(await _body(request, MAX_REQUEST_BYTES))
            told = await anyio.to_thread.run_sync(operation, given)
        except AtelierError as problem:
            code = ERROR_CODES.get(type(problem), "InternalFailure")
            status = 400 if type(problem) in ERROR_CODES else 500
            return self._error(_WireError(code, problem.message, status=status), _JSON_1_1)
        except _WireError as problem:
            return self._error(problem, _JSON_1_1)
        # An operation without output answers with an empty body.
        body = b"" if told is None else JSONResponse(told).body
        return Response(body, media_type=_JSON_1_1, headers=self._request_id())

    async def invocations(self, request: Request) -> Response:
        """Answer InvokeEndpoint."""
        try:
            self._admit(request)
            self._check_endpoint(request)
            body = await _body(request, MAX_INVOCATION_BYTES)
            answer = await anyio.to_thread.run_sync(
                self._invoked, request, body, limiter=self._invocations
            )
        except AtelierError as problem:
            return self._error(_runtime_error(problem), "application/json")
        except _WireError as problem:
            return self._error(problem, "application/json")
        headers = {**self._request_id(), "x-Amzn-Invoked-Production-Variant": VARIANT}
        if attributes := answer.headers.get(CUSTOM_ATTRIBUTES_HEADER.lower()):
            headers[CUSTOM_ATTRIBUTES_HEADER] = attributes
        kind = answer.headers.get("content-type", "application/octet-stream")
        return Response(answer.body, headers={**headers, "content-type": kind})

    def _operation(self, target: str) -> _Operation:
        operation = self._operations.get(target.removeprefix(_TARGET_PREFIX))
        if operation is None or not target.startswith(_TARGET_PREFIX):
            raise _WireError("UnknownOperationException", f"no operation {target[:80]!r} here")
        return operation

    def _invoked(self, request: Request, body: bytes) -> Answer:
        answer = self._endpoint.answer(
            request.headers[TARGET_MODEL_HEADER],
            body,
            content_type=request.headers.get("content-type") or "application/json",
            accept=request.headers.get("accept") or "application/json",
            custom_attributes=request.headers.get(CUSTOM_ATTRIBUTES_HEADER),
        )
        if not answer.ok:
            raise _model_error(answer.status, answer.text)
        return answer

    def _check_endpoint(self, request: Request) -> None:
        name = request.path_params["name"]
        if name != self._endpoint.settings.name:
            raise _WireError("ValidationError", f"Endpoint {name[:80]} not found.")
        if not request.headers.get(TARGET_MODEL_HEADER):
            raise _WireError("ValidationError", "TargetModel must be given: many models live here.")
        if request.headers.get("x-amzn-sagemaker-target-variant", VARIANT) != VARIANT:
            raise _WireError("ValidationError", f"The only variant is {VARIANT}.")

    def _admit(self, request: Request) -> None:
        """Refuse foreign host names and keys."""
        try:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
        except ValueError:
            host = None
        if host not in self._hosts:
            raise _WireError("AccessDeniedException", "This host is not served here.", status=403)
        if self._access_key is None:
            return
        found = _CREDENTIAL.match(request.headers.get("authorization", ""))
        if found is None or not hmac.compare_digest(
            found.group(1).encode(), self._access_key.encode()
        ):
            raise _WireError(
                "UnrecognizedClientException",
                "The access key id is not the one that this platform printed.",
                status=403,
            )

    def _error(self, problem: _WireError, media_type: str) -> Response:
        return JSONResponse(
            {"__type": problem.code, **problem.body},
            status_code=problem.status,
            media_type=media_type,
            headers={**self._request_id(), "x-amzn-errortype": problem.code},
        )

    def _request_id(self) -> dict[str, str]:
        number = next(self._numbers)
        return {"x-amzn-requestid": f"00000000-0000-4000-8000-{number:012x}"}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The operations of `sagemaker`: documents in, documents out, errors of our tree."""

    training: TrainingService
    endpoint: EndpointHost

    def create_training_job(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """CreateTrainingJob."""
        self.training.create(given)
        return {"TrainingJobArn": self.training.job_arn(given["TrainingJobName"])}

    def describe_training_job(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """DescribeTrainingJob."""
        return describe_document(self.training.describe_record(given.get("TrainingJobName", "")))

    def stop_training_job(self, given: Mapping[str, Any]) -> None:
        """StopTrainingJob; SageMaker refuses it for a job that has ended."""
        before = self.training.stop_record(given.get("TrainingJobName", ""))
        if before.ended:
            raise InvalidRequest(
                f"The request was rejected because the training job is in status "
                f"{before.status.value}."
            )

    def list_training_jobs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """ListTrainingJobs."""
        limit = _whole(given, "MaxResults", 1, 100, default=10)
        offset = _offset(given.get("NextToken"))
        status = _text(given, "StatusEquals", tuple(JobStatus))
        wanted = JobFilter(
            name_contains=_text(given, "NameContains"),
            status=None if status is None else JobStatus(status),
            created_after=_time(given, "CreationTimeAfter"),
            created_before=_time(given, "CreationTimeBefore"),
            modified_after=_time(given, "LastModifiedTimeAfter"),
            modified_before=_time(given, "LastModifiedTimeBefore"),
            sort_by=_text(given, "SortBy", ("CreationTime", "Name", "Status")) or "CreationTime",
            descending=_text(given, "SortOrder", ("Ascending", "Descending")) != "Ascending",
        )
        found = self.training.list_records(wanted, offset=offset, limit=limit + 1)
        more = len(found) > limit
        return {
            "TrainingJobSummaries": [summary_document(record) for record in found[:limit]],
            **({"NextToken": _token(offset + limit)} if more else {}),
        }

    def describe_endpoint(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """DescribeEndpoint; missing, it is a validation error, as SageMaker has it."""
        name = given.get("EndpointName")
        if name != self.endpoint.settings.name:
            raise InvalidRequest(
                f"Could not find endpoint {str(name)[:80]!r}.", where="EndpointName"
            )
        state = self.endpoint.state()
        began = state.in_service or state.restarts > 0
        job_arn = self.training.job_arn("x")
        return {
            "EndpointName": name,
            "EndpointArn": job_arn.removesuffix("training-job/x") + f"endpoint/{name}",
            "EndpointConfigName": name,
            "ProductionVariants": [
                {
                    "VariantName": VARIANT,
                    "CurrentWeight": 1.0,
                    "DesiredWeight": 1.0,
                    "CurrentInstanceCount": int(state.in_service),
                    "DesiredInstanceCount": 1,
                }
            ],
            "EndpointStatus": "InService" if began else "Creating",
            "CreationTime": seconds(state.since),
            "LastModifiedTime": seconds(state.since),
        }


def _runtime_error(problem: AtelierError) -> _WireError:
    """Return the runtime's error for what keeps the endpoint from answering."""
    if isinstance(problem, ModelNotReady):
        return _WireError("ModelNotReadyException", problem.message, status=429)
    if isinstance(problem, NotFound):
        return _WireError("ValidationError", problem.message)
    if isinstance(problem, AdapterRejected):
        return _model_error(400, problem.message)
    if isinstance(problem, ServiceUnavailable):
        if problem.facts.get("timed_out"):
            return _model_error(0, problem.message)
        return _WireError("ServiceUnavailable", problem.message, status=503)
    return _WireError("InternalFailure", problem.message, status=500)


def _model_error(status: int, text: str) -> _WireError:
    """Return ModelError: the container's own answer inside a 424."""
    return _WireError(
        "ModelError",
        f"Received client error ({status}) from primary with message {text[:1000]!r}",
        status=424,
        OriginalStatusCode=status,
        OriginalMessage=text,
        LogStreamArn="",
    )


async def _body(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most_bytes:
                raise _WireError("ValidationError", f"the body has more than {most_bytes:,} bytes")
    except ClientDisconnect as problem:
        raise _WireError("ValidationError", "the body ended before it was whole") from problem
    return bytes(body)


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        given = parse_json(body or b"{}")
    except DocumentError as problem:
        raise _WireError("SerializationException", str(problem)) from problem
    if not isinstance(given, Mapping):
        raise _WireError("SerializationException", "the body is no JSON object")
    return given


def _time(given: Mapping[str, Any], field: str) -> datetime | None:
    value = given.get(field)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as problem:
        raise InvalidRequest(f"{field}: {value!r} is no time", where=field) from problem


def _text(given: Mapping[str, Any], field: str, allowed: tuple[str, ...] = ()) -> str | None:
    value = given.get(field)
    if value is not None and (not isinstance(value, str) or (allowed and value not in allowed)):
        raise InvalidRequest(f"{field}: {value!r:.80}", where=field, allowed=list(allowed))
    return value


def _whole(given: Mapping[str, Any], field: str, least: int, most: int, *, default: int) -> int:
    value = given.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidRequest(f"{field}: {value!r}; {least} to {most} are allowed", where=field)
    return value


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()


def _offset(token: object) -> int:
    if token is None:
        return 0
    try:
        offset = int(base64.urlsafe_b64decode(str(token)))
    except (ValueError, binascii.Error) as problem:
        raise InvalidRequest("NextToken: not one of ours", where="NextToken") from problem
    if not 0 <= offset < 2**31:
        raise InvalidRequest("NextToken: not one of ours", where="NextToken")
    return offset
