"""Starting what is due: GPU stages on a runner, function stages here."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta

from infra.pipeline.artifacts import artifact_ref as artifact_ref
from infra.pipeline.artifacts import write_once
from infra.pipeline.function_stages import FUNCTION_STAGES
from infra.pipeline.outbox import publish_committed
from infra.pipeline.reuse import remember, reused
from infra.wiring import Services
from shared.advance import Step, advance
from shared.errors import PipelineError
from shared.events import (
    Artifact,
    Fact,
    StageCompleted,
    StageDeferred,
    StageDispatched,
    StageFailed,
    StageProgressed,
    StagesClaimed,
)
from shared.jobs import Job, JobState
from shared.media import ObjectInfo
from shared.requests import Output, ReportTarget, StageRequest
from shared.stages import STAGES, Kind, Stage, upstream

log = logging.getLogger(__name__)

# The events after which a stage may be due.
DISPATCHING_EVENTS = frozenset({"media.validated", "stage.completed", "stage.failed", "job.retried"})

# A URL that IAM signs without a key is good for twelve hours at least, and perhaps no longer, whatever it says: keys
# are replaced. An attempt's waiting in a runner's queue and its run must come to less than that.
URL_LIFE_S = 12 * 3600.0
# A document takes about one write a second for long; stages that run side by side share it.
_PROGRESS_INTERVAL_S = 1.0
# Signed URLs outlive the attempt they serve by this much.
URL_GRACE_S = 900.0
ATTEMPT_LIFE_S = URL_LIFE_S - URL_GRACE_S


def dispatch_due(services: Services, job_id: str) -> bool:
    """Claim and start every stage of a job that may start now, until none is left.

    Returns:
        Whether the runner took every stage it was asked to.

    Raises:
        PipelineError: ``job.not_found``, or a retryable one when the store does not answer.
    """
    all_taken = True
    while True:
        claimed = _apply(services, job_id, StagesClaimed(lease_s=services.settings.lease_s))
        if not claimed.dispatch:
            break
        stages = [STAGES[name] for name in claimed.dispatch]
        for fact in _start_calls(services, claimed.job, [stage for stage in stages if stage.placement == "gpu"]):
            all_taken &= not isinstance(fact, StageDeferred)
            _apply(services, job_id, fact)
        for stage in stages:
            if stage.placement == "function":
                job = _apply(services, job_id, _run_here(services, claimed.job, stage)).job
                if job.state is JobState.COMPLETED:
                    remember(services, job)
    publish_committed(services, job_id)
    return all_taken


def apply_fact(services: Services, job_id: str, fact: Fact) -> Step:
    """Commit what a fact does, stop calls that it made pointless, and publish what it caused."""
    step = _apply(services, job_id, fact)
    # Progress causes no event, and comes too often to look for those of others.
    if not isinstance(fact, StageProgressed):
        publish_committed(services, job_id)
    return step


def _apply(services: Services, job_id: str, fact: Fact) -> Step:
    step = services.jobs.update(job_id, lambda job: advance(job, fact, services.clock.now()))
    for call_id in step.cancel:
        try:
            services.runner.cancel(call_id)
        except PipelineError as error:  # the change is made; its event, or the next report of the call, stops it
            log.warning("a call of %s was not stopped: %s", job_id, error)
    return step


def _start_calls(services: Services, job: Job, stages: Sequence[Stage]) -> Sequence[Fact]:
    """Start GPU stages side by side: none waits for a runner that is slow to take the other."""
    if not stages:
        return ()
    with ThreadPoolExecutor(len(stages), thread_name_prefix="start") as pool:
        # Each thread knows what its lines are about.
        starts = [pool.submit(copy_context().run, _start_call, services, job, stage) for stage in stages]
        return [start.result() for start in starts]


def _start_call(services: Services, job: Job, stage: Stage) -> Fact:
    attempt = job.stages[stage.name].attempt
    try:
        if (done := reused(services, job, stage)) is not None:
            return done
        call_id = services.runner.start(_request(services, job, stage, attempt))
    except PipelineError as error:
        log.warning("%s of %s was not started: %s", stage.name, job.job_id, error)
        if error.code == "service.unavailable":
            return StageDeferred(stage=stage.name, attempt=attempt, error=error.info)
        return StageFailed(stage=stage.name, attempt=attempt, error=error.info)
    return StageDispatched(stage=stage.name, attempt=attempt, call_id=call_id)


def _request(services: Services, job: Job, stage: Stage, attempt: int) -> StageRequest:
    limit_bytes = services.settings.max_size_bytes
    return StageRequest(
        job_id=job.job_id,
        tenant_id=job.tenant_id,
        stage=stage.name,
        attempt=attempt,
        inputs={
            str(kind): services.objects.sign_download(ref, expires_s=URL_LIFE_S)
            for kind, ref in _inputs(job, stage).items()
        },
        outputs=tuple(
            Output(
                filename=product.filename,
                upload=services.objects.sign_upload(
                    artifact_ref(services, job, product),
                    content_type=product.content_type,
                    max_bytes=limit_bytes,
                    expires_s=URL_LIFE_S,
                ),
            )
            for product in stage.products
        ),
        options=job.options,
        limits=services.settings.limits,
        deadline=services.clock.now() + timedelta(seconds=ATTEMPT_LIFE_S),
        traceparent=job.traceparent,
        report=ReportTarget(
            url=f"{services.settings.report_base_url}/{job.job_id}",
            token=services.report_tokens.sign(job.job_id, stage.name, attempt),
            interval_s=_PROGRESS_INTERVAL_S * _reporting(job),
        ),
    )


def _reporting(job: Job) -> int:
    """How many stages of a job report at the same time, at most."""
    return sum(stage.placement == "gpu" and stage.applies(job.options) for stage in STAGES.values())


def _inputs(job: Job, stage: Stage) -> dict[Kind, ObjectInfo]:
    """What a stage consumes, by kind; a kind whose stage does not apply to the job is left out."""
    inputs = {
        artifact.kind: artifact.object
        for before in upstream(stage, STAGES)
        for artifact in job.stages[before.name].artifacts
    }
    if Kind.MEDIA in stage.consumes and job.media is not None:
        inputs[Kind.MEDIA] = job.media.object
    return inputs


def _run_here(services: Services, job: Job, stage: Stage) -> Fact:
    attempt = job.stages[stage.name].attempt
    try:
        inputs = {kind: services.objects.read(ref) for kind, ref in _inputs(job, stage).items()}
        result = FUNCTION_STAGES[stage.name](job.options, inputs)
        artifacts = tuple(
            Artifact(
                kind=product.kind,
                filename=product.filename,
                object=write_once(
                    services, artifact_ref(services, job, product), result.files[product.filename], product.content_type
                ),
            )
            for product in stage.products
        )
    except PipelineError as error:
        if error.code == "service.unavailable":  # it is not the stage that failed
            return StageDeferred(stage=stage.name, attempt=attempt, error=error.info)
        return StageFailed(stage=stage.name, attempt=attempt, error=error.info)
    except Exception:  # a defect of one job must not stop the others; it is logged and typed
        log.exception("%s of %s failed", stage.name, job.job_id)
        return StageFailed(stage=stage.name, attempt=attempt, error=PipelineError("internal").info)
    return StageCompleted(stage=stage.name, attempt=attempt, artifacts=artifacts, notices=result.notices)
