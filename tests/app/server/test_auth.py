"""Who may ask."""

from __future__ import annotations

import pytest

from timechat.app.server.auth import ApiKeys
from timechat.app.server.errors import RequestError


def test_any_of_the_keys_lets_in() -> None:
    """Who is kept out gets an error."""
    keys = ApiKeys(["first", "zweiter schlüssel"])
    for word in ("Bearer first", "bearer zweiter schlüssel"):
        assert keys.check({"authorization": word}) is None
    assert ApiKeys([]).check({}) is None


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer firs", "Bearer first2", "Basic first", "first"])
def test_others_stay_outside(header: str) -> None:
    with pytest.raises(RequestError, match="Authorization: Bearer KEY") as caught:
        ApiKeys(["first"]).check({"authorization": header})
    assert caught.value.status == 401
    assert caught.value.headers() == {"www-authenticate": "Bearer"}
