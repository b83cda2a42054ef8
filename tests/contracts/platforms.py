"""The platforms under contract, by name: how each opens a ledger and a bucket for one test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto import mock_aws

from atelier.contracts.clock import Clock
from infra.local.ledger import SqliteLedger
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks.aws.ledger import DynamoLedger
from tasks.aws.objects import S3Objects, s3_client
from tasks.aws.tables import Tables
from tasks.ports import Ledger, Objects

SECRET = b"a secret of the tests, 32 bytes."
AWS = boto3.Session(
    region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
)
UPLOAD_URL = "http://127.0.0.1:8080/v1/uploads/files"


@contextmanager
def local_ledger(folder: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = SqliteLedger(folder / "ledger.sqlite3", clock=clock)
    yield ledger
    ledger.close()


@contextmanager
def local_objects(folder: Path, clock: Clock) -> Iterator[Objects]:
    yield FileObjects(
        folder / "objects", clock=clock, sign=hmac_signer(SECRET), upload_url=UPLOAD_URL
    )


@contextmanager
def aws_ledger(_folder: Path, clock: Clock) -> Iterator[Ledger]:
    with mock_aws():
        client = AWS.client("dynamodb")
        tables = Tables()
        for definition in tables.definitions():
            client.create_table(**definition)
        yield DynamoLedger(OneCallAtATime(client), clock=clock, tables=tables)


@contextmanager
def aws_objects(_folder: Path, clock: Clock) -> Iterator[Objects]:
    with mock_aws():
        client = s3_client(AWS)
        client.create_bucket(Bucket="atelier")
        yield S3Objects(OneCallAtATime(client), bucket="atelier", clock=clock)


class OneCallAtATime:
    """A client whose calls are atomic, as the services' are and the emulator's are not."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def locked(*given: Any, **named: Any) -> Any:
            with self._lock:
                return call(*given, **named)

        return locked


LEDGERS: Mapping[str, Callable[[Path, Clock], AbstractContextManager[Ledger]]] = {
    "aws": aws_ledger,
    "local": local_ledger,
}
OBJECTS: Mapping[str, Callable[[Path, Clock], AbstractContextManager[Objects]]] = {
    "aws": aws_objects,
    "local": local_objects,
}
