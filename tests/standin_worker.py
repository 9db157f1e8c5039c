"""A stand-in for ``gpu_jobs.worker``: it answers in milliseconds and misbehaves on request. It is no model.

What it does is read from ``behaviour.json`` in the models folder at each request, by stage:
``{"transcribe": {"sleep_s": 1, "words": 1000, "crash": 2, "fail": {"code": …}, "hang": true, "silent": true}}``.
``crash`` is the number of attempts that crash first. Each start is a line of ``started.txt`` there.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import httpx

FOLDER = Path(os.environ["EARWITNESS_MODELS_DIR"])


def main() -> None:
    """Answer requests until stdin ends."""
    client = httpx.Client(trust_env=False)
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
        _answer(client, json.loads(lines.pop(0)))


def _answer(client: httpx.Client, request: dict) -> None:
    with (FOLDER / "started.txt").open("a") as file:
        file.write(f"{time.time()} {request['job_id']} {request['stage']} {request['attempt']}\n")
    path = FOLDER / "behaviour.json"
    wanted = json.loads(path.read_text()).get(request["stage"], {}) if path.exists() else {}
    if request["attempt"] <= wanted.get("crash", 0):
        os._exit(3)
    if wanted.get("hang"):
        threading.Event().wait()
    if wanted.get("sleep_s"):
        _report(client, request, {"type": "stage.progressed", "progress": 0.5, "partial_text": "half of it"})
        time.sleep(wanted["sleep_s"])
    if "fail" in wanted:
        _report(client, request, {"type": "stage.failed", "error": wanted["fail"]})
        print(json.dumps({"ok": False, "error": wanted["fail"]}), flush=True)
        return
    for output in request["outputs"]:
        upload = output["upload"]
        body = json.dumps(_artifact(request["stage"], wanted.get("words", 4)))
        answer = client.request(upload["method"], upload["url"], headers=upload["headers"], content=body)
        assert answer.status_code in (200, 412), answer.text
    if not wanted.get("silent"):
        _report(client, request, {"type": "stage.completed", "metrics": {"audio_s": 2.0}})
    print('{"ok": true}', flush=True)


def _artifact(stage: str, count: int) -> dict:
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


def _report(client: httpx.Client, request: dict, report: dict) -> None:
    target = request["report"]
    body = {**report, "stage": request["stage"], "attempt": request["attempt"]}
    client.post(target["url"], headers={"authorization": f"Bearer {target['token']}"}, json=body)


if __name__ == "__main__":
    main()
