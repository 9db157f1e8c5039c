"""Whether what this process depends on answers."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from infra.wiring import Services
from shared.errors import PipelineError
from shared.media import ObjectRef

LIMIT_S = 2.0
# Whoever asks all the time asks the services not more often than this.
REMEMBERED_S = 3.0
# No job has this id, and no object this name: a service that says so has answered.
_NOTHING = "health"


class Health:
    """Looks at each service, all at the same time, and remembers what it saw for a moment."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="health")
        self._seen: tuple[float, Services, Mapping[str, bool]] | None = None

    async def dependencies(self, services: Services) -> Mapping[str, bool]:
        """Which services answer, by name."""
        seen = self._seen
        if seen and seen[1] is services and time.monotonic() < seen[0]:
            return seen[2]
        names = ("database", "objects")
        found = await asyncio.gather(*(self._answers(_LOOKS[name], services) for name in names))
        answering = dict(zip(names, found, strict=True))
        self._seen = (time.monotonic() + REMEMBERED_S, services, answering)
        return answering

    async def _answers(self, look: Callable[[Services], object], services: Services) -> bool:
        try:
            async with asyncio.timeout(LIMIT_S):
                await asyncio.get_running_loop().run_in_executor(self._pool, look, services)
        except TimeoutError:
            return False
        except PipelineError as error:
            return error.code in ("job.not_found", "object.not_found")
        return True


def _object(services: Services) -> object:
    return services.objects.stat(ObjectRef(bucket=services.settings.results_bucket, name=_NOTHING))


_LOOKS: Mapping[str, Callable[[Services], object]] = {
    "database": lambda services: services.jobs.get(_NOTHING),
    "objects": _object,
}

health = Health()
