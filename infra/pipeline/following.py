"""Following jobs as they change: one watch looks at a job, for everyone in this process who waits for it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from infra.pipeline.control import find_job
from infra.wiring import Services
from shared.errors import PipelineError
from shared.jobs import Job

log = logging.getLogger(__name__)

# Looks at a store that is far away: of their own, so that requests never wait behind them for a thread.
_LOOKS = 8


class Watch:
    """One job, and those who wait for it.

    A watch knows the latest revision that it saw, not each: whoever waits is never behind, however slow.

    Args:
        services: Where the job is.
        job: As it was read last.
        pool: Threads for stores that are far away.
    """

    def __init__(self, services: Services, job: Job, pool: ThreadPoolExecutor) -> None:
        self.clients = 0
        self.loop = asyncio.get_running_loop()
        self._services = services
        self._latest = job
        self._is_gone = False
        self._pool = pool
        self._looked = asyncio.Condition()
        self._told = asyncio.Event()
        self._task = self.loop.create_task(self._look_again_and_again())

    async def later_than(self, revision: int, timeout_s: float) -> Job | None:
        """The job once it is beyond a revision; ``None`` when it is not in time.

        Raises:
            PipelineError: ``job.not_found`` once it was deleted.
        """
        async with self._looked:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._looked.wait_for(lambda: self._is_gone or self._latest.revision > revision)
            except TimeoutError:
                return None
            if self._is_gone:
                raise PipelineError("job.not_found", job_id=self._latest.job_id)
            return self._latest

    def tell(self) -> None:
        """Look at once. May be called from any thread."""
        with suppress(RuntimeError):  # the server has ended, and everyone who waited with it
            self.loop.call_soon_threadsafe(self._told.set)

    def close(self) -> None:
        """Look no more."""
        self._task.cancel()

    async def _look_again_and_again(self) -> None:
        while not self._is_gone:
            self._told.clear()
            try:
                found = await self._look()
            except PipelineError as error:
                if error.code != "job.not_found":
                    log.warning("%s cannot be followed now: %s", self._latest.job_id, error)
                    found = self._latest
                else:
                    found = None
            async with self._looked:
                self._is_gone = found is None
                if found is not None and found.revision > self._latest.revision:
                    self._latest = found
                self._looked.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._services.settings.follow_interval_s):
                    await self._told.wait()

    async def _look(self) -> Job:
        job_id = self._latest.job_id
        if self._services.jobs.is_near:
            return find_job(self._services, job_id)
        return await self.loop.run_in_executor(self._pool, find_job, self._services, job_id)


class Follower:
    """The watches of this process."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._pool = ThreadPoolExecutor(_LOOKS, thread_name_prefix="follow")

    def tell(self, job_id: str) -> None:
        """A job was changed by this process: whoever follows it need not wait for the next look."""
        if (watch := self._watches.get(job_id)) is not None:
            watch.tell()

    @property
    def followed(self) -> int:
        """How many jobs someone follows."""
        return len(self._watches)

    @asynccontextmanager
    async def watch(self, services: Services, job: Job) -> AsyncIterator[Watch]:
        """Follow a job that was just read, with all others who do."""
        watch = self._watches.get(job.job_id)
        if watch is None or watch.loop is not asyncio.get_running_loop():
            watch = self._watches[job.job_id] = Watch(services, job, self._pool)
        watch.clients += 1
        try:
            yield watch
        finally:
            watch.clients -= 1
            if not watch.clients:
                watch.close()
                if self._watches.get(job.job_id) is watch:
                    del self._watches[job.job_id]


follower = Follower()
