"""The containers' object door: files and S3 behave alike."""

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from atelier.contracts.errors import ContractBroken, ObjectMissing, ServiceUnavailable
from atelier.objects import FileObjects, S3Objects, open_objects, replace_file


@pytest.fixture(params=["files", "s3"])
def objects(request, tmp_path, monkeypatch):
    if request.param == "files":
        yield open_objects(f"file://{tmp_path}/a%20bucket/")
        return
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="atelier")
        yield open_objects("s3://atelier/inside")


def test_what_is_put_is_read_and_listed(objects):
    objects.put("control/j/h/acks/b.json", b"two")
    objects.put("control/j/h/acks/a.json", b"one")
    objects.put("control/j/h/acks/a.json", b"three")
    assert objects.read("control/j/h/acks/a.json", max_bytes=5) == b"three"
    assert objects.list("control/j/h/acks/") == [
        "control/j/h/acks/a.json",
        "control/j/h/acks/b.json",
    ]
    assert objects.list("control/j/h/messages/") == []


def test_a_folder_of_any_number_of_files_is_listed_whole(tmp_path):
    folder = tmp_path / "control/j/h/messages"
    folder.mkdir(parents=True)
    for number in range(1001):
        (folder / f"{number:04d}.json").touch()
    found = FileObjects(tmp_path).list("control/j/h/messages/")
    assert found == [f"control/j/h/messages/{number:04d}.json" for number in range(1001)]


def test_every_page_of_s3_is_listed():
    with mock_aws():
        client = boto3.client("s3", "us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
        client.create_bucket(Bucket="atelier")
        client.meta.events.register(
            "provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 2}
        )
        bucket = S3Objects("atelier", "inside/", client=client)
        names = [f"control/j/{number}.json" for number in range(5)]
        for name in names:
            bucket.put(name, b"")
        assert bucket.list("control/j/") == names


def test_what_is_missing_or_too_large_is_said(objects):
    objects.put("a/b", b"four")
    with pytest.raises(ObjectMissing):
        objects.read("a/c", max_bytes=9)
    with pytest.raises(ContractBroken, match="more than 3 bytes"):
        objects.read("a/b", max_bytes=3)


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a//b", ".hidden"])
def test_no_key_leads_out_of_the_bucket(objects, key):
    with pytest.raises(ValueError, match="object key"):
        objects.read(key, max_bytes=9)


def test_a_bucket_that_does_not_answer_is_unavailable(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    broken = FileObjects(tmp_path)
    with pytest.raises(ServiceUnavailable):
        broken.put("a/b", b"")
    with mock_aws():
        client = boto3.client("s3", "us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
        nowhere = S3Objects("no-such-bucket", "", client=client)
        for ask in (
            lambda: nowhere.read("a", max_bytes=1),
            lambda: nowhere.put("a", b""),
            lambda: nowhere.list("a/"),
        ):
            with pytest.raises(ServiceUnavailable):
                ask()


def test_a_folder_in_the_place_of_an_object_is_missing(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").write_bytes(b"")
    for key in ("a", "c/d"):
        with pytest.raises(ObjectMissing):
            FileObjects(tmp_path).read(key, max_bytes=4)


class Refusing:
    """A client of S3 that answers every GetObject with one problem."""

    def __init__(self, problem):
        self.problem = problem

    def get_object(self, **_):
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        # So S3 tells a missing object whoever may not list the bucket.
        (ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject"), ObjectMissing),
        (ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"), ServiceUnavailable),
        (EndpointConnectionError(endpoint_url="https://s3"), ServiceUnavailable),
    ],
)
def test_troubles_of_s3_are_told_in_our_errors(problem, kind):
    with pytest.raises(kind):
        S3Objects("bucket", "", client=Refusing(problem)).read("a", max_bytes=4)


@pytest.mark.parametrize(
    "address", ["", "http://x/", "file://host/x", "s3://", "s3:///x", "/plain"]
)
def test_another_address_is_refused(address):
    with pytest.raises(ValueError, match="objects at"):
        open_objects(address)


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
