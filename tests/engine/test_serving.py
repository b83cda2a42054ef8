"""The engine in real time: one thread serves, others answer and call."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from atelier.contracts.clock import SystemClock
from tests.engine.world import World, callback, task
from workflows.engine.engine import TaskSuccess


def test_executions_go_on_while_tasks_answer_from_other_threads(store):
    world = World(store, clock=SystemClock())
    ended, stop, left = threading.Event(), threading.Event(), threading.Semaphore(0)
    count = 20

    def told(event):
        if event["detail"]["status"] == "SUCCEEDED":
            left.release()

    world.engine.subscribe(told)
    with ThreadPoolExecutor(4) as pool:
        start = world.functions.start

        def in_the_pool(call, report):
            if call.token is not None:
                pool.submit(world.engine.send_task_success, call.token, {"x": 1})
            else:
                pool.submit(start, call, report)

        world.functions.start = in_the_pool
        states = {
            "Work": task(Next="Nap"),
            "Nap": {"Type": "Wait", "Seconds": 0, "Next": "Ask"},
            "Ask": callback(),
        }
        world.engine.register("machine", {"StartAt": "Work", "States": states})
        serving = threading.Thread(target=world.engine.serve, args=(stop,))
        serving.start()
        for number in range(count):
            world.engine.start_execution("machine", name=f"n{number}", input={})
        for _ in range(count):
            assert left.acquire(timeout=30)
        stop.set()
        serving.join(timeout=30)
        ended.set()
    assert not serving.is_alive()
    done = world.engine.list_executions("machine", status="SUCCEEDED").items
    assert len(done) == count


def test_an_execution_can_be_stopped_from_another_thread_while_it_waits(store):
    world = World(store, clock=SystemClock())
    stop = threading.Event()
    world.functions.code["work"] = lambda _payload: TaskSuccess({})
    states = {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}
    world.engine.register("machine", {"StartAt": "Wait", "States": states})
    serving = threading.Thread(target=world.engine.serve, args=(stop,))
    serving.start()
    arn = world.engine.start_execution("machine", name="one", input={}).arn
    world.engine.stop_execution(arn, error="Cancelled")
    assert world.status(arn) == "ABORTED"
    stop.set()
    serving.join(timeout=30)
    assert not serving.is_alive()
