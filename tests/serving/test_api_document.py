"""The OpenAPI document holds: whatever is sent to a route, it answers as its document says, and never with a fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from small_server import TOKEN, add_images, small_model
from small_studies import audited_home, slide_home
from starlette.testclient import TestClient

from counterstain.serving.app import bare_app, make_app, served_of
from counterstain.serving.security import Access
from counterstain.serving.server import ServeOptions

pytest.importorskip("tifffile")

from make_run import make_run

REFUSALS = "application/problem+json"


def test_refusals_are_described(runs: Path) -> None:
    document = bare_app(served_of(runs, ServeOptions())).openapi()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert list(operation["responses"]["default"]["content"]) == [REFUSALS], path
            assert "422" not in operation["responses"], path
    assert set(document["components"]["schemas"]["Problem"]["required"]) == {"type", "title", "status", "detail"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The server over runs, an audited run, a slide with its map, and a model."""
    home = tmp_path_factory.mktemp("document")
    audited_home(home)
    add_images(make_run(home / "runs" / "two", arms=("given-32", "modified-200"), patients=10, images_each=4))
    slide_home(home / "slide")
    small_model(home / "model-home")
    options = ServeOptions(
        model=home / "model-home" / "model", slides=(home / "slide" / "slides",), maps=(home / "slide" / "maps",)
    )
    served = served_of(home / "runs", options)
    served.queue.close()  # requests are kept; reading the slide each time would only take long
    # The names of an ASGI client's Host, which cannot be chosen there.
    return make_app(served, Access(token=TOKEN, hosts=frozenset({"testserver", "localhost"})))


def operations(app: Any) -> Iterator[Any]:
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    with TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        document = client.get("/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.app = app
    for operation in schema.get_all_operations():
        yield operation.ok()


@pytest.mark.slow
def test_every_route_answers_as_its_document_says(app: Any) -> None:
    """Valid and invalid requests, 15 of each kind to each route, made from the document."""
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    seen = 0
    for operation in operations(app):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def answers(case: Any) -> None:
                case.call_and_validate(checks=checks, headers={"Authorization": f"Bearer {TOKEN}"})

            answers()
            seen += 1
    assert seen >= 40
