from collections.abc import Iterator
from pathlib import Path

import pytest

from atelier.contracts.clock import SystemClock
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks.ports import Objects
from tests.local.bench import TrainingBench
from tests.local.endpoint_bench import EndpointBench


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return FileObjects(
        tmp_path / "objects",
        clock=SystemClock(),
        sign=hmac_signer(b"a secret of the tests, 32 bytes."),
        upload_url="http://127.0.0.1/",
    )


@pytest.fixture
def bench(tmp_path: Path, objects: Objects) -> Iterator[TrainingBench]:
    bench = TrainingBench(tmp_path, objects)
    yield bench
    for service in bench.services:
        service.close()


@pytest.fixture
def endpoints(tmp_path: Path, objects: Objects) -> Iterator[EndpointBench]:
    bench = EndpointBench(tmp_path, objects)
    yield bench
    bench.close()
