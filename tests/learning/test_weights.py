"""Weights over the network, from a local server that answers as the hub does: revisions, hashes, refusals."""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from counterstain.errors import InputError
from counterstain.learning.backbones import build_backbone
from counterstain.learning.build import start_network
from counterstain.learning.config import TrainingConfig
from counterstain.learning.foundation import FOUNDATION, Foundation

OLD, NEW = "1" * 40, "2" * 40
SMALL = Foundation(
    "lab/small", "vit_tiny_patch16_224", "imagenet", "MIT", False, input_px=64,
    options={"embed_dim": 48, "depth": 2, "num_heads": 3, "init_values": 1.0, "img_size": 64},
)  # fmt: skip


@dataclass
class Hub:
    """What the server holds: revision -> file -> content; and what was asked of it."""

    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    asked: list[str] = field(default_factory=list)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, *, send: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            found = re.fullmatch(r"/lab/small/resolve/([^/]+)/(.+)", self.path)
            commit = NEW if found and found[1] == "main" else found[1] if found else ""
            content = hub.revisions.get(commit, {}).get(found[2] if found else "", b"")
            if hub.refusal is not None or not content:
                missing = (
                    "RepoNotFound" if not found else "EntryNotFound" if commit in hub.revisions else "RevisionNotFound"
                )
                self.refuse(*(hub.refusal or (404, missing)))
                return
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if send:
                self.wfile.write(content)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    return Answer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two revisions of one small model."""
    held = Hub()
    monkeypatch.setitem(FOUNDATION, "small", SMALL)
    for number, commit in enumerate((OLD, NEW)):
        path = tmp_path / f"{number}.bin"
        torch.save(build_backbone("small", classes=2, tile_px=64, seed=number).body.state_dict(), path)
        held.revisions[commit] = {"pytorch_model.bin": path.read_bytes()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(held))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("COUNTERSTAIN_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield held
    server.shutdown()
    server.server_close()


def record(weights: str = "pretrained") -> dict[str, str]:
    return start_network(TrainingConfig(network="small", weights=weights), classes=2, tile_px=64, seed=0)[1]


def sha256(hub: Hub, commit: str) -> str:
    return hashlib.sha256(hub.revisions[commit]["pytorch_model.bin"]).hexdigest()


def test_the_newest_is_fetched_once_and_recorded_where_no_revision_is_stated(hub: Hub) -> None:
    assert record() == {"source": "lab/small", "licence": "MIT", "revision": NEW, "sha256": sha256(hub, NEW)}
    fetched = "GET /lab/small/resolve/main/pytorch_model.bin"
    assert hub.asked.count(fetched) == 1
    record()
    assert hub.asked.count(fetched) == 1  # from the cache


def test_the_table_s_revision_and_hash_are_held_to(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOUNDATION, "small", replace(SMALL, revision=OLD, sha256=sha256(hub, OLD)))
    assert record()["revision"] == OLD
    assert f"GET /lab/small/resolve/{OLD}/pytorch_model.bin" in hub.asked
    # The table's hash is of its own revision: another that is asked for has another.
    assert record(f"pretrained@{NEW}") == record(f"pretrained@{NEW}:{sha256(hub, NEW)}")
    monkeypatch.setitem(FOUNDATION, "small", replace(SMALL, revision=OLD, sha256="0" * 64))
    with pytest.raises(InputError, match=f"have SHA-256 {sha256(hub, OLD)}, and {'0' * 64} was stated; .*exchanged"):
        record()


def test_a_file_under_its_other_name_is_found(hub: Hub) -> None:
    from safetensors.torch import save

    state = build_backbone("small", classes=2, tile_px=64, seed=1).body.state_dict()
    hub.revisions[NEW] = {"model.safetensors": save({name: tensor.contiguous() for name, tensor in state.items()})}
    assert record()["sha256"] == hashlib.sha256(hub.revisions[NEW]["model.safetensors"]).hexdigest()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", r"weights of small are gated: ask for access at huggingface\.co/lab/small"),
        (401, "GatedRepo", r"weights of small are gated: ask for access at huggingface\.co/lab/small"),
        (404, "RepoNotFound", r"weights of small are not in .*cannot be reached \(RepositoryNotFoundError\)"),
        (404, "EntryNotFound", r"weights of small are not in .*\(\w*EntryNotFoundError\)"),
        (404, "RevisionNotFound", r"huggingface\.co/lab/small has no revision 'main'.*weights: pretrained@REVISION"),
        (500, "", r"weights of small are not in .*cannot be reached"),
    ],
)
def test_each_refusal_of_the_hub_is_one_line(hub: Hub, status: int, code: str, message: str) -> None:
    hub.refusal = status, code
    with pytest.raises(InputError, match=message) as raised:
        record()
    assert "\n" not in str(raised.value)


def test_a_revision_that_is_not_there_is_named(hub: Hub) -> None:
    with pytest.raises(InputError, match=r"has no revision 'v9'; name a commit, tag or branch"):
        record("pretrained@v9")


def test_without_network_the_way_to_the_cached_revision_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    record(f"pretrained@{NEW}")
    monkeypatch.setitem(FOUNDATION, "small", replace(SMALL, revision=OLD))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=rf"at revision {OLD} are not in .*--revision {OLD} --cache-dir.*the folder "
                                         rf"has revision {NEW}, which weights: pretrained@{NEW} takes"):  # fmt: skip
        record()
    assert record(f"pretrained@{NEW}")["revision"] == NEW


def test_the_documented_revisions_are_the_table_s() -> None:
    page = (Path(__file__).parents[2] / "docs" / "learning.md").read_text(encoding="utf-8")
    for name, row in FOUNDATION.items():
        revision = f"`{row.revision}`" if row.revision else "newest"
        assert f"| `{name}` | {revision} | {f'`{row.sha256}`' if row.sha256 else 'unknown'} |" in page
        assert re.fullmatch(r"([0-9a-f]{40})?", row.revision) and re.fullmatch(r"([0-9a-f]{64})?", row.sha256)
