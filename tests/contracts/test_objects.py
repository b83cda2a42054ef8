"""The bucket: whole objects, atomic writes, strong reads, flat sorted keys."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atelier.contracts.errors import ContractBroken, InvalidRequest, ObjectExists, ObjectMissing
from tests.contracts.races import together

SEGMENT = st.text("abAB01._=-", min_size=1, max_size=4).filter(lambda s: s[0] not in ".=-")
FOREIGN_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "../secret",
    "uploads/../../secret",
    "uploads/./x",
    "uploads//x",
    "uploads/x/",
    ".hidden",
    "uploads/.writing/x",
    "uploads/a b",
    "uploads/a\x00b",
    "uploads/a\nb",
    "uploads/ü",
    "uploads\\x",
    "a" * 600,
]


# put and read


@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 500], ids=["empty", "1", "large"])
def test_what_was_put_is_read(objects, body):
    objects.put("uploads/a/b/photo.jpg", body, content_type="image/jpeg")

    assert objects.read("uploads/a/b/photo.jpg") == body


def test_a_second_put_replaces_the_whole_object(objects):
    objects.put("records/x", b"the first and longer body")
    objects.put("records/x", b"second")

    assert objects.read("records/x") == b"second"
    assert objects.info("records/x").bytes == 6


def test_reading_what_is_not_there_raises_object_missing(objects):
    objects.put("uploads/a/photo", b"x")

    for key in ("uploads/a/other", "uploads/a", "elsewhere/x", "uploads/a/photo/below"):
        with pytest.raises(ObjectMissing) as caught:
            objects.read(key)
        assert caught.value.facts == {"key": key}


def test_an_object_beyond_the_readers_limit_is_not_read(objects):
    objects.put("records/x", b"12345")

    assert objects.read("records/x", max_bytes=5) == b"12345"
    with pytest.raises(ContractBroken) as caught:
        objects.read("records/x", max_bytes=4)
    assert (caught.value.facts["found"], caught.value.facts["allowed"]) == (5, 4)


def test_a_write_once_object_is_written_once(objects):
    objects.put("artifacts/v1", b"first", if_absent=True)

    for body in (b"second", b"first"):
        with pytest.raises(ObjectExists) as caught:
            objects.put("artifacts/v1", body, if_absent=True)
        assert caught.value.facts == {"key": "artifacts/v1"}
    assert objects.read("artifacts/v1") == b"first"


def test_a_deleted_write_once_object_may_be_written_again(objects):
    objects.put("artifacts/v1", b"first", if_absent=True)
    objects.delete("artifacts/v1")

    objects.put("artifacts/v1", b"second", if_absent=True)

    assert objects.read("artifacts/v1") == b"second"


@pytest.mark.parametrize("key", FOREIGN_KEYS, ids=repr)
def test_a_key_that_is_none_of_ours_is_refused_at_the_door(objects, clock, key):
    calls = [
        lambda: objects.put(key, b"x"),
        lambda: objects.read(key),
        lambda: objects.info(key),
        lambda: objects.delete(key),
        lambda: objects.upload_form(
            key,
            content_type="image/png",
            max_bytes=9,
            expires_at=clock.now() + timedelta(hours=1),
        ),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest):
            call()


# info


def test_info_tells_size_etag_and_time_without_the_body(objects, clock):
    put = objects.put("records/x", b"hello")

    info = objects.info("records/x")

    assert info == put
    assert (info.key, info.bytes) == ("records/x", 5)
    assert info.etag == f'"{hashlib.md5(b"hello", usedforsecurity=False).hexdigest()}"'
    assert info.modified_at.utcoffset() == timedelta(0)


def test_info_of_what_is_not_there_is_none(objects):
    objects.put("records/x/y", b"x")

    assert objects.info("records/x") is None
    assert objects.info("records/x/z") is None
    assert objects.info("elsewhere/x") is None


def test_the_etag_follows_the_body(objects):
    first = objects.put("records/x", b"12345")
    second = objects.put("records/x", b"54321")

    assert first.etag != second.etag
    assert objects.info("records/x").etag == second.etag
    assert objects.list("records/")[0].etag == second.etag


# list


def keys(found):
    return [info.key for info in found]


def test_a_list_is_sorted_by_key_as_bytes(objects):
    names = ["b", "a/z", "a-b", "a.b", "a0", "aZ", "a_b", "A", "a/a/a"]
    for name in names:
        objects.put(f"records/{name}", name.encode())

    assert keys(objects.list("records/")) == sorted(f"records/{name}" for name in names)


def test_a_list_tells_what_info_tells(objects):
    objects.put("records/a", b"1")
    objects.put("records/b/c", b"22")

    assert [objects.info(info.key) for info in objects.list("records/")] == list(
        objects.list("records/")
    )


def test_a_prefix_is_the_beginning_of_a_key_not_a_folder(objects):
    for key in ("jobs/a1/x", "jobs/a2", "jobs/b", "jobsite/x"):
        objects.put(key, b"x")

    assert keys(objects.list("jobs/a")) == ["jobs/a1/x", "jobs/a2"]
    assert keys(objects.list("jobs")) == ["jobs/a1/x", "jobs/a2", "jobs/b", "jobsite/x"]
    assert keys(objects.list("jobs/a1/")) == ["jobs/a1/x"]
    assert keys(objects.list("")) == ["jobs/a1/x", "jobs/a2", "jobs/b", "jobsite/x"]
    assert objects.list("jobs/c") == []
    assert objects.list("nothing/here/") == []


def test_a_list_goes_on_after_any_key_whether_it_is_there_or_not(objects):
    for key in ("r/a/1", "r/a/2", "r/b", "r/c/1"):
        objects.put(key, b"x")

    assert keys(objects.list("r/", after="r/a/1")) == ["r/a/2", "r/b", "r/c/1"]
    assert keys(objects.list("r/", after="r/a/10")) == ["r/a/2", "r/b", "r/c/1"]
    assert keys(objects.list("r/", after="r/b")) == ["r/c/1"]
    assert keys(objects.list("r/", after="a")) == ["r/a/1", "r/a/2", "r/b", "r/c/1"]
    assert objects.list("r/", after="r/c/1") == []
    assert objects.list("r/", after="s") == []


def test_pages_of_a_list_hold_everything_once(objects):
    put = [f"r/{n % 7}/{n}" for n in range(25)]
    for key in put:
        objects.put(key, b"x")

    seen, after = [], ""
    while page := objects.list("r/", after=after, limit=4):
        assert len(page) <= 4
        seen += keys(page)
        after = seen[-1]

    assert seen == sorted(put)


@pytest.mark.parametrize("prefix", ["../", "/", "a//", "./", "a/../", ".writing/"])
def test_a_prefix_that_leads_out_of_the_bucket_lists_nothing(objects, prefix):
    objects.put("records/x", b"x")

    with pytest.raises(InvalidRequest):
        objects.list(prefix)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    tree=st.lists(st.lists(SEGMENT, min_size=1, max_size=3), min_size=1, max_size=8),
    prefix=st.lists(SEGMENT, max_size=2),
    after=st.lists(SEGMENT, max_size=3),
    limit=st.integers(1, 9),
)
def test_a_list_is_what_sorting_and_cutting_all_keys_gives(objects, tree, prefix, after, limit):
    # The last name is longer than any folder's: no object is another's folder, as with our keys.
    put = {"/".join(["bucket", *path, "object"]) for path in tree}
    for key in put:
        objects.put(key, b"x")
    start, past = "bucket/" + "/".join(prefix), "bucket/" + "/".join(after)

    found = keys(objects.list(start, after=past, limit=limit))

    assert found == sorted(k for k in put if k.startswith(start) and k > past)[:limit]
    for key in put:
        objects.delete(key)


# delete


def test_a_deleted_object_is_gone(objects):
    objects.put("r/a/x", b"x")
    objects.put("r/a/y", b"y")

    objects.delete("r/a/x")

    assert objects.info("r/a/x") is None
    assert keys(objects.list("r/")) == ["r/a/y"]


def test_deleting_what_is_not_there_changes_nothing(objects):
    objects.put("r/a/x", b"x")

    for key in ("r/a/z", "r/a", "r/a/x/y", "elsewhere/x"):
        objects.delete(key)

    assert keys(objects.list("")) == ["r/a/x"]


# races


def test_exactly_one_of_many_writers_writes_a_write_once_object(objects):
    def write(number):
        try:
            objects.put("artifacts/v1", f"{number}".encode() * 1000, if_absent=True)
        except ObjectExists:
            return None
        return number

    (winner,) = [number for number in together(8, write) if number is not None]

    assert objects.read("artifacts/v1") == f"{winner}".encode() * 1000


def test_a_reader_sees_whole_objects_only(objects):
    bodies = [bytes([n]) * 50_000 for n in range(4)]
    objects.put("r/x", bodies[0])

    def work(number):
        if number < 4:
            for _ in range(10):
                objects.put("r/x", bodies[number])
            return set()
        return {objects.read("r/x") for _ in range(40)}

    seen = set().union(*together(8, work))

    assert seen <= set(bodies)


def test_writers_and_deleters_in_one_folder_leave_nothing_half_done(objects):
    def work(number):
        for turn in range(15):
            objects.put(f"r/deep/er/{number}", f"{turn}".encode())
            objects.list("r/")
            objects.delete(f"r/deep/er/{number}")
        objects.put(f"r/deep/er/{number}", b"last")

    together(6, work)

    assert keys(objects.list("r/")) == [f"r/deep/er/{n}" for n in range(6)]
    assert {objects.read(f"r/deep/er/{n}") for n in range(6)} == {b"last"}


# upload forms


def test_an_upload_form_names_its_key_and_type_and_end(objects, clock):
    end = clock.now() + timedelta(hours=1)

    form = objects.upload_form(
        "uploads/a/b/1.jpg", content_type="image/jpeg", max_bytes=9, expires_at=end
    )

    fields = {name.lower(): value for name, value in form.fields.items()}
    assert form.url.startswith("http")
    assert form.expires_at == end
    assert (fields["key"], fields["content-type"]) == ("uploads/a/b/1.jpg", "image/jpeg")
    assert "policy" in fields
