"""``earwitness up``: the local cloud, served until stopped."""

import signal
import threading
from pathlib import Path

from infra.cli.console import errors_as_exit, stderr, stdout
from infra.cli.weights import have_models, needed_models
from infra.observability import observe
from infra.observability.logs import install_logs
from infra.settings import load_settings
from shared.options import JobOptions

_GUIDE = """\
Earwitness is up at {url} (state in {folder}); Ctrl-C stops it.

{key}
Try, with any recording:

  curl -s {url}/v1/jobs -H "$KEY" -H 'content-type: application/json' -d '{{"filename": "talk.mp3"}}' > job.json
  curl -s -X PUT --data-binary @talk.mp3 -H 'content-type: application/octet-stream' \\
       -H 'x-goog-content-length-range: 0,{max_bytes}' -H 'x-goog-if-generation-match: 0' \\
       "$(python3 -c 'import json; print(json.load(open("job.json"))["upload"]["url"])')"
  JOB=$(python3 -c 'import json; print(json.load(open("job.json"))["job"]["job_id"])')
  until curl -s -H "$KEY" {url}/v1/jobs/$JOB |
    grep -E '"state":"(completed|failed|rejected)","revision"'; do sleep 1; done
  curl -s -H "$KEY" "{url}/v1/jobs/$JOB/transcript?format=txt"

API reference: {url}/docs"""

_NEW_KEY = """\
Your API key, which is shown this once:

  export KEY='authorization: Bearer {token}'
"""
_KEPT_KEY = """\
Your API key was shown when this state was made, to be kept as $KEY; 'earwitness keys create' makes another.
"""


def serve(port: int, data: Path | None) -> int:
    """Serve until SIGINT or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    settings = load_settings() if data is None else load_settings(data_dir=data.resolve())
    install_logs(settings)
    observe(settings)
    with errors_as_exit():
        have_models(needed_models(JobOptions()))
        from infra.local.cloud import LocalCloud

        cloud = LocalCloud(settings, port=port)
        cloud.runner.warm(["transcribe", "diarize"])
        with cloud:
            key = _NEW_KEY.format(token=cloud.owner_token) if cloud.is_new else _KEPT_KEY
            guide = _GUIDE.format(url=cloud.url, folder=settings.data_dir, max_bytes=settings.max_size_bytes, key=key)
            stdout.print(guide, markup=False, soft_wrap=True)
            stdout.file.flush()
            stop.wait()
    stderr.print("Stopped. What is unfinished goes on at the next start.")
    return 0
