"""Every invariant that the doctor knows, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infra.doctor.case import Case
from infra.doctor.checks import (
    endpoint,
    executions,
    models,
    notifications,
    requests,
    stores,
    training,
)
from infra.doctor.findings import Trouble

LEDGER, DELIVERIES, EXECUTIONS = "ledger", "deliveries", "executions"
TRAINING, BUCKET, PROCESSES, ENDPOINT = "training", "bucket", "processes", "endpoint"


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant.

    Attributes:
        run: the check that keeps it.
        needs: parts of the evidence that it reads.
        alive: whether it asks something of a running platform only.
    """

    run: Callable[[Case], Iterator[Trouble]]
    needs: tuple[str, ...] = (LEDGER,)
    alive: bool = False

    @property
    def name(self) -> str:
        """Its name, for programs and people."""
        return self.run.__name__.replace("_", "-")

    @property
    def promise(self) -> str:
        """What it promises: the first paragraph of its docstring, on one line."""
        first, _, _ = (self.run.__doc__ or "").partition("\n\n")
        return " ".join(first.split())


CHECKS: tuple[Check, ...] = (
    Check(stores.files_are_sound, ()),
    Check(stores.documents_read, ()),
    Check(stores.nothing_lies_in_the_future, ()),
    Check(requests.one_outcome),
    Check(requests.told_in_order),
    Check(requests.somebody_works_on_it, (LEDGER, EXECUTIONS)),
    Check(requests.queued_with_a_token_that_waits, (LEDGER, EXECUTIONS)),
    Check(requests.batch_and_job_agree),
    Check(notifications.one_notice_per_outcome),
    Check(notifications.delivered_as_written, (LEDGER, DELIVERIES)),
    Check(notifications.outcomes_are_delivered),
    Check(models.ready_has_its_version),
    Check(models.versions_in_order),
    Check(models.models_say_what_was_asked),
    Check(models.artifacts_are_what_versions_say, (LEDGER, BUCKET)),
    Check(models.no_artifact_without_version, (LEDGER, BUCKET)),
    Check(models.owners_apart, (LEDGER, BUCKET)),
    Check(executions.none_runs_for_who_has_ended, (LEDGER, EXECUTIONS)),
    Check(executions.histories_are_whole, (EXECUTIONS,)),
    Check(executions.ended_with_a_time, (EXECUTIONS,)),
    Check(executions.no_task_waits_beyond_its_timeout, (EXECUTIONS,), alive=True),
    Check(executions.one_dispatcher, (LEDGER, EXECUTIONS)),
    Check(executions.who_waits_is_dispatched, (LEDGER, EXECUTIONS)),
    Check(training.every_job_has_its_batch, (LEDGER, TRAINING)),
    Check(training.requests_train_in_jobs_that_exist, (LEDGER, TRAINING)),
    Check(training.manifests_are_what_jobs_train, (LEDGER, TRAINING, BUCKET)),
    Check(training.ended_jobs_hold_nothing, (TRAINING,)),
    Check(training.no_job_trains_for_nobody, (LEDGER, TRAINING)),
    Check(training.job_changes_are_told, (TRAINING,)),
    Check(training.programs_belong_to_this_life, (TRAINING, PROCESSES)),
    Check(stores.datasets_are_there, (LEDGER, BUCKET)),
    Check(stores.nobody_left_half_a_file, (BUCKET,)),
    Check(endpoint.loaded_models_exist, (LEDGER, ENDPOINT), alive=True),
    Check(endpoint.endpoint_within_its_limits, (ENDPOINT,), alive=True),
    Check(endpoint.nothing_held_for_nobody, (ENDPOINT,), alive=True),
)
