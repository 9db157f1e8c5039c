"""Signed URLs of Cloud Storage, checked as the service would: from the documented V4 process, with the public key."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.auth import compute_engine, impersonated_credentials
from google.auth.credentials import AnonymousCredentials, Credentials, Signing
from google.auth.exceptions import TransportError
from google.auth.transport import Response
from google.cloud.storage import Client
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials as PersonalCredentials

from infra.gcp.object_store import CloudObjectStore
from infra.gcp.signing import IamSigning, emulator_credentials, signing_credentials
from shared.errors import PipelineError
from shared.media import ObjectRef

ACCOUNT = "earwitness@project.iam.gserviceaccount.com"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
REF = ObjectRef(bucket="earwitness-uploads", name="t/job/ünï 片 & ? # %41+~.json")
PATH = "/earwitness-uploads/t/job/%C3%BCn%C3%AF%20%E7%89%87%20%26%20%3F%20%23%20%2541%2B~.json"


def key_file() -> dict[str, str]:
    pem = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key": pem,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def store(signing: Signing) -> CloudObjectStore:
    return CloudObjectStore(Client(project="project", credentials=AnonymousCredentials()), signing)


def signed_headers(method: str, url: str, headers: Mapping[str, str], key: rsa.RSAPublicKey) -> list[str]:
    """The headers that a URL's signature covers; fails where it does not fit the request.

    Source: "Signatures" and "Canonical requests" of the Cloud Storage documentation.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    signature = bytes.fromhex(query.pop("X-Goog-Signature"))
    names = query["X-Goog-SignedHeaders"].split(";")
    sent = {"host": parts.netloc, **{name.lower(): value for name, value in headers.items()}}
    canonical = "\n".join(
        [
            method,
            parts.path,
            "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items())),
            *(f"{name}:{sent[name]}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
    )
    _, _, scope = query["X-Goog-Credential"].partition("/")
    text = "\n".join(["GOOG4-RSA-SHA256", query["X-Goog-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert scope == f"{query['X-Goog-Date'][:8]}/auto/storage/goog4_request"
    return names


class Google:
    """Plays IAM and the metadata server to the real credentials, over the library's own transport interface."""

    def __init__(self, answer: Callable[[], tuple[int, bytes]] | None = None) -> None:
        self.answer = answer
        self.signed: list[bytes] = []

    def __call__(self, url: str, method: str = "GET", body: bytes | None = None, headers: Any = None, **_: Any) -> Any:
        parts = urlsplit(url)
        if parts.hostname == "iamcredentials.googleapis.com" and parts.path.endswith(":signBlob"):
            return answer(*(self.answer or (lambda: self._sign(parts.path, method, body, headers)))())
        if parts.path.endswith("/token"):
            return answer(200, json.dumps({"access_token": "ya29", "expires_in": 3600}).encode())
        if "/service-accounts/" in parts.path and "metadata" in str(parts.hostname):
            return answer(200, json.dumps({"email": ACCOUNT, "scopes": []}).encode())
        return answer(404, b"")

    def _sign(self, path: str, method: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        allowed = path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:signBlob" and method == "POST"
        if not allowed or {name.lower(): value for name, value in headers.items()}["authorization"] != "Bearer ya29":
            return 403, b"{}"
        message = base64.b64decode(json.loads(body or b"")["payload"], validate=True)
        self.signed.append(message)
        signature = KEY.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return 200, json.dumps({"keyId": "1", "signedBlob": base64.b64encode(signature).decode()}).encode()


def answer(status_code: int, content: bytes) -> Response:
    class Answer(Response):
        status = status_code
        headers = {"content-type": "application/json"}  # noqa: RUF012  (as the library's interface has it)
        data = content

    return Answer()


def on_cloud_run() -> compute_engine.Credentials:
    return compute_engine.Credentials(universe_domain="googleapis.com")


def with_iam(google: Google) -> CloudObjectStore:
    return store(signing_credentials(on_cloud_run(), google))


def with_key(_: Google) -> CloudObjectStore:
    return store(signing_credentials(service_account.Credentials.from_service_account_info(key_file())))


@pytest.fixture(params=[with_key, with_iam])
def objects(request: pytest.FixtureRequest) -> CloudObjectStore:
    return request.param(Google())


@pytest.mark.parametrize("resumable", [False, True], ids=["put", "resumable"])
def test_an_upload_is_signed_with_all_that_limits_it(objects: CloudObjectStore, resumable: bool) -> None:
    upload = objects.sign_upload(
        REF, content_type="audio/ogg; codecs=opus", max_bytes=5_000, expires_s=90.0, resumable=resumable
    )
    limits = {
        "content-type": "audio/ogg; codecs=opus",
        "x-goog-content-length-range": "0,5000",
        "x-goog-if-generation-match": "0",
    }
    assert upload.method == ("POST" if resumable else "PUT")
    assert upload.headers == ({**limits, "x-goog-resumable": "start"} if resumable else limits)
    assert signed_headers(upload.method, upload.url, upload.headers, KEY.public_key()) == sorted(
        [*upload.headers, "host"]
    )
    parts = urlsplit(upload.url)
    query = dict(parse_qsl(parts.query))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "storage.googleapis.com", PATH)
    assert unquote(parts.path) == f"/{REF.bucket}/{REF.name}"
    assert query["X-Goog-Expires"] == "90"
    assert query["X-Goog-Credential"].startswith(f"{ACCOUNT}/")


@pytest.mark.parametrize("generation", [None, 1795271418167322])
def test_a_download_is_signed_and_keeps_to_its_generation(objects: CloudObjectStore, generation: int | None) -> None:
    url = objects.sign_download(REF.model_copy(update={"generation": generation}), expires_s=60.0)
    assert signed_headers("GET", url, {}, KEY.public_key()) == ["host"]
    assert dict(parse_qsl(urlsplit(url).query)).get("generation") == (str(generation) if generation else None)


def test_the_check_of_these_tests_finds_what_was_not_signed() -> None:
    upload = with_key(Google()).sign_upload(REF, content_type="audio/wav", max_bytes=10, expires_s=60.0)
    altered = {**upload.headers, "x-goog-content-length-range": "0,99"}
    for method, url, headers in (
        ("POST", upload.url, upload.headers),
        ("PUT", upload.url.replace("/job/", "/other/"), upload.headers),
        ("PUT", upload.url.replace("Expires=60", "Expires=61"), upload.headers),
        ("PUT", upload.url, altered),
    ):
        with pytest.raises(InvalidSignature):
            signed_headers(method, url, headers, KEY.public_key())


def test_without_a_key_iam_signs_once_for_each_url() -> None:
    google = Google()
    objects = with_iam(google)
    for _ in range(2):
        objects.sign_download(REF, expires_s=60.0)
    assert [message.splitlines()[0] for message in google.signed] == [b"GOOG4-RSA-SHA256"] * 2


@pytest.mark.parametrize(
    "failure",
    [
        (403, b'{"error": {"status": "PERMISSION_DENIED"}}'),
        (404, b""),
        (503, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b"[]"),
    ],
    ids=str,
)
def test_iam_that_does_not_sign_is_unavailable(failure: tuple[int, bytes]) -> None:
    began = time.monotonic()
    assert refusal(Google(lambda: failure)) == "service.unavailable"
    assert time.monotonic() - began < 8.0


def test_iam_that_does_not_answer_is_unavailable() -> None:
    def silent() -> tuple[int, bytes]:
        raise TransportError(requests.exceptions.ReadTimeout())

    assert refusal(Google(silent)) == "service.unavailable"


def refusal(google: Google) -> str:
    with pytest.raises(PipelineError) as refused:
        with_iam(google).sign_download(REF, expires_s=60.0)
    return refused.value.code


def test_a_metadata_server_that_knows_no_account_is_unavailable() -> None:
    def nothing(url: str, **_: Any) -> Response:
        return answer(404, b"")

    with pytest.raises(PipelineError) as refused:
        store(signing_credentials(on_cloud_run(), nothing)).sign_download(REF, expires_s=60.0)
    assert refused.value.code == "service.unavailable"


def test_credentials_that_can_sign_are_used_as_they_are() -> None:
    own = service_account.Credentials.from_service_account_info(key_file())
    impersonating = impersonated_credentials.Credentials(
        own, ACCOUNT, ["https://www.googleapis.com/auth/cloud-platform"]
    )
    assert signing_credentials(own) is own
    assert signing_credentials(impersonating) is impersonating
    assert isinstance(signing_credentials(on_cloud_run()), IamSigning)


@pytest.mark.parametrize(
    "credentials", [AnonymousCredentials(), PersonalCredentials("token")], ids=["none", "a person"]
)
def test_credentials_of_no_service_account_are_refused_at_once(credentials: Credentials) -> None:
    with pytest.raises(PipelineError) as refused:
        signing_credentials(credentials)
    assert refused.value.code == "service.unavailable"
    assert "service account" in refused.value.message


def test_an_emulator_gets_a_key_that_no_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    signing = emulator_credentials()
    objects = CloudObjectStore(Client(project="project"), signing)
    url = objects.sign_download(REF, expires_s=60.0)
    assert url.startswith(f"http://127.0.0.1:9{PATH}?")
    assert emulator_credentials().sign_bytes(b"x") != signing.sign_bytes(b"x")
