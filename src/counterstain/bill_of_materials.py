"""The software bill of materials of this installation, and of a model: CycloneDX 1.6, the same bytes each time."""

import re
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.files import hash_file, hash_json
from counterstain.version import __version__

__all__ = ["bill_of_materials"]

SUMS = "SHA256SUMS"
_LICENCE_TAG = "License :: OSI Approved :: "


def bill_of_materials(model: Path | None = None) -> dict[str, object]:
    """Every installed package that this one needs, with version, licence and what it needs in turn; CycloneDX 1.6.

    Extras count where they are installed. There is no time and no chance in it, so that two bills can be compared.

    Args:
        model: folder of a model or an export: it is added with the SHA-256 of its files.

    Raises:
        InputError: If the folder holds no model.

    Source:
        CycloneDX specification 1.6 (ECMA-424); package-url.
    """
    graph = _installed("counterstain")
    components = [_component(name) for name in sorted(graph) if name != "counterstain"]
    root = {"type": "application", "bom-ref": _purl("counterstain"), "name": "counterstain", "version": __version__,
            "purl": _purl("counterstain"), "licenses": [{"license": {"id": "Apache-2.0"}}]}  # fmt: skip
    needs = [{"ref": _purl(name), "dependsOn": sorted(map(_purl, graph[name]))} for name in sorted(graph)]
    if model is not None:
        components.append(_model(model))
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": needs,
    }
    return body | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, hash_json(body))}"}


def _plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(first: str) -> dict[str, set[str]]:
    """{package: what it needs} of all that is installed and reached from the first one."""
    from packaging.requirements import Requirement

    graph: dict[str, set[str]] = {}
    waiting = [(first, _extras_of(first))]
    while waiting:
        name, extras = waiting.pop()
        if name in graph:
            continue
        graph[name] = set()
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            dependency = _plain_name(need.name)
            applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))
            if applies and dependency != name and _is_installed(dependency):
                graph[name].add(dependency)
                waiting.append((dependency, tuple(need.extras)))
    return graph


def _extras_of(name: str) -> tuple[str, ...]:
    try:
        extras = metadata.metadata(name).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        raise InputError(
            f"{name} is not installed as a package, so that what it needs is not known; pip install it first"
        ) from None
    return tuple(extra for extra in extras if extra != "dev")


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _purl(name: str) -> str:
    version = __version__ if name == "counterstain" else metadata.version(name)
    return f"pkg:pypi/{_plain_name(name)}@{version}"


def _component(name: str) -> dict[str, Any]:
    package = metadata.metadata(name)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(name),
        "name": name,
        "version": metadata.version(name),
        "purl": _purl(name),
    }
    licence = _licence(package)
    return component | ({"licenses": [licence]} if licence else {})


def _licence(package: Any) -> dict[str, Any] | None:
    """An SPDX expression where the package states one, else its own words; None where it says nothing."""
    if expression := package.get("License-Expression"):
        return {"expression": str(expression)}
    names = [
        tag.removeprefix(_LICENCE_TAG) for tag in package.get_all("Classifier") or [] if tag.startswith(_LICENCE_TAG)
    ]
    stated = str(package.get("License") or "").strip().splitlines()
    if not names and stated and len(stated[0]) < 100:
        names = stated[:1]
    return {"license": {"name": "; ".join(names)}} if names else None


def _model(folder: Path) -> dict[str, Any]:
    """A model as a component: the SHA-256 of its list of hashes, and of each of its files."""
    if not (folder / SUMS).is_file():
        raise InputError(f"{folder} has no {SUMS}; name the folder of a model or an export")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{hash_file(folder / SUMS)}",
        "name": folder.resolve().name,
        "hashes": [{"alg": "SHA-256", "content": hash_file(folder / SUMS)}],
        "components": [_file(path, folder) for path in files],
    }


def _file(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    return {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": hash_file(path)}]}
