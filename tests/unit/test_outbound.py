"""Requests to addresses that tenants name: where they go, where never, and how long they take at most.

One file: every way around a rule is tried beside the rule.
"""

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from infra import outbound
from infra.outbound import Outbound
from shared.addresses import check_url, is_public, may_be_called, read_address
from shared.errors import PipelineError

LOOPBACK = (ip_network("127.0.0.0/8"),)

_PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.1.2.3 168.63.129.16
169.254.169.254 169.254.0.1 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1
192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 ::
::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1
100::1 2001::1 2001:0:7f00:1::1 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254
fd12::1 fe80::1 fe80::a9fe:a9fe fec0::1 ff02::1 ff0e::1
"""
_PUBLIC = """
1.1.1.1 8.8.8.8 52.94.236.248 172.15.0.1 172.32.0.1 192.167.1.1 2606:4700::1111 2a00:1450:4001::1
"""
# As a resolver or a browser would take them; none of them is what it looks like.
_HOSTS = """
localhost LOCALHOST localhost. a.localhost metadata.google.internal metadata.google.internal. instance.internal
printer.local 127.0.0.1 127.1 0x7f.1 0x7f000001 0177.0.0.1 017700000001 2130706433 0 0.0.0.0 2852039166 0xa9fea9fe
169.254.43518 10.1 192.168.257 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:a9fe:a9fe] [64:ff9b::a9fe:a9fe]
[2002:7f00:1::] [fe80::1] [fd00:ec2::254] [::127.0.0.1] [0:0:0:0:0:ffff:10.0.0.1]
"""
PRIVATE, PUBLIC, HOSTS = _PRIVATE.split(), _PUBLIC.split(), _HOSTS.split()


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_anyones_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_what_it_is_inside_ipv6_too_or_nothing(address: IPv4Address) -> None:
    assert is_public(IPv6Address(f"::ffff:{address}")) == is_public(address)
    for hidden in (f"64:ff9b::{address}", f"::{address}", f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1"):
        assert not is_public(IPv6Address(hidden))


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_private(address: IPv4Address | IPv6Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        mapped = getattr(address, "ipv4_mapped", None)
        assert not is_public(address) or (mapped is not None and is_public(mapped))


def test_a_deployment_may_allow_networks() -> None:
    assert may_be_called(ip_address("127.0.0.1"), LOOPBACK)
    assert may_be_called(ip_address("::ffff:127.0.0.1"), LOOPBACK)
    assert not may_be_called(ip_address("10.0.0.1"), LOOPBACK)


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(PipelineError) as error:
        call()
    return error.value.code, error.value.message


def read(url: str, *, allowed: Any = LOOPBACK, limit_s: float = 5.0, max_bytes: int = 1000, **options: Any) -> bytes:
    with Outbound(allowed).open_source(url, limit_s=limit_s, max_bytes=max_bytes, **options) as (_, content):
        return b"".join(content)


@pytest.mark.parametrize("host", HOSTS)
def test_no_name_of_a_private_address_is_called(host: str) -> None:
    for scheme in ("http", "https"):
        url = f"{scheme}://{host}/"
        assert (
            refusal(lambda url=url: Outbound().post(url, headers={}, content=b"", limit_s=5.0))[0] == "outbound.refused"
        )
        assert refusal(lambda url=url: read(url, allowed=()))[0] == "outbound.refused"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.com/",
        "http:///x",
        "http://",
        "example.com",
        "https://u@example.com/",
        "https://u:p@example.com/",
        "https://example.com:22/",
        "https://example.com:99999/",
        "https://example.com\\@127.0.0.1/",
        "https://exämple.com/",
        "https://example.com/\r\nx: y",
        "https://example.com/ x",
        "https://[::1/",
        "https://[v1.x]/",
        f"https://example.com/{'a' * 2000}",
    ],
)
def test_what_is_no_url_of_a_public_server_is_refused_unseen(url: str) -> None:
    assert refusal(lambda: check_url(url))[0] == "outbound.refused"


@pytest.mark.parametrize(
    "url", ["https://example.com", "http://example.com:8080/a?b=c", "https://[2606:4700::1111]:443/"]
)
def test_a_url_of_a_public_server_is_taken(url: str) -> None:
    check_url(url)


# --- against a server -------------------------------------------------------------------------------------------


Serve = Callable[[socket.socket, str], None]


@contextmanager
def serving(serve: Serve, *, is_read: bool = True) -> Iterator[tuple[str, list[str]]]:
    """A server on 127.0.0.1 that says what it likes; its URL, and the requests that it got."""
    listener, requests = socket.create_server(("127.0.0.1", 0), backlog=50), []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            request = b""
            while is_read and b"\r\n\r\n" not in request and (piece := connection.recv(65536)):
                request += piece
            requests.append(request.decode())
            with suppress(OSError):  # the other side has had enough
                serve(connection, request.decode())

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    listener.close()


def saying(answer: str) -> Serve:
    return lambda connection, _request: connection.sendall(answer.encode())


def ok(body: str) -> str:
    return f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}"


def test_a_source_is_read_to_its_end() -> None:
    with serving(saying(ok("sound"))) as (url, requests):
        assert read(f"{url}/a?b=c", headers={"authorization": "x"}) == b"sound"
    assert requests[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"host: {url.removeprefix('http://')}\r\n" in requests[0].lower()
    assert "authorization: x" in requests[0].lower()


def test_without_being_allowed_the_own_machine_is_not_called() -> None:
    with serving(saying(ok("secret"))) as (url, requests):
        assert refusal(lambda: read(url, allowed=()))[0] == "outbound.refused"
    assert requests == []


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://10.0.0.1/",
        "//192.168.0.1/x",
        "http://2852039166/",
        "file:///etc/passwd",
        "https://u:p@example.com/",
        "http://metadata.google.internal/computeMetadata/v1/",
    ],
)
def test_a_redirect_leads_to_no_address_that_is_not_allowed(location: str) -> None:
    with serving(saying(f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")) as (url, _):
        code = refusal(lambda: read(url, limit_s=3.0))[0]
        # This name is refused at the latest when it is resolved, where it can be.
        assert code == "outbound.refused" or ("internal" in location and code == "outbound.failed")


def test_redirects_are_followed_five_times_and_headers_stay_with_their_origin() -> None:
    def hop(connection: socket.socket, request: str) -> None:
        number = int(request.split()[1].lstrip("/"))
        if number == 0:
            connection.sendall(ok("there").encode())
        else:
            text = f"HTTP/1.1 307 x\r\nlocation: {number - 1}\r\ncontent-length: 0\r\n\r\n"
            connection.sendall(text.encode())

    with serving(hop) as (url, requests):
        assert read(f"{url}/5") == b"there"
        assert len(requests) == 6
        assert "5 redirects" in refusal(lambda: read(f"{url}/6"))[1]
        with serving(saying(f"HTTP/1.1 302 x\r\nlocation: {url}/0\r\ncontent-length: 0\r\n\r\n")) as (other, first):
            requests.clear()
            assert read(other, headers={"authorization": "secret"}) == b"there"
            assert "secret" in first[0] and "secret" not in requests[0]


def test_a_post_is_not_redirected() -> None:
    with serving(saying("HTTP/1.1 307 x\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")) as (url, requests):
        answer = Outbound(LOOPBACK).post(url, headers={"x-token": "t"}, content=b"body", limit_s=5.0)
    assert (answer.status, len(requests)) == (307, 1)


def test_a_name_that_leads_elsewhere_a_moment_later_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with serving(saying(ok("secret"))) as (url, requests):
        port = int(url.rpartition(":")[2])

        resolve = socket.getaddrinfo

        def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
            if read_address(host) is not None:
                return resolve(host, *arguments, **options)
            asked.append(host)
            # Public at first; then the machine itself.
            address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        allowed = (ip_network("192.0.2.0/24"),)  # stands for the public network, and nobody is there
        code = refusal(lambda: read(f"http://rebinding.example:{port}/", allowed=allowed, limit_s=0.5))[0]
    assert (code, requests, asked) == ("outbound.failed", [], ["rebinding.example"])


def test_one_private_address_of_a_name_is_enough_to_refuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    assert refusal(lambda: read("http://two.example/", allowed=()))[0] == "outbound.refused"


def drip(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def drip_content(connection: socket.socket, _request: str) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        connection.sendall(b"a")
        time.sleep(0.05)


def silent(connection: socket.socket, _request: str) -> None:
    connection.recv(1)


@pytest.mark.parametrize("serve", [drip, drip_content, silent])
def test_a_request_ends_with_its_time_whatever_a_server_does(serve: Serve) -> None:
    with serving(serve) as (url, _):
        began = time.monotonic()
        assert refusal(lambda: read(url, limit_s=0.4)) == ("outbound.failed", "It took too long.")
        assert (
            refusal(lambda: Outbound(LOOPBACK).post(url, headers={}, content=b"", limit_s=0.4))[0] == "outbound.failed"
        )
        assert time.monotonic() - began < 2.0


def test_a_name_that_is_resolved_for_ever_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: over.wait(10.0) and [])
    assert refusal(lambda: read("http://slow.example/", limit_s=0.2)) == ("outbound.failed", "It took too long.")
    over.set()


def test_a_source_is_not_longer_than_its_limit() -> None:
    with serving(saying(ok("a" * 1001))) as (url, _):
        assert refusal(lambda: read(url))[0] == "media.too_large"
    unannounced = f"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{'a' * 5000}"
    with serving(saying(unannounced)) as (url, _):
        assert refusal(lambda: read(url))[0] == "media.too_large"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\x00\x01",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_server_that_does_not_answer_as_it_should_has_failed(answer: str) -> None:
    with serving(saying(answer)) as (url, _):
        assert refusal(lambda: read(url))[0] == "outbound.failed"
    assert refusal(lambda: read(url))[0] == "outbound.failed"  # nobody is there any more


def test_what_the_reader_raises_is_its_own() -> None:
    source = Outbound(LOOPBACK).open_source
    with (
        serving(saying(ok("sound"))) as (url, _),
        pytest.raises(FileNotFoundError),
        source(url, limit_s=5.0, max_bytes=100) as (_, content),
    ):
        next(content)
        raise FileNotFoundError


def test_an_answer_is_read_no_further_than_asked() -> None:
    with serving(saying(ok("a" * 100_000))) as (url, _):
        answer = Outbound(LOOPBACK).post(url, headers={}, content=b"", limit_s=5.0, max_answer_bytes=10)
    assert answer.body == b"a" * 10


def test_no_random_text_is_called(tell: Callable[[str], None]) -> None:
    chance, count = random.Random(6), 3000
    parts = [
        "http",
        "https",
        "://",
        "@",
        "[",
        "]",
        ":",
        "/",
        "127.0.0.1",
        "localhost",
        "%",
        "#",
        "?",
        "\\",
        ".",
        "0x7f",
    ]
    for _ in range(count):
        url = "".join(chance.choice(parts) for _ in range(chance.randrange(1, 9)))
        try:
            check_url(url)
        except PipelineError as error:
            assert error.code == "outbound.refused"
    tell(f"{len(PRIVATE)} addresses and {2 * len(HOSTS)} URLs that are nobody's refused; {count} random texts")


def certificate(folder: Path, name: str) -> Path:
    """A certificate that nobody has signed but its own key, and that key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(encoding) + key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    )
    return path


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certificate(tmp_path, "hooks.example")
    ours, theirs = ssl.create_default_context(cafile=path), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(path)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1" if "." in host else host, *rest, **more)
    )

    def encrypted(connection: socket.socket, _request: str) -> None:
        with theirs.wrap_socket(connection, server_side=True) as stream:
            stream.recv(65536)
            stream.sendall(ok("sound").encode())

    with serving(encrypted, is_read=False) as (url, _):
        port = url.rpartition(":")[2]
        assert refusal(lambda: read(f"https://hooks.example:{port}/")) == (
            "outbound.failed",
            "Its certificate is not valid.",
        )
        monkeypatch.setattr(outbound, "_tls", lambda: ours)
        assert read(f"https://hooks.example:{port}/") == b"sound"
        assert refusal(lambda: read(f"https://other.example:{port}/"))[1] == "Its certificate is not valid."
