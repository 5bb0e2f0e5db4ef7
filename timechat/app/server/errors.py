"""What a request is told when it cannot be answered, in OpenAI's form."""

from __future__ import annotations

from typing import Any

from timechat.errors import TimeChatError

_KINDS = {401: "authentication_error", 429: "rate_limit_error", 504: "timeout_error"}


class RequestError(TimeChatError):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what is wrong and what to do.
        param: the field of the request, such as `messages[0].content[1].video_url.url`.
        code: one word for programs.
        retry_after: seconds after which it may be sent again.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str = "", retry_after: int | None = None
    ):
        super().__init__(f"{param}: {message}" if param else message)
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def to_dict(self) -> dict[str, Any]:
        """As OpenAI's clients read it."""
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code or None}}

    def headers(self) -> dict[str, str]:
        """What HTTP adds to it."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def invalid(param: str, message: str, code: str = "invalid_value") -> RequestError:
    """A field with a value that is not possible: 422."""
    return RequestError(422, message, param=param, code=code)


def too_large(message: str, param: str | None = None) -> RequestError:
    """More bytes than the server takes: 413."""
    return RequestError(413, message, param=param, code="too_large")


def internal(request_id: str) -> RequestError:
    """A mistake of the server's own; what it was stands in its log alone."""
    return RequestError(500, f"the server failed; its log has the reason under {request_id}", code="internal_error")
