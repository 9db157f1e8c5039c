"""The prober: asks a confined child process what an upload is, and never suffers for what it asked."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.child import Child, ChildDied, ChildError, ChildTimeout
from infra.probe_refusal import DAMAGED, TOO_INTRICATE, TOO_SLOW
from shared.errors import PipelineError
from shared.media import ACCEPTED_CONTAINERS, ObjectRef, Probe

# PyAV and its libraries map about 0.3 GB of addresses before they open anything.
MEMORY_BYTES: Final = 1536 * 1024 * 1024
TIMEOUT_S: Final = 20.0
# A recording takes milliseconds, its index of ten hours a tenth of a second; what takes seconds was made to.
CPU_S: Final = 3
# Bounds what leaks in FFmpeg can add up to.
PROBES_PER_CHILD: Final = 500
# The store's share of the time: one that is slow must be told from a file that is.
_FETCH_SHARE: Final = 0.75
# All that a parser of hostile content gets to see of this process' environment.
_ENVIRONMENT: Final = ("LD_LIBRARY_PATH", "SSL_CERT_DIR", "SSL_CERT_FILE")


class ContentProber:
    """Probes content in a child process. Implements ``shared.ports.Prober``; safe for threads, one probe at a time.

    Args:
        locate: Where the content of an object is to be read: a URL that serves ranges, or a path.
        timeout_s: Of one probe, warming up included.
        cpu_s: What one probe may compute, to the next whole second: waiting for a store does not count.
        memory_bytes: Address space of the child.
        probes_per_child: After these a fresh child takes over.
        command: What to run instead of ``python -m infra.probe_child``.
    """

    def __init__(
        self,
        locate: Callable[[ObjectRef], str],
        *,
        timeout_s: float = TIMEOUT_S,
        cpu_s: int = CPU_S,
        memory_bytes: int = MEMORY_BYTES,
        probes_per_child: int = PROBES_PER_CHILD,
        command: Sequence[str] | None = None,
    ) -> None:
        self._locate = locate
        self._timeout_s = timeout_s
        self._cpu_s = cpu_s
        self._child = Child(
            command or (sys.executable, "-m", "infra.probe_child", str(memory_bytes)),
            env=_environment(),
            max_calls=probes_per_child,
        )

    @property
    def pid(self) -> int | None:
        """The child's process id; ``None`` where none lives."""
        return self._child.pid

    def start(self) -> None:
        """Warm the child up in the background."""
        self._child.start()

    def close(self) -> None:
        """End the child. No probe can follow."""
        self._child.close()

    def probe(self, ref: ObjectRef) -> Probe:
        """What an object's content is.

        Raises:
            PipelineError: As :meth:`probe_at`.
        """
        return self.probe_at(self._locate(ref))

    def probe_at(self, location: str) -> Probe:
        """What the content at a URL, or of a path, is.

        Raises:
            PipelineError: A ``media.*`` code for content that is not accepted, a crash or a timeout included;
                ``object.not_found``; ``service.unavailable`` when the store does not answer.
        """
        request = {
            "location": location,
            "containers": sorted(ACCEPTED_CONTAINERS),
            "timeout_s": self._timeout_s * _FETCH_SHARE,
            "cpu_s": self._cpu_s,
        }
        answer = json.loads(self._ask(json.dumps(request)))
        if "refusal" in answer:
            raise PipelineError(*answer["refusal"])
        return Probe.from_data(answer["probe"])

    def _ask(self, request: str) -> str:
        """Ask; once more where the child died, which may be the fault of an earlier file or of the machine.

        What took too long would take as long again.
        """
        for is_last in (False, True):
            try:
                return self._child.call(request, timeout_s=self._timeout_s)
            except ChildTimeout as error:
                raise _blame(error, TOO_SLOW) from None
            except ChildDied as error:
                if error.was_ready and error.returncode == -signal.SIGXCPU:
                    raise PipelineError(*TOO_INTRICATE) from None
                if is_last:
                    raise _blame(error, DAMAGED) from None
        raise AssertionError("unreachable")


def _blame(error: ChildError, reason: tuple[str, str]) -> PipelineError:
    """Blame the file, unless the child had not even begun to read it, or was killed.

    No file makes a process kill itself: someone else did, or a kernel that ran out of memory for other reasons, as a
    child's own is limited. A recording must not be refused for that.
    """
    if not error.was_ready:
        return PipelineError("service.unavailable", "The process that looks at files could not be started.")
    if isinstance(error, ChildDied) and error.returncode == -signal.SIGKILL:
        return PipelineError("service.unavailable", "The process that looks at files was killed.")
    return PipelineError(*reason)


def _environment() -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # The child finds what this process finds, wherever a bundle was unpacked.
    here = str(Path(__file__).resolve().parent.parent)
    return kept | {"PYTHONPATH": os.pathsep.join([here, *(entry for entry in sys.path if entry)])}
