"""Reports of an attempt to whoever dispatched it: progress without waiting, the result with patience."""

import logging
import threading
import time

import httpx

from gpu_jobs.transfer import TryAgain, check_answer, patiently
from shared.errors import PipelineError
from shared.events import StageCompleted, StageFailed, StageProgressed
from shared.requests import REPORT, StageRequest

log = logging.getLogger(__name__)

_UNWANTED_STATUSES = frozenset({401, 404, 410})
_PROGRESS_TIMEOUT = httpx.Timeout(5.0)


class Unwanted(Exception):
    """Nobody waits for this attempt any more: it was canceled, superseded, or its job is gone."""


class Reporter:
    """Sends the reports of one attempt.

    Progress is sent by a thread of its own, as often as the request allows, always the latest; the model never
    waits for the network, and a progress report that is lost is not sent again. Use as a context manager.

    Args:
        client: Whose connections are used.
        request: The attempt.
    """

    def __init__(self, client: httpx.Client, request: StageRequest) -> None:
        self._client = client
        self._request = request
        self._change = threading.Condition()
        self._latest: StageProgressed | None = None
        self._highest = 0.0
        self._closed = False
        self._unwanted = False
        self._thread = threading.Thread(target=self._send_progress, name="reporter", daemon=True)

    def __enter__(self) -> "Reporter":
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread; progress that was not sent yet is dropped."""
        self._stop()

    def progress(self, share: float, partial_text: str | None = None) -> None:
        """Note how far the work is; returns at once.

        Args:
            share: 0..1; what is less than before counts as before.
            partial_text: End of what was heard so far.

        Raises:
            Unwanted: An earlier report was answered so.
        """
        with self._change:
            if self._unwanted:
                raise Unwanted
            self._highest = max(self._highest, min(1.0, share))
            self._latest = StageProgressed(
                stage=self._request.stage,
                attempt=self._request.attempt,
                progress=self._highest,
                partial_text=partial_text,
            )
            self._change.notify()

    def finish(self, report: StageCompleted | StageFailed) -> None:
        """Send the last report, after any progress report under way.

        Raises:
            Unwanted: The receiver does not want it.
            PipelineError: ``service.unavailable`` when it could not be delivered.
        """
        self._stop()
        try:
            status = patiently()(self._post, report, None)
        except (TryAgain, httpx.HTTPError) as error:
            raise PipelineError("service.unavailable", "The result could not be reported.") from error
        if status in _UNWANTED_STATUSES:
            raise Unwanted
        if not 200 <= status < 300:
            raise PipelineError("service.unavailable", "The result was not accepted.", status=status)

    def _stop(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _send_progress(self) -> None:
        while (report := self._next()) is not None:
            started = time.monotonic()
            try:
                status = self._post(report, _PROGRESS_TIMEOUT)
            except (TryAgain, httpx.HTTPError) as error:
                log.info("a progress report was lost: %s", type(error).__name__)
                status = 0
            with self._change:
                self._unwanted = self._unwanted or status in _UNWANTED_STATUSES
                rest_s = started + self._request.report.interval_s - time.monotonic()
                if self._change.wait_for(lambda: self._closed, timeout=max(0.0, rest_s)):
                    return

    def _next(self) -> StageProgressed | None:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._latest is not None)
            report, self._latest = self._latest, None
            return None if self._closed else report

    def _post(self, report: StageProgressed | StageCompleted | StageFailed, timeout: httpx.Timeout | None) -> int:
        target = self._request.report
        headers = {"Authorization": f"Bearer {target.token}", "Content-Type": "application/json"}
        if self._request.traceparent:
            headers["traceparent"] = self._request.traceparent
        response = self._client.post(
            target.url,
            content=REPORT.dump_json(report),
            headers=headers,
            timeout=timeout or self._client.timeout,
        )
        check_answer(response)
        return response.status_code
