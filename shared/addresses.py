"""Which addresses of the network are anyone's, so that this system may call them for a tenant."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from shared.errors import PipelineError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARACTERS = 2000
# What Python calls global, and is not: metadata services, relays, and what only looks like IPv6.
_RESERVED: Sequence[Network] = [
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's
        "100.100.100.200/32",  # Alibaba's
        "192.0.0.0/24",  # of protocols, and Oracle's
        "192.88.99.0/24",  # 6to4 relays
        "fd00:ec2::254/128",  # Amazon's
        "64:ff9b::/96",  # NAT64, each of these with an IPv4 address inside
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "::/96",
        "5f00::/16",  # segment routing
        "3fff::/20",  # documentation
        "100::/64",  # discards
    )
]
_LOCAL_NAMES = re.compile(r"(.+\.)?(localhost|internal|local|localdomain|home\.arpa)", re.IGNORECASE)
# Services that speak no HTTP are found below; a request of ours could be made to say something to them.
_PORTS = (80, 443)
_FIRST_FREE_PORT = 1024


def read_address(text: str) -> Address | None:
    """A numeric address as resolvers give it, with a zone or in brackets too; ``None`` for anything else."""
    try:
        return ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, and not a private, local, reserved or metadata one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.is_site_local:
            return False
    if any(address.version == network.version and address in network for network in _RESERVED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def may_be_called(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether an address is public, or in a network that the deployment allows."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return is_public(address) or any(address.version == network.version and address in network for network in allowed)


def check_url(url: str, allowed: Sequence[Network] = ()) -> None:
    """Refuse a URL that is none of HTTP, or can be seen without asking anyone not to lead to the public network.

    What a name leads to is not known before it is resolved: who connects must check that address.

    Args:
        url: Absolute.
        allowed: Networks that may be called though they are not public.

    Raises:
        PipelineError: ``outbound.refused``.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise PipelineError("outbound.refused", "This is not a URL.") from error
    if len(url) > MAX_URL_CHARACTERS or not host or not url.isascii() or re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise PipelineError("outbound.refused", "This is not a URL.")
    if parts.scheme not in ("https", "http"):
        raise PipelineError("outbound.refused", "The URL must be one of https.")
    if parts.username is not None or parts.password is not None:
        raise PipelineError("outbound.refused", "The URL must hold no user name or password.")
    address = read_address(host)
    if address is not None:
        if not may_be_called(address, allowed):
            raise PipelineError("outbound.refused", "The URL must lead to a public address.")
        if not is_public(address):
            return
    elif "[" in parts.netloc or (_LOCAL_NAMES.fullmatch(host.rstrip(".")) and not allowed):
        raise PipelineError("outbound.refused", "The URL must lead to a public address.")
    if port is not None and port not in _PORTS and port < _FIRST_FREE_PORT:
        raise PipelineError("outbound.refused", "The URL must name no port below 1024 but 80 and 443.")
