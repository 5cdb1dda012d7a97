"""Errors of the server as RFC 9457 problem details: status, title, and a detail that says what to do."""

import json
from http import HTTPStatus

from starlette.responses import Response

__all__ = ["MEDIA_TYPE", "ServingError", "problem", "problem_bytes"]

MEDIA_TYPE = "application/problem+json"


class ServingError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status code.
        detail: what was found, what is needed, what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def problem_bytes(status: int, detail: str) -> bytes:
    """The body of a refusal.

    >>> problem_bytes(404, "no run 'x'").decode()
    '{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no run \\'x\\'"}'
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(body, ensure_ascii=False).encode()


def problem(status: int, detail: str) -> Response:
    """A refusal as a response."""
    return Response(problem_bytes(status, detail), status, media_type=MEDIA_TYPE)
