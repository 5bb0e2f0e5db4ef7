"""Who may ask: those who know one of the operator's keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from timechat.app.server.errors import RequestError


class ApiKeys:
    """The keys of a server.

    Args:
        keys: one of them has to come with each request; none lets everybody in.
    """

    def __init__(self, keys: Sequence[str]):
        self._known = [_digest(key) for key in keys]

    def check(self, headers: Mapping[str, str]) -> None:
        """Look for a key in the headers of a request, whose names are in lower case.

        Raises:
            RequestError: 401, there is none, or another.
        """
        if not self._known:
            return
        kind, _, key = headers.get("authorization", "").partition(" ")
        given = _digest(key.strip())
        # All are compared, each in the same time, so that the time says nothing of how near a guess is.
        right = [hmac.compare_digest(given, known) for known in self._known]
        if kind.lower() != "bearer" or not any(right):
            raise RequestError(
                401, "give one of this server's keys in the header Authorization: Bearer KEY", code="invalid_api_key"
            )


def _digest(key: str) -> bytes:
    """Keys of any length as bytes of one length."""
    return hashlib.sha256(key.encode()).digest()
