"""The endpoint: a target model's own answer, or an error that says what to do."""

from __future__ import annotations

import json

import pytest

from atelier.contracts.errors import (
    ModelNotReady,
    NotFound,
    ServiceUnavailable,
    Throttled,
)
from tests.contracts.stages.endpoints import (
    ENDPOINTS,
    ENDPOINTS_DOWN,
    LOADING_ENDPOINTS,
    RETRY_AFTER_SECONDS,
    STATUSES,
    invoked_in_the_end,
)


@pytest.fixture(scope="module", params=sorted(ENDPOINTS))
def stage(request, tmp_path_factory):
    with ENDPOINTS[request.param](tmp_path_factory.mktemp("endpoint")) as stage:
        yield stage


def test_an_invocation_returns_what_the_model_answers(stage):
    body = stage.answering({"images": ["é", 1]})

    assert json.loads(stage.port.invoke(stage.published(), body)) == {"images": ["é", 1]}


def test_content_types_are_named_by_who_invokes(stage):
    body = stage.answering({"images": []})
    answer = stage.port.invoke(
        stage.published(), body, content_type="application/json", accept="application/json"
    )

    assert json.loads(answer) == {"images": []}


@pytest.mark.parametrize("kind", list(STATUSES))
def test_a_refusal_of_the_container_keeps_its_words_and_the_next_invocation_is_answered(
    stage, kind
):
    target, body = stage.published(), stage.refusing(kind, "not so many at once")

    with pytest.raises(kind, match="not so many at once"):
        stage.port.invoke(target, body)
    assert json.loads(stage.port.invoke(target, stage.answering({"images": []}))) == {"images": []}


def test_whoever_asks_too_much_is_told_when_to_come_back(stage):
    target, body = stage.published(), stage.refusing(Throttled, "busy")

    with pytest.raises(Throttled) as caught:
        stage.port.invoke(target, body)
    assert caught.value.facts["retry_after_seconds"] == RETRY_AFTER_SECONDS


def test_a_target_model_without_an_artifact_is_not_found(stage):
    with pytest.raises(NotFound):
        stage.port.invoke(stage.absent(), b"{}")


@pytest.mark.parametrize("platform", sorted(LOADING_ENDPOINTS))
def test_a_model_that_loads_too_long_is_not_ready_and_goes_on_loading(platform, tmp_path):
    with LOADING_ENDPOINTS[platform](tmp_path) as stage:
        body = stage.answering({"images": []})
        with pytest.raises(ModelNotReady):
            stage.port.invoke("person.tar.gz", body)

        answer = invoked_in_the_end(stage, "person.tar.gz", body)
        assert json.loads(answer) == {"images": []}


@pytest.mark.parametrize("platform", sorted(ENDPOINTS_DOWN))
def test_an_endpoint_that_is_not_there_now_is_unavailable(platform, tmp_path):
    with ENDPOINTS_DOWN[platform](tmp_path) as stage:
        target, body = stage.published(), stage.answering({"images": []})

        with pytest.raises(ServiceUnavailable):
            stage.port.invoke(target, body)
