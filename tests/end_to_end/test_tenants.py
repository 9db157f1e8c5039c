"""One tenant at another's door: every operation of the reference, with every kind of id there is."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.cloud import LocalCloud
from tests.api_world import DOCUMENT, INNER, OPERATIONS, WAV, World, build_world, path_ids, request, tenant
from tests.clouds import Phone, standin_cloud

WITH_IDS = [name for name in OPERATIONS if path_ids(name)]
# What shows many things; of a job B has one too. That A's own are not found is tried for every operation.
LISTS = [
    name
    for name, (_, method, operation) in OPERATIONS.items()
    if method == "get" and operation.get("security") and path_ids(name) in ([], ["job_id"])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[LocalCloud]:
    with standin_cloud(folder, requests_per_minute=1_000_000, lease_s=60.0) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def a(cloud: LocalCloud, folder: Path) -> World:
    return build_world(cloud, tenant(cloud, "a"), folder)


@pytest.fixture(scope="module")
def b(cloud: LocalCloud) -> Phone:
    return tenant(cloud, "b")


def unknown(known: str) -> str:
    """An id of the same form that nobody has."""
    head, tail = known[:-8], known[-8:]
    return head + re.sub(r"[0-9a-f]", lambda found: f"{15 - int(found[0], 16):x}", tail)


def told(answer: httpx.Response, one: str) -> tuple[int, Any]:
    """Everything an answer says, but for the id that was asked for."""
    return answer.status_code, json.loads(answer.text.replace(one, "ID"))


def probed(client: httpx.Client, name: str, ids: dict[str, str], header: dict[str, str]) -> httpx.Response:
    # A stream that is not refused would not end.
    params = {"q": "word"} if name == "transcripts_matches" else None
    return request(client, name, ids, headers=header, params=params, timeout=5.0)


def seen(world: World) -> dict[str, Any]:
    """What the owner sees of everything, without when their own key was used last."""
    client = world.phone.client
    jobs = [client.get(f"/v1/jobs/{one}").json() for one in world.ids["job_id"]]
    # What runs changes by itself; it must run still.
    told = [(job["state"], job["revision"] if job["state"] != "running" else None) for job in jobs]
    pages = {path: client.get(path).json()["data"] for path in ("/v1/keys", "/v1/webhooks")}
    for key in pages["/v1/keys"]:
        key.pop("last_used_at")
    deliveries = {one: client.get(f"/v1/webhooks/deliveries/{one}").json() for one in world.ids["delivery_id"]}
    return {"jobs": told, "deliveries": deliveries, **pages}


def test_anothers_ids_are_answered_as_unknown_ones(a: World, b: Phone, tell: Callable[[str], None]) -> None:
    before = seen(a)
    token = b.client.headers["authorization"].removeprefix("Bearer ")
    probes, leaks = 0, []
    for name in WITH_IDS:
        (kind,) = path_ids(name)
        for one in a.ids[kind]:
            for header in ({}, {"x-api-key": token}, {"idempotency-key": f"probe-{one}", "if-none-match": '"1"'}):
                theirs = probed(b.client, name, {kind: one}, header)
                nobodys = probed(b.client, name, {kind: unknown(one)}, header)
                probes += 1
                if theirs.status_code != 404 or told(theirs, one) != told(nobodys, unknown(one)):
                    leaks.append((name, one, theirs.status_code, theirs.text[:200], nobodys.text[:200]))
    assert leaks == []
    # In queries and bodies too: an id there is not found either, or means nothing.
    for name, (path, _, operation) in OPERATIONS.items():
        queries = [row["name"] for row in operation.get("parameters", ()) if row["in"] == "query"]
        for query in queries if "{" not in path else ():
            for one in a.all_ids:
                answer = b.client.get(path, params={query: one}, timeout=5.0)
                probes += 1
                assert answer.status_code in (200, 400, 422), (name, query, answer.text)
                assert answer.status_code != 200 or not _leaks(answer, a, [one]), (name, query, answer.text)
    tell(f"{probes} probes of {len(WITH_IDS)} operations with ids, and of queries: 0 leaks, every one 404 as unknown")
    assert probes >= 300
    assert seen(a) == before


def test_cursors_of_another_tenant_lead_nowhere(a: World, b: Phone) -> None:
    """What continues one's own list shows nothing of it to another."""
    for path in ("/v1/jobs", "/v1/keys", "/v1/webhooks", "/v1/audit"):
        cursor = a.phone.client.get(path, params={"limit": 1}).json()["next_cursor"]
        assert cursor, path
        answer = b.client.get(path, params={"cursor": cursor})
        assert answer.status_code == 400 or not _leaks(answer, a), (path, answer.text)


@pytest.mark.parametrize("name", LISTS)
def test_lists_show_nothing_of_another(name: str, a: World, b: Phone) -> None:
    """Whatever B may see of their own, in every list there is; and their own ids beside A's in one path."""
    mine = {"job_id": b.send(WAV)} if "job_id" in path_ids(name) else {}
    with b.client.stream("GET", OPERATIONS[name][0].format(**INNER, **mine), params=_query(name)) as answer:
        text = next(answer.iter_text(), "")
    assert not any(secret in text for secret in (*a.all_ids, "secret-of-a")), (name, text)


def test_what_the_world_lacks_is_noticed() -> None:
    """A new kind of id must be one that the world has, so that it is tried."""
    kinds = {name for operation in WITH_IDS for name in path_ids(operation)}
    assert kinds == {"job_id", "key_id", "webhook_id", "delivery_id"}
    assert all(len(path_ids(name)) == 1 for name in WITH_IDS)


@pytest.mark.parametrize("name", [name for name, (_, _, row) in OPERATIONS.items() if row.get("security")])
def test_every_operation_needs_a_key(name: str, cloud: LocalCloud) -> None:
    nobody = Phone(cloud.url).client
    answer = request(nobody, name, dict.fromkeys(path_ids(name), "x"), timeout=5.0)
    assert answer.status_code == 401, answer.text


def test_what_needs_no_key_says_nothing_of_anyone() -> None:
    free = {name for name, (_, _, operation) in OPERATIONS.items() if not operation.get("security")}
    assert free <= {"operations_live", "operations_ready", "operations_metrics"}
    assert DOCUMENT["components"]["securitySchemes"]


def _query(name: str) -> dict[str, str]:
    return {"q": "word"} if name == "transcripts_matches" else {}


def _leaks(answer: httpx.Response, world: World, asked: list[str] | None = None) -> list[str]:
    hidden = [one for one in world.all_ids if one not in (asked or [])]
    return [secret for secret in (*hidden, "secret-of-a") if secret in answer.text]
