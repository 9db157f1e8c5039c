"""Who may push: tokens of a key made here, certificates from a server on this machine."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.crypt import RSASigner
from hypothesis import given
from hypothesis import strategies as st

from infra.gcp.push_auth import PushAuthentication
from shared.errors import PipelineError
from tests.emulators import free_port

AUDIENCE = "https://orchestrate.example"
ACCOUNT = "pusher@project.iam.gserviceaccount.com"


class Key:
    """A key as Google has them: known by an id, with a certificate."""

    def __init__(self, key_id: str) -> None:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "federated-signon.example")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(private, hashes.SHA256())
        )
        self.key_id = key_id
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.signer = RSASigner(private, key_id)


FIRST, SECOND = Key("first"), Key("second")


@dataclass
class Server:
    """What the server of certificates answers, and how often it was asked."""

    url: str = ""
    status: int = 200
    body: str = ""
    asked: int = 0

    def show(self, *keys: Key) -> None:
        self.body = json.dumps({key.key_id: key.pem for key in keys})


@pytest.fixture(scope="module")
def listening() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked += 1
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(server.body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{http.server_port}/certs"
        yield server
        http.shutdown()


@pytest.fixture
def server(listening: Server) -> Server:
    listening.status, listening.asked = 200, 0
    listening.show(FIRST)
    return listening


@dataclass
class Clock:
    now_s: float = field(default_factory=time.monotonic)

    def __call__(self) -> float:
        return self.now_s


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": ACCOUNT,
        "email_verified": True,
        "iat": now,
        "exp": now + 3600,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def bearer(payload: Mapping[str, Any], key: Key = FIRST, **header: Any) -> str:
    return "Bearer " + jwt.encode(key.signer, payload, header=header).decode()


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def authentication(server: Server, **options: Any) -> PushAuthentication:
    return PushAuthentication(AUDIENCE, [ACCOUNT], server.url, **options)


def refusal(checked: PushAuthentication, authorization: str | None) -> str:
    with pytest.raises(PipelineError) as refused:
        checked.check(authorization)
    return refused.value.code


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
def test_a_token_of_our_account_for_our_audience_passes(server: Server, issuer: str) -> None:
    checked = authentication(server)
    checked.check(bearer(claims(iss=issuer)))
    checked.check(bearer(claims()).replace("Bearer", "bearer"))


def test_clocks_may_differ_by_seconds(server: Server) -> None:
    now = int(time.time())
    authentication(server).check(bearer(claims(exp=now - 5)))
    authentication(server).check(bearer(claims(iat=now + 5)))


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "https://other.example"},
        {"aud": [AUDIENCE]},
        {"aud": None},
        {"email": "stranger@project.iam.gserviceaccount.com"},
        {"email": ACCOUNT.upper()},
        {"email": None},
        {"email": [ACCOUNT]},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"iss": "https://accounts.example"},
        {"iss": None},
        pytest.param({"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200}, id="of an hour ago"),
        {"exp": None},
        {"exp": "tomorrow"},
        pytest.param({"iat": int(time.time()) + 3600, "exp": int(time.time()) + 7200}, id="of an hour to come"),
        {"iat": None},
    ],
    ids=json.dumps,
)
def test_a_signed_token_that_says_something_else_is_refused(server: Server, changed: dict[str, Any]) -> None:
    assert refusal(authentication(server), bearer(claims(**changed))) == "request.unauthorized"


def test_another_key_is_refused_whatever_name_it_goes_by(server: Server) -> None:
    impostor = Key(FIRST.key_id)
    assert refusal(authentication(server), bearer(claims(), impostor)) == "request.unauthorized"
    assert refusal(authentication(server), bearer(claims(), SECOND)) == "request.unauthorized"


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS256", "ES256", None, ["RS256"]])
def test_another_algorithm_is_refused(server: Server, algorithm: Any) -> None:
    unsigned = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': FIRST.key_id})}.{part(claims())}."
    assert refusal(authentication(server), f"Bearer {unsigned}") == "request.unauthorized"
    assert refusal(authentication(server), bearer(claims(), alg=algorithm)) == "request.unauthorized"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer garbage",
        "Bearer a.b.c",
        "Bearer ...",
        "Basic dXNlcjpwYXNz",
        "Bearer \u00fc.\u00fc.\u00fc",
        f"Bearer {part('text')}.{part([])}.xxxx",
        f"Bearer {base64.urlsafe_b64encode(b'[' * 30_000).decode()}.{part({})}.xxxx",
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_token_is_refused(server: Server, authorization: str | None) -> None:
    assert refusal(authentication(server), authorization) == "request.unauthorized"


@given(st.text(), st.text(), st.binary())
def test_whatever_is_made_up_is_refused(listening: Server, header: str, payload: str, signature: bytes) -> None:
    listening.status = 200
    listening.show(FIRST)
    checked = authentication(listening)
    encoded = [base64.urlsafe_b64encode(value).decode() for value in (header.encode(), payload.encode(), signature)]
    for token in (
        ".".join(encoded),
        header,
        f"{header}.{payload}.{signature!r}",
        f"{part({'alg': 'RS256'})}.{encoded[1]}.",
    ):
        assert refusal(checked, f"Bearer {token}") == "request.unauthorized"


def test_a_token_that_was_altered_is_refused(server: Server) -> None:
    header, _, signature = bearer(claims(email="stranger@example.com")).split(".")
    assert refusal(authentication(server), f"{header}.{part(claims())}.{signature}") == "request.unauthorized"


def test_certificates_are_fetched_once_in_a_while(server: Server) -> None:
    clock = Clock()
    checked = authentication(server, now=clock)
    for _ in range(5):
        checked.check(bearer(claims()))
        refusal(checked, bearer(claims(), SECOND))
    assert server.asked == 1
    clock.now_s += 601
    checked.check(bearer(claims()))
    assert server.asked == 2


def test_a_request_without_a_token_fetches_nothing(server: Server) -> None:
    refusal(authentication(server), None)
    assert server.asked == 0


def test_rotated_certificates_are_taken_up_and_old_ones_dropped(server: Server) -> None:
    clock = Clock()
    checked = authentication(server, now=clock)
    checked.check(bearer(claims()))
    server.show(SECOND)
    clock.now_s += 601
    checked.check(bearer(claims(), SECOND))
    assert refusal(checked, bearer(claims())) == "request.unauthorized"


@pytest.mark.parametrize(
    ("status", "body"), [(500, "{}"), (404, ""), (200, ""), (200, "<html>"), (200, "{}"), (200, "[1]"), (200, "null")]
)
def test_certificates_that_cannot_be_had_let_nobody_pass(server: Server, status: int, body: str) -> None:
    good = server.body
    server.status, server.body = status, body
    clock = Clock()
    checked = authentication(server, now=clock)
    assert refusal(checked, bearer(claims())) == "service.unavailable"
    server.status, server.body = 200, good
    checked.check(bearer(claims()))  # a failure is not remembered
    server.status, server.body = status, body
    clock.now_s += 601
    assert refusal(checked, bearer(claims())) == "service.unavailable"  # nor are certificates used longer for it


def test_a_certificate_that_is_none_lets_nobody_pass(server: Server) -> None:
    server.body = json.dumps({FIRST.key_id: "nonsense"})
    assert refusal(authentication(server), bearer(claims())) == "request.unauthorized"


def test_a_server_that_is_not_there_or_says_nothing_is_known_in_seconds() -> None:
    gone = PushAuthentication(AUDIENCE, [ACCOUNT], f"http://127.0.0.1:{free_port()}/certs")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = PushAuthentication(AUDIENCE, [ACCOUNT], f"http://127.0.0.1:{silent.getsockname()[1]}/certs")
        began = time.monotonic()
        assert refusal(gone, bearer(claims())) == refusal(mute, bearer(claims())) == "service.unavailable"
    assert time.monotonic() - began < 8.0
