"""The platform's half of the multi-model contract, against a server that keeps the other half."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from atelier.contracts.errors import (
    AdapterRejected,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    ServiceUnavailable,
    Throttled,
)
from infra.local.model_disk import ModelDisk
from tests.local.disks import small_disk
from tests.local.endpoint_bench import QUICK_SERVER, EndpointBench, ask, ask_in_the_end, wait


def test_the_first_invocation_downloads_loads_and_invokes(endpoints: EndpointBench):
    endpoints.publish("tiny/o/m/v1.tar.gz", "card of v1")
    host = endpoints.host()
    told = ask(host, "tiny/o/m/v1.tar.gz", prompt="a fox")
    assert told["model"] == "card of v1"
    assert json.loads(told["body"]) == {"prompt": "a fox"}


def test_the_container_knows_an_opaque_name_and_is_told_the_target_model(endpoints: EndpointBench):
    endpoints.publish("tiny/o/m/v1.tar.gz")
    host = endpoints.host()
    told = ask(host, "tiny/o/m/v1.tar.gz")
    assert told["name"].isalnum()
    assert told["headers"]["x-amzn-sagemaker-target-model"] == "tiny/o/m/v1.tar.gz"
    assert told["headers"]["content-type"] == "application/json"
    assert told["environment"]["SAGEMAKER_MULTI_MODEL"] == "true"


def test_the_server_runs_in_a_clean_environment(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    environment = ask(endpoints.host(), "a.tar.gz")["environment"]
    assert set(environment) - {"LC_CTYPE"} == {
        "PATH",
        "SAGEMAKER_MULTI_MODEL",
        "SAGEMAKER_BIND_TO_PORT",
        "ATELIER_ML_ROOT",
    }


def test_a_loaded_model_is_not_loaded_again(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    for _ in range(3):
        ask(host, "a.tar.gz")
    assert endpoints.log().count("LOAD a") == 1


def test_many_who_ask_for_a_new_model_at_once_cause_one_load(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a slow model")
    host = endpoints.host()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(host, "a.tar.gz")["model"], range(8)))
    assert answers == ["a slow model"] * 8
    assert endpoints.log().count("LOAD a slow model") == 1


def test_a_full_server_gives_up_its_least_recently_used_model(endpoints: EndpointBench):
    for name in "abc":
        endpoints.publish(f"{name}.tar.gz", name)
    host = endpoints.host(rooms=2)
    for name in "aba":
        ask(host, f"{name}.tar.gz")
    assert ask(host, "c.tar.gz")["loaded"] == ["a", "c"]
    assert ask(host, "b.tar.gz")["model"] == "b"


def test_a_model_in_use_is_not_given_up(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a")
    endpoints.publish("b.tar.gz", "b")
    host = endpoints.host(rooms=1)
    ask(host, "a.tar.gz")
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(ask, host, "a.tar.gz", seconds=0.5)
        wait(lambda: host.state().invocations == 2)
        assert ask(host, "b.tar.gz")["loaded"] == ["b"]
        assert long.done()
        assert long.result()["model"] == "a"


def test_many_models_in_a_small_server_are_all_served_rightly(endpoints: EndpointBench):
    names = [f"m{i}.tar.gz" for i in range(6)]
    for name in names:
        endpoints.publish(name)
    host = endpoints.host(rooms=2)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda name: ask(host, name)["model"], names * 5))
    assert answers == names * 5


def test_a_server_without_room_for_a_single_model_is_told(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host(rooms=0)
    with pytest.raises(ServiceUnavailable, match="no room"):
        ask(host, "a.tar.gz")


def test_a_model_that_the_container_lost_is_loaded_again(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    ask(host, "a.tar.gz", act="forget")
    assert ask(host, "a.tar.gz")["model"] == "a"
    assert endpoints.log().count("LOAD a") == 2


def test_a_container_that_finds_nothing_in_a_model_just_loaded_is_believed(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    with pytest.raises(NotFound, match="not this owner's"):
        ask(host, "a.tar.gz", act="answer", status=404, document={"message": "not this owner's"})
    assert endpoints.log().count("LOAD a") == 2


def test_want_of_memory_while_invoking_unloads_the_others_and_tries_once_more(
    endpoints: EndpointBench,
):
    for name in "abc":
        endpoints.publish(f"{name}.tar.gz", name)
    host = endpoints.host()
    for name in "abc":
        ask(host, f"{name}.tar.gz")
    assert ask(host, "b.tar.gz", act="no memory unless alone")["loaded"] == ["b"]


def test_want_of_memory_that_stays_is_unavailable(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host()
    with pytest.raises(ServiceUnavailable, match="too large"):
        ask(host, "a.tar.gz", act="answer", status=507, document={"message": "too large"})


def test_a_dead_server_is_started_again_and_its_models_are_loaded_when_asked_for(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    ask(host, "a.tar.gz")
    os.kill(host.pid(), signal.SIGKILL)
    assert ask(host, "a.tar.gz")["model"] == "a"
    assert host.state().restarts == 1
    assert endpoints.log() == ["START", "LOAD a", "START", "LOAD a"]


def test_an_invocation_whose_server_is_killed_in_the_middle_is_answered_by_the_next(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    ask(host, "a.tar.gz")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, host, "a.tar.gz", seconds=0.5, say="invoked")
        wait(lambda: "INVOKED" in endpoints.log())
        os.kill(host.pid(), signal.SIGKILL)
        assert asked.result()["model"] == "a"
    assert host.state().restarts == 1


def test_an_invocation_that_ends_every_server_is_repeated_once(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    with pytest.raises(ServiceUnavailable, match="broke off"):
        ask(host, "a.tar.gz", act="die")
    assert ask(host, "a.tar.gz")["model"] == "a"
    assert endpoints.log().count("LOAD a") == 3


def test_a_model_whose_server_is_killed_while_it_loads_is_loaded_by_the_next(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "slow a")
    host = endpoints.host()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, host, "a.tar.gz")
        wait(lambda: "LOAD slow a" in endpoints.log())
        os.kill(host.pid(), signal.SIGKILL)
        assert asked.result()["model"] == "slow a"
    assert endpoints.log() == ["START", "LOAD slow a"] * 2


def test_a_server_that_hangs_is_started_again_and_its_invocation_answered(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host(server=replace(QUICK_SERVER, ping_seconds=0.2))
    ask(host, "a.tar.gz")
    os.kill(host.pid(), signal.SIGSTOP)
    assert ask(host, "a.tar.gz")["model"] == "a"
    assert host.state().restarts == 1


def test_a_server_that_answers_rubbish_is_unavailable_and_stays_when_it_is_well(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    with pytest.raises(ServiceUnavailable, match="broke off"):
        ask(host, "a.tar.gz", act="rubbish")
    assert ask(host, "a.tar.gz")["model"] == "a"
    assert host.state().restarts == 0


@pytest.mark.parametrize(
    "document",
    [
        ["a list"],
        {"message": 7, "do": [], "facts": "none"},
        {"message": "m", "facts": {"self": 1, "message": 2, "do": 3, "x": 4}},
    ],
    ids=repr,
)
def test_an_error_document_that_is_rubbish_is_an_error_all_the_same(
    endpoints: EndpointBench, document
):
    endpoints.publish("a.tar.gz")
    with pytest.raises(InvalidRequest):
        ask(endpoints.host(), "a.tar.gz", act="answer", status=400, document=document)


def test_a_server_that_never_starts_is_unavailable_with_the_reason(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.idle_host(rooms="rubbish", start_wait_seconds=0.5)
    wait(lambda: host.tick() or host.state().restarts > 1)
    with pytest.raises(ServiceUnavailable, match="exit code 1; its log is"):
        ask(host, "a.tar.gz")
    host.close()


def test_files_that_were_damaged_on_the_endpoints_disk_are_unpacked_again(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    ask(host, "a.tar.gz")
    [card] = endpoints.folder.rglob("adapter.json")
    card.write_text("rejected since it was cut short")
    os.kill(host.pid(), signal.SIGKILL)
    assert ask(host, "a.tar.gz")["model"] == "a"
    assert card.read_text() == "a"


def test_a_disk_that_fills_up_while_an_artifact_is_unpacked_delays_it(
    endpoints: EndpointBench, tmp_path, objects
):
    endpoints.publish("a.tar.gz", "a", size=50_000)
    disk = ModelDisk(tmp_path / "models", objects=objects, max_bytes=10**6)
    with small_disk(20_000), pytest.raises(ServiceUnavailable, match="cannot be unpacked"):
        disk.fetch("a.tar.gz", in_use=lambda _: False)
    assert list((tmp_path / "models").iterdir()) == []
    folder = disk.fetch("a.tar.gz", in_use=lambda _: False)
    assert (folder / "adapter.safetensors").stat().st_size == 50_000


def test_a_server_that_stops_answering_pings_is_started_again(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz", "a")
    host = endpoints.host()
    ask(host, "a.tar.gz", act="sicken")
    wait(lambda: host.state().restarts == 1)
    assert host.wait_ready(20)
    assert ask(host, "a.tar.gz")["model"] == "a"


def test_before_its_server_is_in_service_an_endpoint_is_unavailable(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.idle_host(start_wait_seconds=0.01)
    with pytest.raises(ServiceUnavailable, match="not in service"):
        ask(host, "a.tar.gz")
    host.close()


def test_whoever_waits_for_a_server_is_told_at_once_when_the_platform_goes_down(
    endpoints: EndpointBench,
):
    host = endpoints.idle_host()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(host.wait_ready, 600)
        host.close()
        assert waiting.result() is False


def test_an_artifact_that_does_not_exist_is_not_found(endpoints: EndpointBench):
    host = endpoints.host()
    for target in ("no.tar.gz", "../secret", "a//b", "x" * 2000, "ünï"):
        with pytest.raises(NotFound):
            ask(host, target)


def test_an_artifact_that_appears_later_is_found_then(endpoints: EndpointBench):
    host = endpoints.host()
    with pytest.raises(NotFound):
        ask(host, "a.tar.gz")
    endpoints.publish("a.tar.gz", "a")
    assert ask(host, "a.tar.gz")["model"] == "a"


def test_an_artifact_that_is_no_archive_never_reaches_the_server(endpoints: EndpointBench, objects):
    objects.put("artifacts/a.tar.gz", b"no archive")
    host = endpoints.host()
    with pytest.raises(AdapterRejected):
        ask(host, "a.tar.gz")
    assert endpoints.log() == ["START"]


def test_a_refused_body_comes_back_in_the_containers_own_words(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host()
    document = {
        "error": "InvalidRequest",
        "message": "count 9; 1 to 8 are allowed",
        "do": "Ask for fewer.",
        "facts": {"where": "$.count", "message": "in the way"},
    }
    with pytest.raises(InvalidRequest) as refused:
        ask(host, "a.tar.gz", act="answer", status=400, document=document)
    assert refused.value.message == "count 9; 1 to 8 are allowed"
    assert refused.value.do == "Ask for fewer."
    assert refused.value.facts["where"] == "$.count"


def test_a_model_that_the_container_refuses_to_load_is_refused_in_its_words(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "to be rejected")
    host = endpoints.host()
    with pytest.raises(AdapterRejected, match="wrong base"):
        ask(host, "a.tar.gz")


def test_a_busy_container_says_when_to_come_back(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host()
    answer = {"status": 429, "document": {"message": "busy"}, "headers": {"Retry-After": "7"}}
    with pytest.raises(Throttled) as refused:
        ask(host, "a.tar.gz", act="answer", **answer)
    assert refused.value.facts["retry_after_seconds"] == 7


def test_an_error_that_is_no_json_is_told_as_text(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host()
    with pytest.raises(ServiceUnavailable, match="broken"):
        ask(host, "a.tar.gz", act="answer", status=500, document="broken")


def test_an_answer_that_takes_too_long_is_unavailable(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host(invoke_seconds=0.5)
    ask_in_the_end(host, "a.tar.gz")
    with pytest.raises(ServiceUnavailable) as refused:
        ask(host, "a.tar.gz", seconds=600)
    assert refused.value.facts["timed_out"]


def test_a_model_that_loads_longer_than_an_invocation_may_take_is_not_ready_yet_and_then_is(
    endpoints: EndpointBench,
):
    endpoints.publish("a.tar.gz", "a slow model")
    host = endpoints.host(invoke_seconds=0.3)
    with pytest.raises(ModelNotReady):
        ask(host, "a.tar.gz")
    assert ask_in_the_end(host, "a.tar.gz")["model"] == "a slow model"
    assert endpoints.log().count("LOAD a slow model") == 1


def test_a_full_disk_drops_models_that_nobody_uses(endpoints: EndpointBench):
    for name in "abc":
        endpoints.publish(f"{name}.tar.gz", name, size=1000)
    host = endpoints.host(rooms=1, disk_bytes=2100)
    for name in "abc":
        ask(host, f"{name}.tar.gz")
    assert host.state().disk_bytes <= 2100
    assert ask(host, "a.tar.gz")["model"] == "a"


def test_a_new_instance_begins_with_an_empty_disk(endpoints: EndpointBench):
    endpoints.publish("a.tar.gz")
    host = endpoints.host()
    ask(host, "a.tar.gz")
    endpoints.close()
    endpoints.stop = threading.Event()
    assert endpoints.host().state().disk_bytes == 0


def test_closing_stops_the_server_and_nothing_is_left_running(endpoints: EndpointBench):
    endpoints.host(server=QUICK_SERVER)
    server = endpoints.hosts[0]._server._running
    endpoints.close()
    assert server.exit_code is not None
