"""Lines that are counted: metrics and alerts of a deployment are made of them.

What they say beside their sentence is a contract with ``terraform/modules/observability``, whose metrics name these
fields.
"""

import logging

log = logging.getLogger(__name__)


def tell(what: str, **said: str | float | None) -> None:
    """Log one line that something counts.

    Where log lines are for people, there are none of these: a sweep alone would write one a second.

    Args:
        what: Its name, as ``sweep.completed``.
        said: What it says. ``None`` and empty text are left out.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    fields = {name: value for name, value in said.items() if value not in (None, "")}
    sentence = ", ".join([what, *(f"{name} {value}" for name, value in fields.items())])
    log.info("%s", sentence, extra={"fields": {"what": what, **fields}})
