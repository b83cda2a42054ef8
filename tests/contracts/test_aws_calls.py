"""What only AWS's side has: its errors become the tree's, its forms are S3's own."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from atelier.contracts.clock import ManualClock
from atelier.contracts.errors import (
    ContractBroken,
    LedgerContention,
    ObjectExists,
    ServiceUnavailable,
    Throttled,
)
from tasks.aws.calls import translated
from tasks.aws.dynamo import TURNS, Conflict, Dynamo, put, until_written
from tasks.aws.objects import S3Objects, s3_client
from tasks.aws.tables import QUEUE_SHARDS, Tables, queue_shard
from tests.contracts.people import NOON, request_record
from tests.contracts.platforms import AWS


def answer(code, status=400, **more):
    response = {"Error": {"Code": code, "Message": "said"}, **more}
    return ClientError(response | {"ResponseMetadata": {"HTTPStatusCode": status}}, "Call")


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (answer("ProvisionedThroughputExceededException"), Throttled),
        (answer("ThrottlingException"), Throttled),
        (answer("SlowDown", 503), Throttled),
        (answer("TooManyRequests", 429), Throttled),
        (answer("InternalServerError", 500), ServiceUnavailable),
        (answer("ServiceUnavailable", 503), ServiceUnavailable),
        (EndpointConnectionError(endpoint_url="https://x"), ServiceUnavailable),
        (NoCredentialsError(), ServiceUnavailable),
        (answer("ResourceNotFoundException"), ContractBroken),
        (answer("AccessDeniedException", 403), ContractBroken),
        (answer("ValidationException"), ContractBroken),
    ],
    ids=str,
)
def test_an_error_that_nobody_expected_is_one_of_the_tree(problem, kind):
    with pytest.raises(kind) as caught, translated("DynamoDB"):
        raise problem

    assert caught.value.message.startswith("DynamoDB: ")
    assert caught.value.__cause__ is problem


class Saying:
    """A client whose every call answers with one error."""

    def __init__(self, problem):
        self.problem = problem

    def __getattr__(self, name):
        def call(**_):
            raise self.problem

        return call


def writes(count):
    return [put("t", {"item": str(n)}, replacing=None) for n in range(count)]


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (answer("TransactionCanceledException", CancellationReasons=[
            {"Code": "None"}, {"Code": "ConditionalCheckFailed"}]), Conflict),
        (answer("TransactionCanceledException", CancellationReasons=[
            {"Code": "TransactionConflict"}, {"Code": "None"}]), Conflict),
        (answer("TransactionInProgressException"), Conflict),
        (answer("TransactionCanceledException", CancellationReasons=[
            {"Code": "None"}, {"Code": "ValidationError"}]), ContractBroken),
        (answer("ThrottlingException"), Throttled),
    ],
    ids=["condition", "conflict", "in progress", "validation", "throttled"],
)  # fmt: skip
def test_a_transaction_that_lost_a_race_is_told_from_one_that_is_wrong(problem, kind):
    with pytest.raises(kind):
        Dynamo(Saying(problem)).write(*writes(2))


@pytest.mark.parametrize(
    "code", ["ConditionalCheckFailedException", "TransactionConflictException"]
)
def test_a_single_write_that_lost_a_race_is_decided_anew_and_at_last_told(code):
    dynamo, turns = Dynamo(Saying(answer(code))), []

    def turn():
        turns.append(1)
        dynamo.write(*writes(1))

    with pytest.raises(LedgerContention):
        until_written("item", turn)

    assert len(turns) == TURNS


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (answer("PreconditionFailed", 412), ObjectExists),
        (answer("ConditionalRequestConflict", 409), ServiceUnavailable),
        (answer("AccessDenied", 403), ContractBroken),
    ],
    ids=str,
)
def test_a_write_once_that_another_won_is_told_from_one_under_way(problem, kind):
    objects = S3Objects(Saying(problem), bucket="b", clock=ManualClock())

    with pytest.raises(kind):
        objects.put("artifacts/v1", b"x", if_absent=True)


def test_a_form_bounds_key_type_and_size_in_s3s_own_policy():
    objects = S3Objects(s3_client(AWS), bucket="atelier", clock=ManualClock(start=NOON))

    form = objects.upload_form(
        "uploads/a/b/1.jpg",
        content_type="image/jpeg",
        max_bytes=9,
        expires_at=NOON + timedelta(hours=1),
    )

    conditions = json.loads(base64.b64decode(form.fields["policy"]))["conditions"]
    assert ["content-length-range", 1, 9] in conditions
    assert {"key": "uploads/a/b/1.jpg"} in conditions
    assert {"Content-Type": "image/jpeg"} in conditions
    named = {key for c in conditions if isinstance(c, dict) for key in c}
    assert set(form.fields) - {"policy", "x-amz-signature"} <= named


def test_the_queue_is_spread_over_its_shards():
    shards = {queue_shard(request_record(str(n)).request) for n in range(200)}

    assert shards == {str(n) for n in range(QUEUE_SHARDS)}


def test_every_index_holds_keys_only_and_every_table_is_paid_by_use():
    for table in Tables().definitions():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        for index in table["GlobalSecondaryIndexes"]:
            assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}
