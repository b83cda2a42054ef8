"""Whatever a definition holds, it is read or refused with its place; nothing else happens."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts.errors import InvalidRequest
from infra.local.job_definition import read_definition
from tests.local.bench import BUCKET, definition

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FULL = definition(
    InputDataConfig=[
        {
            "ChannelName": "photos",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": BUCKET + "d/"}},
        }
    ],
    Environment={"A": "b"},
    RetryStrategy={"MaximumRetryAttempts": 1},
)


def paths(value: object, above: tuple = ()) -> list[tuple]:
    """Return the path of every value inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inside:
        found.append((*above, key))
        if isinstance(item, dict | list):
            found += paths(item, (*above, key))
    return found


def replaced(value, path: tuple, new: object):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def test_a_full_definition_reads():
    read = read_definition(FULL, bucket_urls=[BUCKET])
    assert read.channels[0].prefix == "d/"
    assert read.checkpoint_prefix == "checkpoints/job-1/"
    assert read.checkpoint_path == "checkpoints"
    assert read.max_runtime_seconds == 3600


def test_the_bucket_itself_is_a_place_for_outputs():
    read = read_definition(
        definition(OutputDataConfig={"S3OutputPath": "s3://atelier"}), bucket_urls=[BUCKET]
    )
    assert read.output_prefix == ""


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(paths(FULL)), JSON)
def test_any_value_in_any_place_is_read_or_refused(path, value):
    with suppress(InvalidRequest):
        read_definition(replaced(FULL, path, value), bucket_urls=[BUCKET])


@given(st.dictionaries(st.sampled_from(sorted(FULL)) | st.text(max_size=10), JSON))
def test_any_document_is_read_or_refused(document):
    with suppress(InvalidRequest):
        read_definition(document, bucket_urls=[BUCKET])
