"""One process that serves the stand-in for Google's provider to all of Terraform's commands.

Terraform starts a provider twice for each run of a test, and most of what that costs is loading the same libraries.
Here they are loaded once: the host forks a server for each start. What Terraform starts is this file as well; it hands
its output to the host and stays for as long as the server does. The tool's own Python runs it, and nothing of ours.
"""

import os
import select
import signal
import socket
import sys
from threading import Thread

ADDRESS = "EARWITNESS_TEST_PROVIDER"


def start() -> None:
    """What Terraform starts: asks the host for a server that speaks on our output."""
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(os.environ[ADDRESS])
        socket.send_fds(host, [b"."], [1, 2])
        host.recv(1)  # comes to its end with the server


def host(compiled: str, rules: str) -> None:
    """Serve until the input ends, as it does when the tests that started this are gone."""
    sys.path.insert(0, os.path.dirname(__file__))  # noqa: PTH120
    import provider  # type: ignore[import-not-found]

    os.environ.update([provider.COOKIE])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the servers
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.environ[ADDRESS])
        listener.listen()
        os.write(1, b"ready\n")
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                _serve(connection, provider.serve, compiled, rules)
            connection.close()


def _serve(connection: socket.socket, serve, compiled: str, rules: str) -> None:  # type: ignore[no-untyped-def]
    _, outputs, _, _ = socket.recv_fds(connection, 1, 2)
    if not outputs:  # Terraform killed what it had just started
        os._exit(0)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)
    Thread(target=_end_with, args=(connection,), daemon=True).start()
    try:
        serve(compiled, rules)
    finally:
        os._exit(0)


def _end_with(connection: socket.socket) -> None:
    """Terraform may kill what it started."""
    connection.recv(1)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:]:
        host(*sys.argv[1:])
    else:
        start()
