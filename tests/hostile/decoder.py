"""``python -m tests.hostile.decoder MEMORY_BYTES MAX_S``: the GPU jobs' decoder in a bounded process.

Speaks the protocol of :class:`infra.child.Child`: a path for a line, and the outcome for an answer.
"""

import json
import os
import resource
import sys

from gpu_jobs.attempt import as_pipeline_error
from gpu_jobs.audio import AudioStream
from shared.media import MediaLimits
from tests.hostile.hostile import ACCEPTED


def decode(path: str, limits: MediaLimits) -> dict[str, str]:
    """All of a recording, as a stage reads it."""
    try:
        with open(path, "rb") as media, AudioStream(media, limits) as audio:  # noqa: PTH123 - a path of any bytes
            for _ in audio.blocks():
                pass
    except Exception as error:  # noqa: BLE001 - the boundary that an attempt has, too
        return {"outcome": as_pipeline_error(error).code, "error": type(error).__name__}
    return {"outcome": ACCEPTED}


def main() -> None:
    """Answer until stdin ends."""
    memory_bytes, max_s = int(sys.argv[1]), float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print('{"ready": true}', file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(decode(line.rstrip("\n"), MediaLimits(max_duration_s=max_s))), file=answers, flush=True)


if __name__ == "__main__":
    main()
