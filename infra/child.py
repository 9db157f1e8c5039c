"""A warm child process that answers one line per line, and that cannot hang, crash or outlive its parent.

The child's side of the bargain: its first line is ``{"ready": true}``, once it is warm; then it writes one line
of JSON for each line it reads; and it ends at once when its standard input ends, even while it works (a thread
that reads is enough). The last is what ends it when this process is killed and can close nothing: no
``preexec_fn``, which is not safe beside threads, and no signal that only Linux knows.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

# A child that writes without end would otherwise fill this process' memory until its time is over.
MAX_LINE_BYTES = 64 * 1024 * 1024
_PIPE_BYTES = 65536
_REAP_S = 10.0
# How long a process that closed its pipes may take to end by itself.
_ENDING_S = 2.0


class ChildError(Exception):
    """A call got no answer. The child is gone, and the next call starts another.

    Attributes:
        was_ready: Whether the child was warm, so that the request may be to blame.
    """

    def __init__(self, message: str, *, was_ready: bool) -> None:
        self.was_ready = was_ready
        super().__init__(message)


class ChildTimeout(ChildError):
    """The answer did not come in time; the child was killed."""

    def __init__(self, timeout_s: float, *, was_ready: bool) -> None:
        self.timeout_s = timeout_s
        super().__init__(f"the child process did not answer within {timeout_s:g} s", was_ready=was_ready)


class ChildDied(ChildError):
    """The child ended, was killed, or broke the protocol before it answered.

    Attributes:
        returncode: Its exit status, or minus the number of the signal that ended it; ``None`` where even that
            could not be learned.
    """

    def __init__(self, returncode: int | None, reason: str = "", *, was_ready: bool) -> None:
        self.returncode = returncode
        super().__init__(f"the child process {reason or 'ended'} ({_ending(returncode)})", was_ready=was_ready)


class Child:
    """One child process, kept warm, for one call at a time.

    Args:
        command: Program and arguments.
        env: Its whole environment; this process' own if left out.
        stderr: A file that its standard error is appended to; passed through if left out.
        max_calls: After these a fresh process takes over, which bounds what leaks add up to.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stderr: Path | None = None,
        max_calls: int | None = None,
    ) -> None:
        self._command = tuple(command)
        self._env = None if env is None else dict(env)
        self._stderr = stderr
        self._max_calls = max_calls
        # Held for a whole call. Processes are made, and their pipes closed, only by who holds it, so no pipe
        # is closed under a thread that reads it. ``kill`` does without: it signals and reaps.
        self._turn = threading.Lock()
        self._process: _Process | None = None
        self._closed = False

    def __enter__(self) -> Self:
        """Start the child."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self.close()

    @property
    def pid(self) -> int | None:
        """The live process' id; ``None`` where none lives."""
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def start(self) -> None:
        """Start the process if none lives, and return while it still warms up.

        Raises:
            OSError: The program cannot be run.
            RuntimeError: The child was closed.
        """
        if not self._turn.acquire(blocking=False):
            return  # Whoever has the turn starts the process.
        try:
            self._live_process()
        finally:
            self._turn.release()

    def call(self, line: str, *, timeout_s: float) -> str:
        """Send one line and wait for the line that answers it.

        Calls from several threads take turns. The time counts from this call's turn, and covers warming up.

        Args:
            line: Without a line break.
            timeout_s: Until the child is killed.

        Raises:
            ChildTimeout: No answer in time.
            ChildDied: The process ended before it answered.
            OSError: The program cannot be run.
            RuntimeError: The child was closed.
            ValueError: The line has a line break.
        """
        if "\n" in line:
            raise ValueError("a line must not contain a line break")
        with self._turn:
            deadline = time.monotonic() + timeout_s
            process = self._live_process()
            try:
                process.wait_until_ready(deadline)
                process.write(line.encode() + b"\n", deadline)
                answer = process.read_line(deadline).decode()
            except BaseException as error:
                # Whatever interrupted it: an answer that comes late must never answer the next call.
                # One whose pipe is gone is ending: how, only its own status tells.
                returncode = process.kill(grace_s=_ENDING_S if isinstance(error, EOFError | BrokenPipeError) else 0.0)
                self._discard()
                if isinstance(error, TimeoutError):
                    raise ChildTimeout(timeout_s, was_ready=process.is_ready) from None
                if isinstance(error, OSError | EOFError | ValueError):
                    reason = str(error) if isinstance(error, ValueError) else ""
                    raise ChildDied(returncode, reason, was_ready=process.is_ready) from None
                raise
            self._retire(process)
            return answer

    def kill(self) -> None:
        """Kill the process, and every process it started, from any thread. A call under way raises ``ChildDied``."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Kill the process for good; no call can follow. Closing twice is no error."""
        self._closed = True
        self.kill()
        with self._turn:
            self.kill()
            self._discard()

    def _live_process(self) -> "_Process":
        if self._closed:
            raise RuntimeError("the child was closed")
        if self._process is not None and not self._process.is_alive():
            self._discard()
        if self._process is None:
            self._process = _Process(self._spawn())
        return self._process

    def _retire(self, process: "_Process") -> None:
        process.calls += 1
        if process.calls == self._max_calls and not self._closed:
            process.kill()
            self._discard()
            with contextlib.suppress(OSError):  # The next call tells, if it still cannot be run.
                self._live_process()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            # A group of its own: killing it takes along what the child started, and Ctrl-C in a terminal
            # reaches the parent alone, which then decides.
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._stderr is None else stack.enter_context(self._stderr.open("ab")),
                env=self._env,
                bufsize=0,
                start_new_session=True,
            )

    def _discard(self) -> None:
        if self._process is not None:
            self._process.close_pipes()
            self._process = None


