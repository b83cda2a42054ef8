"""The onboarding request: small inputs, defaults, ids that derive from them, helpful refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atelier.contracts import ids
from atelier.contracts.base_models import BASE_MODELS
from atelier.contracts.consent import TEXT_VERSION, Consent
from atelier.contracts.errors import IdempotencyConflict, InvalidRequest
from atelier.contracts.request import (
    DEFAULT_DEADLINE_SECONDS,
    MACHINE_FIELDS,
    MAX_SAMPLES,
    OnboardingRequest,
    SamplePrompt,
    normalise,
    read_input,
)
from atelier.contracts.settings import PresetName
from tests.contract_documents.drawing import plain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = {"user_id": "42", "photos": "uploads/o/m/"}


def ask(**given) -> OnboardingRequest:
    return normalise(read_input(SMALL | given), now=NOW)


# defaults


def test_the_smallest_input_is_complete():
    asked = ask()

    assert (asked.tenant, asked.user, asked.model, asked.base) == ("default", "42", "me", "tiny")
    assert asked.owner == ids.owner_of("default", "42")
    assert asked.preset is PresetName.FAST
    assert asked.hyperparameters == BASE_MODELS["tiny"].presets[PresetName.FAST]
    assert asked.trigger == BASE_MODELS["tiny"].trigger
    assert asked.consent == Consent("operator", NOW, TEXT_VERSION)
    assert asked.deadline == NOW + timedelta(seconds=DEFAULT_DEADLINE_SECONDS)
    assert (asked.samples, asked.new_version, asked.priority) == ((), False, 0)


def test_a_number_as_user_id_is_what_people_type_in_the_console():
    assert ask(user_id=42) == ask(user_id="42")


@pytest.mark.parametrize("user", [True, 4.2, None, [42], {"id": 42}], ids=repr)
def test_a_user_id_of_another_type_is_refused(user):
    with pytest.raises(InvalidRequest) as caught:
        ask(user_id=user)

    assert caught.value.facts["where"] == "user_id"


def test_fields_of_the_state_machine_are_not_the_requests():
    machine = dict.fromkeys(MACHINE_FIELDS, "anything")

    assert normalise(read_input(SMALL | machine), now=NOW) == ask()


def test_an_instance_prompt_names_the_subject_by_its_trigger_word():
    assert ask(trigger="sks", subject="dog").instance_prompt == "a photo of sks dog"


def test_a_request_reads_back_from_its_own_document():
    asked = ask(
        samples=[{"prompt": "zorp on the moon"}],
        consent={"given_by": "user", "given_at": "2026-01-01T00:00:00Z"},
    )

    assert OnboardingRequest.from_json(asked.to_json()) == asked
    assert asked.samples == (SamplePrompt("zorp on the moon"),)


# hyperparameters


def test_single_hyperparameters_change_and_the_preset_gives_the_rest():
    changed = ask(preset="nano", hyperparameters={"steps": 9, "learning_rate": 0.05})

    nano = BASE_MODELS["tiny"].presets[PresetName.NANO]
    assert changed.hyperparameters == replace(nano, steps=9, learning_rate=0.05)


def test_alpha_follows_a_changed_rank_unless_it_is_given():
    assert ask(hyperparameters={"rank": 4}).hyperparameters.alpha == 4.0
    assert ask(hyperparameters={"rank": 4, "alpha": 8}).hyperparameters.scale == 2.0


@pytest.mark.parametrize(
    ("hyperparameters", "where"),
    [
        ({"step": 9}, "hyperparameters"),
        ({"steps": 0}, "hyperparameters"),
        ({"resolution": 136}, "hyperparameters"),
        ({"steps": "many"}, "hyperparameters.steps"),
        ({"rank": None}, "hyperparameters.rank"),
        ({"rank": "x"}, "hyperparameters.rank"),
        ({"targets": "everything"}, "hyperparameters.targets"),
        ([], "hyperparameters"),
    ],
)
def test_a_wrong_hyperparameter_is_named(hyperparameters, where):
    with pytest.raises(InvalidRequest) as caught:
        ask(hyperparameters=hyperparameters)

    assert caught.value.facts["where"] == where


# ids


def test_the_same_input_is_the_same_request_whenever_it_comes():
    later = normalise(read_input(SMALL), now=NOW + timedelta(days=3))

    assert later.request == ask().request
    assert later.created_at != ask().created_at


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "43"},
        {"tenant": "acme"},
        {"model": "pet"},
        {"photos": "uploads/o/n/"},
        {"seed": 1},
        {"preset": "nano"},
        {"hyperparameters": {"steps": 9}},
        {"samples": [{"prompt": "x"}]},
        {"new_version": True},
    ],
    ids=str,
)
def test_another_input_is_another_request(change):
    assert ask(**change).request != ask().request


def test_who_recorded_consent_makes_no_other_request():
    consent = {"given_by": "user", "given_at": "2026-01-01T00:00:00Z"}

    assert ask(consent=consent).request == ask().request


def test_an_idempotency_key_is_the_request_whatever_else_it_says():
    assert ask(idempotency_key="k").request == ask(idempotency_key="k", seed=5).request
    assert ask(idempotency_key="k").request != ask().request
    assert ask(idempotency_key="k").request != ask(idempotency_key="k", user_id="43").request


# refusals


@pytest.mark.parametrize("given", [None, [], "user_id=42", 42, True], ids=repr)
def test_an_input_that_is_no_object_is_shown_the_smallest_one(given):
    with pytest.raises(InvalidRequest) as caught:
        read_input(given)

    assert '{"user_id": "42"' in caught.value.message


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"user_id": ""}, "user_id", "1 to 256"),
        ({"user_id": "a\n"}, "user_id", "printable"),
        ({"tenant": "A"}, "tenant", "a-z"),
        ({"model": "My Model"}, "model", "1 to 40"),
        ({"photos": "uploads/o/m"}, "photos", "must end with /"),
        ({"photos": "../../etc/"}, "photos", "object key"),
        ({"photos": 5}, "photos", "expected text"),
        ({"base": "gpt"}, "base", "registry"),
        ({"preset": "best"}, "preset", "nano"),
        ({"idempotency_key": ""}, "idempotency_key", "1 to 255"),
        ({"deadline_seconds": 59}, "deadline_seconds", "60 to 604800"),
        ({"deadline_seconds": 10**6}, "deadline_seconds", "60 to 604800"),
        ({"priority": 10}, "priority", "0 to 9"),
        ({"seed": -1}, "seed", "2**63"),
        ({"subject": ""}, "subject", "1 to 40"),
        ({"trigger": "x\n"}, "trigger", "printable"),
        ({"samples": [{"prompt": " "}]}, "samples[0]", "prompt is empty"),
        ({"samples": [{"prompt": "x", "guidance": 99}]}, "samples[0]", "1 to 30"),
        ({"samples": [{"prompt": "x"}] * (MAX_SAMPLES + 1)}, "samples", "at most 16"),
        ({"consent": {"given_by": "", "given_at": "2026-01-01T00:00:00Z"}}, "consent", "who"),
        ({"consent": {"given_by": "me", "given_at": "today"}}, "consent.given_at", "today"),
        ({"photo": "x"}, "$", "unknown fields ['photo']"),
    ],
)
def test_a_wrong_field_is_refused_with_its_name_and_what_is_allowed(change, where, said):
    with pytest.raises(InvalidRequest) as caught:
        ask(**change)

    assert caught.value.facts["where"] == where
    assert said in caught.value.message
    assert caught.value.do


def test_a_missing_field_is_named():
    with pytest.raises(InvalidRequest) as caught:
        read_input({"user_id": "42"})

    assert caught.value.facts["where"] == "photos"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "user_id",
                "photos",
                "tenant",
                "model",
                "base",
                "preset",
                "hyperparameters",
                "samples",
                "seed",
                "consent",
                "deadline_seconds",
                "priority",
                "trigger",
                "idempotency_key",
            ]
        ),
        plain | st.sampled_from([10**400, "\ud800", {"rank": {}}, [{"prompt": "x", "seed": -1}]]),
    )
)
def test_any_console_input_is_a_request_or_refused_as_invalid(given):
    try:
        asked = normalise(read_input(SMALL | given), now=NOW)
    except InvalidRequest as problem:
        assert problem.facts["where"]  # noqa: PT017 - both outcomes are right
        return
    assert OnboardingRequest.from_json(asked.to_json()) == asked


# the document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"owner": ids.owner_of("default", "43")}, "hash of tenant and user"),
        ({"request": "r1"}, "request id"),
        ({"deadline": NOW}, "deadline"),
        ({"photos": "/"}, "object key"),
    ],
    ids=str,
)
def test_a_request_that_contradicts_itself_is_none(change, said):
    with pytest.raises(ValueError, match=said):
        replace(ask(), **change)


def test_the_same_wish_asked_again_later_is_the_same():
    later = normalise(read_input(SMALL), now=NOW + timedelta(hours=1))

    ask().check_same(later)


@pytest.mark.parametrize("change", [{"seed": 1}, {"model": "other"}, {"preset": "nano"}])
def test_another_wish_under_the_same_key_is_a_conflict(change):
    first = ask(idempotency_key="k")

    with pytest.raises(IdempotencyConflict) as caught:
        first.check_same(ask(idempotency_key="k", **change))

    assert caught.value.facts == {"request": first.request}
