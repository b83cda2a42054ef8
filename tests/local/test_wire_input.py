"""Whatever a request to the control plane holds, the answer is a document or an error of ours."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts.clock import SystemClock
from atelier.contracts.errors import InvalidRequest, NotFound
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from infra.local.wire import ControlPlane
from tests.local.bench import TrainingBench
from tests.local.endpoint_bench import EndpointBench

OPERATIONS = (
    ControlPlane.create_training_job,
    ControlPlane.describe_training_job,
    ControlPlane.stop_training_job,
    ControlPlane.list_training_jobs,
    ControlPlane.describe_endpoint,
)
FIELDS = (
    "TrainingJobName",
    "EndpointName",
    "NextToken",
    "MaxResults",
    "NameContains",
    "StatusEquals",
    "SortBy",
    "SortOrder",
    "CreationTimeAfter",
    "LastModifiedTimeBefore",
    "ResourceConfig",
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["MA==", "LTE=", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "Name", "Completed"])
)
VALUES = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=3), PLAIN)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder: Path = tmp_path_factory.mktemp("plane")
    objects = FileObjects(
        folder / "objects", clock=SystemClock(), sign=hmac_signer(b"x" * 32), upload_url="http://x/"
    )
    training = TrainingBench(folder, objects).service()
    endpoint = EndpointBench(folder, objects).idle_host()
    yield ControlPlane(training, endpoint)
    training.close()
    endpoint.close()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(OPERATIONS), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_any_request_is_answered_or_refused(plane: ControlPlane, operation, document):
    with suppress(InvalidRequest, NotFound):
        operation(plane, document)
