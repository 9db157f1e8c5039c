"""A stand-in for ``gpu_jobs.worker``: it answers in milliseconds and misbehaves on request. It is no model.

What it does is read from ``behaviour.json`` in the models folder at each request, by stage:
``{"transcribe": {"sleep_s": 1, "words": 1000, "crash": 2, "fail": {"code": …}, "hang": true, "silent": true}}``.
``crash`` is the number of attempts that crash first, ``signal`` what kills every attempt, ``answers`` what it answers
instead, ``writes`` what its artifacts hold; ``silent`` ones do all but report. Each start is a line of ``started.txt``
there.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

FOLDER_VARIABLE = "EARWITNESS_MODELS_DIR"


def main() -> None:
    """Answer requests until stdin ends."""
    lines: list[str] = []
    arrived = threading.Semaphore(0)

    def read() -> None:
        for line in sys.stdin:
            lines.append(line)
            arrived.release()
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    print('{"ready": true}', flush=True)
    while True:
        arrived.acquire()
        print(json.dumps(answer(json.loads(lines.pop(0)))), flush=True)


def answer(request: dict[str, Any], model: str = "stand-in") -> dict[str, Any]:
    """Do as ordered, report, and return what a GPU job answers to its runner."""
    folder = Path(os.environ[FOLDER_VARIABLE])
    with (folder / "started.txt").open("a") as file:
        file.write(f"{time.time()} {request['job_id']} {request['stage']} {request['attempt']}\n")
    path = folder / "behaviour.json"
    wanted = json.loads(path.read_text()).get(request["stage"], {}) if path.exists() else {}
    if request["attempt"] <= wanted.get("crash", 0):
        os._exit(3)
    if "signal" in wanted:
        os.kill(os.getpid(), wanted["signal"])
    if "answers" in wanted:
        return wanted["answers"]
    if wanted.get("hang"):
        threading.Event().wait()
    with httpx.Client(trust_env=False) as client:
        return _work(client, request, wanted, model)


def _work(client: httpx.Client, request: dict[str, Any], wanted: dict[str, Any], model: str) -> dict[str, Any]:
    if wanted.get("sleep_s"):
        _report(
            client,
            request,
            {"type": "stage.progressed", "progress": 0.5, "partial_text": wanted.get("partial", "half of it")},
        )
        time.sleep(wanted["sleep_s"])
    if "fail" in wanted:
        _report(client, request, {"type": "stage.failed", "error": wanted["fail"]})
        return {"ok": False, "error": wanted["fail"]}
    for output in request["outputs"]:
        upload = output["upload"]
        body = wanted.get("writes") or json.dumps(_artifact(request["stage"], wanted.get("words", 4)))
        stored = client.request(upload["method"], upload["url"], headers=upload["headers"], content=body)
        assert stored.status_code in (200, 412), stored.text
    report = {"type": "stage.completed", "metrics": {"audio_s": 2.0, "model": model}}
    if not wanted.get("silent"):
        _report(client, request, report)
    return {"ok": True, "report": _of(request, report)}


def _artifact(stage: str, count: int) -> dict[str, Any]:
    """Words of half a second each, and a change of speaker every ten words."""
    if stage == "diarize":
        turns = [
            {"speaker": f"SPEAKER_0{i % 2}", "start_s": i * 5.0, "end_s": i * 5.0 + 5.0} for i in range(count // 10 + 1)
        ]
        return {"duration_s": count * 0.5, "turns": turns}
    words = [
        {"text": f" word{i}", "start_s": i * 0.5, "end_s": i * 0.5 + 0.4, "probability": 0.9} for i in range(count)
    ]
    segments = [
        {"start_s": part[0]["start_s"], "end_s": part[-1]["end_s"], "words": part}
        for part in (words[i : i + 10] for i in range(0, count, 10))
    ]
    return {"language": "en", "duration_s": count * 0.5, "segments": segments, "model": "stand-in"}


def _report(client: httpx.Client, request: dict[str, Any], report: dict[str, Any]) -> None:
    target = request["report"]
    client.post(target["url"], headers={"authorization": f"Bearer {target['token']}"}, json=_of(request, report))


def _of(request: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    return {**report, "stage": request["stage"], "attempt": request["attempt"]}


if __name__ == "__main__":
    main()
