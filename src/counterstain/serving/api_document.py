"""The OpenAPI document: what FastAPI writes of the routes, with the errors and the token as they really are."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from counterstain.serving.problems import MEDIA_TYPE

__all__ = ["JPEG", "describe"]

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was found, what is needed, what to do."},
    },
}  # fmt: skip
REFUSED = {
    "description": "Refused: problem details (RFC 9457).",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
# Of a route that answers with a picture.
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"description": "A picture.", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


def describe(app: FastAPI) -> None:
    """Have the application's document say what its routes answer when they refuse, and what lets a program in."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)  # FastAPI's own form of it, which is never sent
            operation["responses"]["default"] = REFUSED
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = PROBLEM
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document
