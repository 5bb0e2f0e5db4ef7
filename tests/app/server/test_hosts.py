"""From which hosts a video may come: allowed ones, at public addresses."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from timechat.app.server.errors import RequestError
from timechat.app.server.hosts import AllowedHosts, Place
from timechat.errors import ConfigError

ALLOWED = ("media.example.org", "*.cdn.example.org", "odd.example.org:8443")


def place_of(url: str, addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where a URL leads, when names are resolved to these addresses."""

    def resolve(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asyncio.run(AllowedHosts(ALLOWED).place_of(url, "url"))


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://media.example.org/a/v.mp4?x=1#t", "media.example.org", 443, "/a/v.mp4?x=1"),
        ("http://Media.Example.Org.", "media.example.org", 80, "/"),
        ("https://eu.cdn.example.org/v", "eu.cdn.example.org", 443, "/v"),
        ("https://odd.example.org:8443/v", "odd.example.org", 8443, "/v"),
    ],
)
def test_allowed_hosts(url: str, host: str, port: int, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of(url, ["93.184.216.34", "93.184.216.35"], monkeypatch)
    assert (place.host, place.port, place.target, place.address) == (host, port, target, "93.184.216.34")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/v",
        "https://media.example.org.evil.net/v",
        "https://evilmedia.example.org/v",
        "https://cdn.example.org/v",
        "https://evilcdn.example.org/v",
        "https://media.example.org:8443/v",
        "https://odd.example.org/v",
        "http://127.0.0.1/v",
        "http://[::1]/v",
        "http:///v",
        "http://",
        "http://media.example.org@evil.net/v",
        "http://media.example.org:99999/v",
        "http://media.example.org:x/v",
        "ftp://media.example.org/v",
        "http://[media.example.org/v",
    ],
)
def test_others_are_not_even_looked_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(RequestError) as caught:
        asyncio.run(AllowedHosts(ALLOWED).place_of(url, "url"))
    assert caught.value.status == 422


def test_a_password_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="name or password"):
        place_of("http://me:secret@media.example.org/v", ["93.184.216.34"], monkeypatch)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "fec0::1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only one of several is private."""
    for addresses in ([address], ["93.184.216.34", address]):
        with pytest.raises(RequestError, match="not a public host"):
            place_of("https://media.example.org/v", addresses, monkeypatch)


def test_public_addresses_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        assert place_of("https://media.example.org/v", [address], monkeypatch).address == address


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="is not known"):
        place_of("https://media.example.org/v", [], monkeypatch)


@pytest.mark.parametrize(
    "pattern", ["", "*", "https://a.org", "a.org/x", "a.org:port", "*.*.org", "a b.org", "*.", ":80"]
)
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(ConfigError, match="--allow-host"):
        AllowedHosts([pattern])
