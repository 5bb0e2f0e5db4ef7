"""From which hosts a server may read: those that its operator names, and never a private address.

Names are resolved here, and the connection goes to the address that was looked at: a name that leads elsewhere a moment
later leads nowhere.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from timechat.app.server.errors import invalid
from timechat.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_PATTERN = re.compile(r"(\*\.)?[^\s*/@?#:\[\]]+(:\d{1,5})?")


@dataclass(frozen=True)
class Place:
    """Where a URL leads.

    Attributes:
        scheme: http | https.
        host: its name, in lower case.
        port: a number.
        address: of the host.
        target: path and query.
    """

    scheme: str
    host: str
    port: int
    address: str
    target: str


class AllowedHosts:
    """The hosts of an operator.

    Args:
        patterns: `media.example.org`, with the usual port; `media.example.org:8443`; `*.example.org` for all below it.

    Raises:
        ConfigError: a pattern that is none of these.
    """

    def __init__(self, patterns: Sequence[str]):
        self.patterns = [pattern.lower() for pattern in patterns]
        for pattern in self.patterns:
            if not _PATTERN.fullmatch(pattern):
                raise ConfigError(
                    f"--allow-host {pattern}: give a host such as media.example.org, media.example.org:8443 or "
                    "*.example.org"
                )

    async def place_of(self, url: str, param: str) -> Place:
        """Look at a URL, and resolve its host.

        Raises:
            RequestError: 422 for a host that is not allowed, unknown, or has a private address.
        """
        parts, port = _split(url, param)
        host = (parts.hostname or "").rstrip(".").lower()
        if not self._allows(host, port, _PORTS[parts.scheme]):
            raise invalid(param, f"this server does not read from {host[:100]}:{port}", "host_not_allowed")
        addresses = await self._resolve(host, port, param)
        # One private address among public ones is enough of a doubt.
        if not addresses or not all(map(self.is_public, addresses)):
            raise invalid(param, f"{host[:100]} is not a public host", "host_not_allowed")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Place(parts.scheme, host, port, addresses[0], target)

    def is_public(self, address: str) -> bool:
        """Whether an address belongs to no private network, in whatever form it is written."""
        found = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address):
            if (inner := found.ipv4_mapped or _translated(found)) is not None:
                return _is_global(inner)
            tunnels = [found.sixtofour, *(found.teredo or ())]
            if not all(_is_global(address) for address in tunnels if address is not None):
                return False
        return _is_global(found)

    def _allows(self, host: str, port: int, usual: int) -> bool:
        for pattern in self.patterns:
            name, _, wanted = pattern.partition(":")
            if port != (int(wanted) if wanted else usual):
                continue
            if host == name or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False

    async def _resolve(self, host: str, port: int, param: str) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise invalid(param, f"{host[:100]} is not known", "host_not_found") from error
        return [str(entry[4][0]) for entry in found]


def _split(url: str, param: str) -> tuple[SplitResult, int]:
    """A URL's parts, and its port. Raises RequestError."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise invalid(param, "not a URL of http or https") from error
    if parts.username is not None or parts.password is not None:
        raise invalid(param, "a URL with a name or password in it is not read")
    return parts, port


def _is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not is_special and not getattr(address, "is_site_local", False)


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in one that a translator (NAT64) leads on to."""
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