class _Process:
    """One process and its pipes, read and written against a deadline (``time.monotonic``)."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        if popen.stdin is None or popen.stdout is None:
            raise ValueError("both pipes are needed")
        self._popen = popen
        self._stdin = popen.stdin
        self._stdout = popen.stdout
        self._received = bytearray()
        self.is_ready = False
        self.calls = 0
        # Reaping frees the process id for reuse, so it must not fall between a check and a signal.
        self._reaping = threading.Lock()
        os.set_blocking(self._stdin.fileno(), False)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def is_alive(self) -> bool:
        with self._reaping:
            if self._popen.returncode is None and self._popen.poll() is not None:
                self._signal_group()  # What it started must not outlive it.
            return self._popen.returncode is None

    def kill(self, *, grace_s: float = 0.0) -> int | None:
        """Kill the group, reap the process, and return its status: its own if it ended by itself, or soon does."""
        with self._reaping:
            if self._popen.returncode is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(grace_s)
                self._signal_group()
                # A process in an uninterruptible wait cannot be reaped yet; the next call does without it.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(_REAP_S)
            return self._popen.returncode

    def _signal_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close_pipes(self) -> None:
        self._stdin.close()
        self._stdout.close()

    def wait_until_ready(self, deadline: float) -> None:
        if self.is_ready:
            return
        line = self.read_line(deadline)
        try:
            self.is_ready = json.loads(line).get("ready") is True
        except (ValueError, AttributeError):
            self.is_ready = False
        if not self.is_ready:
            raise ValueError("did not say that it is ready")

    def write(self, content: bytes, deadline: float) -> None:
        if self._received:
            raise ValueError("spoke without being asked")
        rest = memoryview(content)
        while rest:
            _wait(self._stdin.fileno(), select.POLLOUT, deadline)
            rest = rest[os.write(self._stdin.fileno(), rest[:_PIPE_BYTES]) :]

    def read_line(self, deadline: float) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > MAX_LINE_BYTES:
                raise ValueError("wrote a line without end")
            _wait(self._stdout.fileno(), select.POLLIN, deadline)
            received = os.read(self._stdout.fileno(), _PIPE_BYTES)
            if not received:
                raise EOFError
            self._received += received
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line


def _wait(descriptor: int, event: int, deadline: float) -> None:
    """Wait until a pipe can be used or its other end is gone."""
    poll = select.poll()
    poll.register(descriptor, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "not reaped"
    if returncode >= 0:
        return f"status {returncode}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-returncode).name
    return f"signal {-returncode}"
