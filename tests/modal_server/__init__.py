"""A Modal server on 127.0.0.1, for the real client: it deploys, looks up, spawns, polls and cancels against it.

No account and no network are needed. What a call runs is the deployed class, in Modal's own container runtime, as a
process for each container. What is not the real thing:

* An image is not built: its commands are recorded, and its ``ENV`` lines set in the container's process, which has
  this interpreter and its packages.
* A mount's files are copied to a folder, which is the process' working directory; its path is not ``/root``.
* A volume is a folder on disk. Its mount path does not exist: in values of the image's environment it is replaced by
  that folder, so a class must learn the path from there. Nothing keeps a process from writing to it.
* There are no accelerators, no limits of memory, no snapshots, and a crashed container's call is not run again.

Modal's API between client and server is not public. This speaks what modal 1.6 speaks, and only as much of it as this
project uses; every other call is answered UNIMPLEMENTED.
"""

from tests.modal_server.server import ModalServer, modal_client, modal_server

__all__ = ["ModalServer", "modal_client", "modal_server"]
