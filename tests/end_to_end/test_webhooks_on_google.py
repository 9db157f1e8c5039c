"""Webhooks on Google's emulators: from a job's event over two topics to a signed request, tried again, replayed."""

from collections.abc import Mapping
from pathlib import Path

from tests.clouds import wait_for
from tests.google_cloud import UnpackedFunction, google_cloud
from tests.receivers import Got, receiving


def test_a_webhook_is_tried_again_until_it_is_taken(bundled: Mapping[str, UnpackedFunction], tmp_path: Path) -> None:
    with receiving() as receiver, google_cloud(bundled, tmp_path, {}, webhook_first_retry_s="0.1") as cloud:

        def answer(got: Got) -> tuple[int, Mapping[str, str]]:
            return (503 if len(receiver.of(got.path)) == 1 and got.path == "/hook" else 204), {}

        receiver.answer = answer
        api = cloud.phone.client
        made = api.post(
            "/v1/webhooks", json={"url": f"{receiver.url}/hook", "events": ["job.*"], "payload": "full"}
        ).json()
        webhook_id, secret = made["webhook"]["webhook_id"], made["secret"]
        callback = api.post("/v1/webhooks/callback/rotate", json={}).json()["secret"]
        job_id = cloud.phone.create(callback={"url": f"{receiver.url}/callback"})["job"]["job_id"]
        refused, taken = receiver.wait(2, "/hook", timeout_s=30.0)
        assert refused.id == taken.id and refused.verified(secret) == taken.verified(secret)
        assert taken.json["data"]["job"]["job_id"] == job_id
        api.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        (got,) = receiver.wait(1, "/callback", timeout_s=30.0)
        assert got.verified(callback)["type"] == "job.canceled"
        log = f"/v1/webhooks/{webhook_id}/deliveries"
        rows = wait_for(lambda: len(rows := api.get(log, params={"state": "delivered"}).json()["data"]) == 2 and rows)
        (tried,) = [row for row in rows if row["delivery_id"] == taken.id]
        assert [attempt["status"] for attempt in tried["attempts"]] == [503, 204]
        assert api.post(f"/v1/webhooks/deliveries/{taken.id}/replay").status_code == 202
        wait_for(lambda: [got.id for got in receiver.of("/hook")].count(taken.id) == 3)
        assert secret not in cloud.functions["notify"].log.read_text()
