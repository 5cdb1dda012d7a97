"""The bill of materials: every package with its version, edges that close, no chance in it, and a model's hashes."""

import hashlib
import json
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.bill_of_materials import bill_of_materials
from counterstain.cli import app
from counterstain.errors import InputError


def test_packages_versions_licences_and_edges() -> None:
    bill = bill_of_materials()
    by_name = {one["name"]: one for one in bill["components"]}
    assert by_name["numpy"]["version"] == metadata.version("numpy")
    assert by_name["numpy"]["purl"] == f"pkg:pypi/numpy@{metadata.version('numpy')}"
    assert "BSD" in json.dumps(by_name["numpy"]["licenses"])
    refs = {bill["metadata"]["component"]["bom-ref"], *(one["bom-ref"] for one in bill["components"])}
    assert len(refs) == len(bill["components"]) + 1
    assert {edge["ref"] for edge in bill["dependencies"]} == refs
    assert all(set(edge["dependsOn"]) <= refs for edge in bill["dependencies"])
    assert sum("licenses" in one for one in bill["components"]) > 0.9 * len(by_name)


def test_what_is_reached_only_through_another_is_there() -> None:
    names = {one["name"] for one in bill_of_materials()["components"]}
    assert {"pydantic-core", "markdown-it-py"} <= names
    assert not names & {"pytest", "ruff", "mypy"}, "tools of developers are no part of it"


def test_two_bills_are_the_same_bytes_and_another_has_another_number(tmp_path: Path) -> None:
    first = bill_of_materials()
    assert json.dumps(first) == json.dumps(bill_of_materials())
    assert first["serialNumber"].startswith("urn:uuid:")
    (tmp_path / "SHA256SUMS").write_text("x")
    assert bill_of_materials(tmp_path)["serialNumber"] != first["serialNumber"]


def test_a_model_is_listed_with_the_hashes_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match="has no SHA256SUMS"):
        bill_of_materials(tmp_path)
    (tmp_path / "SHA256SUMS").write_text("x")
    model = next(one for one in bill_of_materials(tmp_path)["components"] if one["type"] == "machine-learning-model")
    hashes = {one["name"]: one["hashes"] for one in model["components"]}
    assert hashes["weights.safetensors"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"weights").hexdigest()}]


def test_the_verb_writes_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["sbom", "--out", str(tmp_path / "sbom.cdx.json")])
    assert done.exit_code == 0
    assert json.loads((tmp_path / "sbom.cdx.json").read_text())["specVersion"] == "1.6"
