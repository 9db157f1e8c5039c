"""Who may read what of Firestore: the security rules, as the emulator applies them to apps."""

import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud import firestore as google_firestore

from infra.gcp import job_store
from infra.gcp.job_store import FirestoreJobStore, connect
from tests.contract.stories import created
from tests.emulators import Emulator, firestore_emulator

RULES = Path(job_store.__file__).parent / "firestore.rules"
ADA = {"sub": "ada"}
BOB_AT_ACME = {"sub": "bob", "tenant_id": "acme"}
NOBODY = None
JOBS = {
    "job_ada": ("default", "ada"),
    "job_eve": ("default", "eve"),
    "job_ada_acme": ("acme", "ada"),
    "job_bob_acme": ("acme", "bob"),
    "job_bob": ("default", "bob"),
    "job_nobody": ("default", ""),
}
Claims = Mapping[str, Any] | None


@pytest.fixture(scope="module")
def guarded() -> Iterator[Emulator]:
    """An emulator with our rules."""
    with firestore_emulator(RULES) as emulator:
        yield emulator


class App:
    """What a signed-in app may ask: Firestore's REST API with the token of a user."""

    def __init__(self, emulator: Emulator, project: str) -> None:
        self._project = project
        self._client = httpx.Client(base_url=f"{emulator.url}/v1/", trust_env=False, timeout=30.0)

    @property
    def documents(self) -> str:
        return f"projects/{self._project}/databases/(default)/documents"

    def get(self, user: Claims, path: str) -> int:
        return self._client.get(f"{self.documents}/{path}", headers=self._headers(user)).status_code

    def list(self, user: Claims, collection: str = "jobs", **equal: str) -> list[str] | int:
        """Ids of what a query finds, or the status that refuses it."""
        filters = [
            {"fieldFilter": {"field": {"fieldPath": name}, "op": "EQUAL", "value": {"stringValue": value}}}
            for name, value in equal.items()
        ]
        query: dict[str, Any] = {"from": [{"collectionId": collection}]}
        if filters:
            query["where"] = {"compositeFilter": {"op": "AND", "filters": filters}}
            query["orderBy"] = [{"field": {"fieldPath": "job_id"}, "direction": "DESCENDING"}]
        answer = self._client.post(
            f"{self.documents}:runQuery", json={"structuredQuery": query}, headers=self._headers(user)
        )
        if answer.status_code != 200:
            return answer.status_code
        return [row["document"]["name"].rsplit("/", 1)[1] for row in answer.json() if "document" in row]

    def write(self, user: Claims, write: Mapping[str, Any]) -> int:
        return self._client.post(
            f"{self.documents}:commit", json={"writes": [write]}, headers=self._headers(user)
        ).status_code

    def _headers(self, user: Claims) -> dict[str, str]:
        return {} if user is None else {"authorization": f"Bearer {self._token(user)}"}

    def _token(self, claims: Mapping[str, Any]) -> str:
        """An unsigned token, which only an emulator takes."""
        issued = {
            "iss": f"https://securetoken.google.com/{self._project}",
            "aud": self._project,
            "iat": 0,
            "exp": 4_000_000_000,
            "auth_time": 0,
            "user_id": claims["sub"],
            "firebase": {"sign_in_provider": "custom", "identities": {}},
            **claims,
        }
        parts = ({"alg": "none", "typ": "JWT"}, issued)
        return ".".join(
            [*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), ""]
        )


