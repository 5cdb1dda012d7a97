"""Debian's Orthanc with its DICOMweb plug-in as a process of the tests: a real server to fetch from and send to."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER = {"pathologist": "s3cret"}


@dataclass(frozen=True)
class Orthanc:
    """A server: its DICOMweb address, and its own interface, which the tests look at it through."""

    port: int

    @property
    def address(self) -> str:
        return f"dicomweb://127.0.0.1:{self.port}/dicom-web"

    def ask(self, path: str) -> Any:
        """JSON from Orthanc's own interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return json.load(answer)

    def instance(self, uid: str) -> bytes:
        """The file of an instance, as the server keeps it."""
        found = [one for one in self.ask("/instances?expand") if one["MainDicomTags"]["SOPInstanceUID"] == uid]
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/instances/{found[0]['ID']}/file") as answer:
            return bytes(answer.read())

    def store(self, files: Sequence[Path]) -> None:
        """Put files there without our own code."""
        for path in files:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/instances", data=path.read_bytes())
            urllib.request.urlopen(request).close()


@contextmanager
def started(folder: Path, *, password: bool = False) -> Iterator[Orthanc]:
    """Orthanc on a free port with its storage in `folder`; stopped at the end."""
    program = shutil.which("Orthanc")
    if program is None or not PLUGIN.is_file():
        pytest.skip("Orthanc with DICOMweb is not installed (Debian: orthanc orthanc-dicomweb)")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = {
        "Name": "tests", "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False, "Plugins": [str(PLUGIN)],
        "AuthenticationEnabled": password, "RegisteredUsers": USER,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait(process, port, folder / "log.txt")
        yield Orthanc(port)
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"Orthanc ended: {log.read_text()[-500:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"Orthanc does not answer: {log.read_text()[-500:]}")
