"""Modal's client, used from a thread that must not wait for long, and never to load a pickle."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import modal
from modal.config import config

T = TypeVar("T")


def within(timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Do something with the client's asynchronous interface, within a time.

    Left to itself the client tries for a minute to reach a server that is not there.

    Raises:
        TimeoutError: It took longer, and was given up.
    """
    return asyncio.run(asyncio.wait_for(work, timeout_s))


async def own_client() -> modal.Client:
    """The client of this process, made from its environment and Modal's configuration file.

    Raises:
        modal.exception.AuthError: Neither has credentials.
    """
    return await modal.Client.from_env.aio()


def send_plain_data() -> None:
    """Have this process' calls carry CBOR; what is called answers in kind.

    Modal's default is pickle, and a result that is a pickle runs code of whoever made it: of a container that parses
    what strangers have uploaded. The client has no such choice for a single call. This is what it offers for the
    process; other users of Modal in it notice nothing, unless they send objects that are not plain data.
    """
    config.override_locally("payload_format", "cbor")