@pytest.fixture
def project() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def store(guarded: Emulator, project: str, monkeypatch: pytest.MonkeyPatch) -> FirestoreJobStore:
    """The functions' own store: no rule applies to it."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", guarded.host)
    store = connect(project)
    for job_id, (tenant_id, owner_id) in JOBS.items():
        created(store, job_id, tenant_id=tenant_id, owner_id=owner_id)
    return store


@pytest.fixture
def app(guarded: Emulator, project: str, store: FirestoreJobStore) -> App:
    return App(guarded, project)


@pytest.mark.parametrize(
    ("user", "visible"),
    [
        (ADA, {"job_ada"}),
        ({"sub": "ada", "tenant_id": "default"}, {"job_ada"}),
        ({"sub": "ada", "tenant_id": "acme"}, {"job_ada_acme"}),
        (BOB_AT_ACME, {"job_bob_acme"}),
        ({"sub": "bob"}, {"job_bob"}),
        ({"sub": "ada", "tenant_id": "other"}, set()),
        ({"sub": "ada", "tenant_id": ""}, set()),
        ({"sub": "ada", "tenant_id": None}, set()),
        ({"sub": "ada", "tenant_id": ["default"]}, set()),
        ({"sub": "mallory"}, set()),
        ({"sub": ""}, set()),
        (NOBODY, set()),
    ],
)
def test_a_user_reads_their_own_jobs_of_their_tenant_alone(app: App, user: Claims, visible: set[str]) -> None:
    answers = {job_id: app.get(user, f"jobs/{job_id}") for job_id in JOBS}
    assert {job_id for job_id, status in answers.items() if status == 200} == visible
    assert {status for status in answers.values() if status != 200} == {403}


def test_a_job_that_is_not_there_looks_like_anyone_elses(app: App) -> None:
    assert app.get(ADA, "jobs/job_x") == app.get(ADA, "jobs/job_eve") == 403


def test_a_user_lists_their_own_jobs(app: App) -> None:
    assert app.list(ADA, tenant_id="default", owner_id="ada") == ["job_ada"]
    assert app.list(BOB_AT_ACME, tenant_id="acme", owner_id="bob") == ["job_bob_acme"]
    assert app.list({"sub": "mallory"}, tenant_id="default", owner_id="mallory") == []


@pytest.mark.parametrize(
    ("user", "equal"),
    [
        (ADA, {}),
        (ADA, {"owner_id": "ada"}),
        (ADA, {"tenant_id": "default"}),
        (ADA, {"tenant_id": "default", "owner_id": "eve"}),
        (ADA, {"tenant_id": "acme", "owner_id": "ada"}),
        (ADA, {"tenant_id": "default", "owner_id": ""}),
        (BOB_AT_ACME, {"tenant_id": "default", "owner_id": "bob"}),
        ({"sub": ""}, {"tenant_id": "default", "owner_id": ""}),
        (NOBODY, {"tenant_id": "default", "owner_id": ""}),
        (NOBODY, {"tenant_id": "default", "owner_id": "ada"}),
    ],
)
def test_a_query_that_could_find_more_is_refused(app: App, user: Claims, equal: dict[str, str]) -> None:
    assert app.list(user, **equal) == 403


@pytest.mark.parametrize("user", [ADA, BOB_AT_ACME, NOBODY, {"sub": "ada", "admin": True}])
def test_nobody_writes(app: App, store: FirestoreJobStore, user: Claims) -> None:
    before = list(store.list())
    fields = {name: {"stringValue": value} for name, value in {"tenant_id": "default", "owner_id": "ada"}.items()}
    for path in ("jobs/job_new", "jobs/job_ada", "jobs/job_eve", "outbox/event", "users/ada", "jobs/job_ada/notes/1"):
        name = f"{app.documents}/{path}"
        assert app.write(user, {"update": {"name": name, "fields": fields}}) == 403
        assert app.write(user, {"delete": name}) == 403
    assert list(store.list()) == before
    assert len(store.unpublished()) == len(JOBS)


@pytest.mark.parametrize("user", [ADA, NOBODY])
def test_the_outbox_and_all_else_is_closed(app: App, project: str, user: Claims) -> None:
    """Whatever a document there may say of its owner."""
    paths = ("outbox/event", "users/ada", "jobs/job_ada/notes/1", "outbox/unknown", "unknown/unknown")
    owned = {"tenant_id": "default", "owner_id": "ada", "job_id": "job_ada"}
    for path in paths[:3]:
        google_firestore.Client(project=project).document(path).set(owned)
    assert {app.get(user, path) for path in paths} == {403}
    assert {app.list(user, collection) for collection in ("outbox", "users")} == {403}
    assert {app.list(user, collection, **owned) for collection in ("outbox", "users")} == {403}
