"""Names: derived from their input, safe everywhere, within AWS's limits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts import ids

TEXT = st.text(max_size=30)
PEOPLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
TENANTS = st.from_regex(ids.TENANT_PATTERN, fullmatch=True)
REQUEST = "r" + "a" * 26
# docs.aws.amazon.com: StartExecution name; CreateTrainingJob TrainingJobName.
EXECUTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
TRAINING_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@given(TENANTS, PEOPLE)
def test_an_owner_is_the_same_hash_every_time_and_shows_nothing_of_the_user(tenant, user):
    owner = ids.owner_of(tenant, user)

    assert owner == ids.owner_of(tenant, user)
    assert ids.OWNER_PATTERN.fullmatch(owner)


def test_an_owner_never_changes():
    # Keys, tables and adapters hold this very text.
    assert ids.owner_of("default", "42") == "oyur6sufhxbjvpxt5e7jd7m2ijb"


def test_two_tenants_who_both_call_their_user_42_have_two_owners():
    assert ids.owner_of("acme", "42") != ids.owner_of("rival", "42")


@given(st.tuples(TENANTS, PEOPLE), st.tuples(TENANTS, PEOPLE))
def test_different_people_have_different_owners(one, other):
    assert (ids.owner_of(*one) == ids.owner_of(*other)) is (one == other)


def test_the_border_between_tenant_and_user_is_part_of_the_hash():
    assert ids.owner_of("a", "bc") != ids.owner_of("ab", "c")
    assert ids.message_id("a", "bc") != ids.message_id("ab", "c")


@pytest.mark.parametrize("tenant", ["", "A", "a_b", "-a", "a-", "a" * 64, "ä", "a b", "a\n"])
def test_a_tenants_name_is_checked_and_the_message_says_what_is_allowed(tenant):
    with pytest.raises(ValueError, match="1 to 63 of a-z, 0-9 and hyphens"):
        ids.check_tenant(tenant)


@pytest.mark.parametrize("tenant", ["a", "a-1", "a" * 63])
def test_a_tenants_name_within_the_rules_is_taken(tenant):
    assert ids.check_tenant(tenant) == tenant


@pytest.mark.parametrize("user", ["", "a\x00", "a\n", "x" * 257, "\ud800", "\u202e"])
def test_a_user_id_that_is_empty_long_or_unprintable_is_refused(user):
    with pytest.raises(ValueError, match="1 to 256 printable characters"):
        ids.check_user(user)


@pytest.mark.parametrize("user", ["42", "../../etc", "a b", "ü@ö.de", "漢字", "x" * 256])
def test_any_printable_user_id_is_taken_as_it_is(user):
    assert ids.check_user(user) == user


@pytest.mark.parametrize("model", ["", "Me", "a/b", "..", "-me", "a" * 41, "me\n"])
def test_a_models_name_is_checked_and_the_message_says_what_is_allowed(model):
    with pytest.raises(ValueError, match="1 to 40 of a-z, 0-9 and hyphens"):
        ids.check_model(model)


@given(PEOPLE, PEOPLE)
def test_an_idempotency_key_belongs_to_its_owner(key, other):
    mine, yours = ids.owner_of("acme", "1"), ids.owner_of("acme", "2")

    assert ids.REQUEST_PATTERN.fullmatch(ids.request_from_key(mine, key))
    assert ids.request_from_key(mine, key) != ids.request_from_key(yours, key)
    assert (ids.request_from_key(mine, key) == ids.request_from_key(mine, other)) is (key == other)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\n"])
def test_an_idempotency_key_that_is_empty_long_or_unprintable_is_refused(key):
    with pytest.raises(ValueError, match="1 to 255 printable characters"):
        ids.request_from_key("o", key)


@given(st.binary(max_size=50))
def test_the_same_input_is_the_same_request_and_never_that_of_a_key(body):
    request = ids.request_from_input("o", body)

    assert request == ids.request_from_input("o", body)
    assert ids.REQUEST_PATTERN.fullmatch(request)
    assert request != ids.request_from_key("o", "k" + body.hex())


@given(st.integers(1, 999_999))
def test_an_executions_name_is_one_that_step_functions_takes_and_is_read_back(attempt):
    name = ids.execution_name(REQUEST, attempt)

    assert EXECUTION_NAME.fullmatch(name)
    assert ids.split_execution_name(name) == (REQUEST, attempt)


@pytest.mark.parametrize(
    "name", ["", "by-hand", REQUEST, f"{REQUEST}-0", f"{REQUEST}-x", f"{REQUEST}--1", "r-1", "-1"]
)
def test_a_foreign_executions_name_is_none_of_ours(name):
    assert ids.split_execution_name(name) is None


def test_attempts_count_from_1():
    with pytest.raises(ValueError, match="count from 1"):
        ids.execution_name(REQUEST, 0)


@given(st.lists(st.tuples(TEXT.filter(str.isascii), st.integers(1, 99)), min_size=1, max_size=5))
def test_a_batch_is_named_by_its_members_in_any_order(members):
    batch = ids.batch_of(members)

    assert ids.BATCH_PATTERN.fullmatch(batch)
    assert batch == ids.batch_of(members[::-1])
    assert batch != ids.batch_of([*members, ("another", 1)])


def test_a_batch_of_nobody_is_none():
    with pytest.raises(ValueError, match="at least one"):
        ids.batch_of([])


@given(st.integers(1, 999_999))
def test_a_jobs_name_is_one_that_sagemaker_takes(attempt):
    name = ids.job_name(ids.batch_of([(REQUEST, 1)]), attempt)

    assert len(name) <= 63
    assert TRAINING_JOB_NAME.fullmatch(name)
    assert ids.JOB_PATTERN.fullmatch(name)


def test_a_version_shows_its_number_and_its_weights():
    digest = ids.digest_of(b"weights")

    assert ids.version_name(3, digest) == f"v3-{digest[:8]}"
    assert ids.VERSION_PATTERN.fullmatch(ids.version_name(3, digest))


@pytest.mark.parametrize(("number", "digest"), [(0, "0" * 64), (1, "0" * 63), (1, "G" * 64)])
def test_a_version_of_nothing_is_refused(number, digest):
    with pytest.raises(ValueError, match="version"):
        ids.version_name(number, digest)


def test_a_digest_is_sha_256_in_hex():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    assert ids.digest_of(b"") == empty
