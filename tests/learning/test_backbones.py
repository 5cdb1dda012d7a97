"""Backbones: they train, freeze, predict and travel in a bundle as the own networks do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
from safetensors.torch import save_file

from counterstain.errors import InputError
from counterstain.files import hash_file
from counterstain.images.tensor import SCALES, to_tensor
from counterstain.learning import weights as backbone_weights
from counterstain.learning.backbones import Backbone, build_backbone, natural_scale
from counterstain.learning.build import layout_of, start_network
from counterstain.learning.bundle import Bundle, load_network, read_bundle, write_bundle
from counterstain.learning.config import TrainingConfig
from counterstain.learning.foundation import FOUNDATION, Foundation
from counterstain.learning.optimiser import build_optimiser, set_phase, set_rates
from counterstain.learning.predictor import load_predictor
from counterstain.learning.weights import find_weights, load_pretrained, weights_folder

LITE0 = "timm/tf_efficientnet_lite0"
SMALL_VIT = {"patch_size": 16, "embed_dim": 48, "depth": 2, "num_heads": 3}


def build(name: str, tile_px: int = 64, **options: Any) -> Backbone:
    return build_backbone(name, classes=2, tile_px=tile_px, seed=0, **options).eval()


@pytest.mark.parametrize("name", ["timm/resnet18", LITE0, "timm/convnext_atto"])
def test_a_timm_network_takes_tiles_of_any_side(name: str) -> None:
    network = build(name)
    assert network.input_px is None
    assert network(torch.zeros(3, 3, 64, 64)).shape == (3, 2)


def test_a_vision_transformer_resizes_tiles_inside() -> None:
    network = build("timm/vit_tiny_patch16_224", tile_px=96)
    assert network.input_px == 224
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 2)


def test_input_px_is_the_same_as_resizing_beforehand() -> None:
    resized, plain = build("timm/resnet18", tile_px=64, input_px=96), build("timm/resnet18", tile_px=96)
    tiles = torch.rand(2, 3, 64, 64)
    larger = torch.nn.functional.interpolate(tiles, (96, 96), mode="bilinear", antialias=True)
    torch.testing.assert_close(resized(tiles), plain(larger))


def test_the_seed_alone_makes_the_weights() -> None:
    torch.manual_seed(5)
    first = build("timm/resnet18").state_dict()
    torch.manual_seed(6)
    again = build("timm/resnet18").state_dict()
    other = build_backbone("timm/resnet18", classes=2, tile_px=64, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["body.conv1.weight"], other["body.conv1.weight"])


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="resnet18"):
        TrainingConfig(network="timm/resnet81")


def test_scales_are_those_of_the_weights() -> None:
    assert natural_scale(LITE0) == "-1..1"
    assert natural_scale("timm/resnet18") == "imagenet"
    assert natural_scale("h-optimus-1") == "h-optimus"


def test_a_scale_by_its_numbers_is_the_named_one() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    mean, spread = SCALES["imagenet"]
    written = " ".join(map(str, ["mean", *mean, "spread", *spread]))
    torch.testing.assert_close(to_tensor(tiles, scale=written), to_tensor(tiles, scale="imagenet"))
    expected = (tiles[1, 2, 3] / 255 - np.array(mean)) / np.array(spread)
    np.testing.assert_allclose(to_tensor(tiles, scale="imagenet")[1, :, 2, 3], expected, atol=1e-5)
    with pytest.raises(InputError, match="mean R G B"):
        to_tensor(tiles, scale="mean 1 2 spread 3 4 5 6")


def test_own_networks_refuse_what_is_for_backbones() -> None:
    for wrong in ({"tune": "frozen"}, {"weights": "pretrained"}, {"input_px": 224}):
        with pytest.raises(InputError, match="for backbones"):
            TrainingConfig(network="given", **wrong)


def test_shipped_weights_are_those_of_the_architecture() -> None:
    """Every tensor of the file has its place in timm's whole network, and the body gives that network's features."""
    network = build(LITE0, tile_px=224)
    record = load_pretrained(network, LITE0)
    assert record["licence"] == "Apache-2.0" and len(record["sha256"]) == 64
    path, _, _ = find_weights(LITE0)
    state = torch.load(path, weights_only=True)
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    named = backbone_weights._from_efficientnet_lite(state, network)
    assert whole.load_state_dict(named).missing_keys == []
    tiles = torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(
            network.features(tiles), whole.forward_head(whole.forward_features(tiles), pre_logits=True)
        )


def test_a_file_of_weights_is_taken_and_a_wrong_one_refused(tmp_path: Path) -> None:
    donor, taker = build_backbone("timm/resnet18", classes=2, tile_px=64, seed=3), build("timm/resnet18")
    state = {name: tensor.contiguous() for name, tensor in donor.body.state_dict().items()}
    save_file(state | {"fc.weight": torch.zeros(4, 4)}, tmp_path / "body.safetensors")
    load_pretrained(taker, "timm/resnet18", str(tmp_path / "body.safetensors"))
    assert torch.equal(taker.body.state_dict()["conv1.weight"], state["conv1.weight"])
    torch.save({"state_dict": state}, tmp_path / "body.pth")
    load_pretrained(taker, "timm/resnet18", str(tmp_path / "body.pth"))
    state.pop("conv1.weight")
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"1 of its tensors are missing.*conv1\.weight"):
        load_pretrained(taker, "timm/resnet18", str(tmp_path / "less.safetensors"))
    with pytest.raises(InputError, match="does not exist"):
        load_pretrained(taker, "timm/resnet18", str(tmp_path / "none.pth"))


class Harmful:
    """Would run code where a pickle is loaded carelessly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harmed"),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="nothing here is executed"):
        load_pretrained(build("timm/resnet18"), "timm/resnet18", str(tmp_path / "bad.pth"))
    assert not (tmp_path / "harmed").exists()


def small_foundation(style: str, pooled: str = "class") -> Foundation:
    options = {**SMALL_VIT, "init_values": 1.0, "img_size": 64}
    if pooled == "class+mean":
        options["global_pool"] = ""
    return Foundation("lab/small", "vit_tiny_patch16_224", "imagenet", "MIT", True, input_px=64, pooled=pooled,
                      style=style, options=options)  # fmt: skip


def test_a_foundation_model_in_the_cache_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real way through the hub's cache, with a small file made here in the hub's own folder layout."""
    monkeypatch.setitem(FOUNDATION, "small", small_foundation("timm", "class+mean"))
    monkeypatch.setenv("COUNTERSTAIN_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    donor = build_backbone("small", classes=2, tile_px=64, seed=7)
    snapshot = tmp_path / "models--lab--small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--lab--small" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    torch.save(donor.body.state_dict(), snapshot / "pytorch_model.bin")
    network, record = start_network(TrainingConfig(network="small"), classes=2, tile_px=96, seed=0)
    assert isinstance(network, Backbone)
    assert record["source"] == "lab/small" and record["licence"] == "MIT"
    assert network.input_px == 64 and network.output.in_features == 96  # class token and mean, side by side
    tiles = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network.eval().features(tiles), donor.eval().features(tiles))


def test_weights_are_of_the_stated_revision_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two revisions in the cache: the stated one is taken, the record says which, and another hash is refused."""
    monkeypatch.setitem(FOUNDATION, "small", small_foundation("timm"))
    monkeypatch.setenv("COUNTERSTAIN_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    home = tmp_path / "models--lab--small"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("2" * 40)
    for seed, commit in ((1, "1" * 40), (2, "2" * 40)):
        folder = home / "snapshots" / commit
        folder.mkdir(parents=True)
        torch.save(build_backbone("small", classes=2, tile_px=64, seed=seed).body.state_dict(),
                   folder / "pytorch_model.bin")  # fmt: skip
    digest = hash_file(home / "snapshots" / ("1" * 40) / "pytorch_model.bin")

    def record(weights: str) -> dict[str, str]:
        return start_network(TrainingConfig(network="small", weights=weights), classes=2, tile_px=96, seed=0)[1]

    assert record("pretrained")["revision"] == "2" * 40
    assert record(f"pretrained@{'1' * 40}") == record(f"pretrained@{'1' * 40}:{digest}")
    assert record(f"pretrained@{'1' * 40}")["sha256"] == digest
    with pytest.raises(InputError, match=f"have SHA-256 .*{digest} was stated; .*exchanged"):
        record(f"pretrained@{'2' * 40}:{digest}")
    monkeypatch.setitem(FOUNDATION, "small", replace(small_foundation("timm"), revision="1" * 40, sha256="0" * 64))
    with pytest.raises(InputError, match=f"have SHA-256 {digest}, and {'0' * 64} was stated"):
        record("pretrained")


def test_what_is_not_cached_is_one_line_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSTAIN_WEIGHTS", str(tmp_path))
    assert weights_folder() == tmp_path

    def unreachable(*args: Any, **kwargs: Any) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(InputError, match=r"uni2-h .*gated: ask for access.*hf download MahmoodLab/UNI2-h") as caught:
        find_weights("uni2-h")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"resnet18.*cannot be reached.*weights: PATH"):
        find_weights("timm/resnet18")

    def gated(*args: Any, **kwargs: Any) -> str:
        raise GatedRepoError.__new__(GatedRepoError)  # its own parts are the hub's answer, which differs by version

    monkeypatch.setattr("huggingface_hub.hf_hub_download", gated)
    with pytest.raises(InputError, match=r"are gated: ask for access at huggingface.co/MahmoodLab/UNI, then `hf auth"):
        find_weights("uni")


def as_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A timm vision transformer's weights under the names of the other library, written out by hand."""
    made = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
        "embeddings.mask_token": torch.zeros(1, 48),
    }
    for layer in range(2):
        here, there = f"blocks.{layer}.", f"encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            for name, part in zip(("query", "key", "value"), state[f"{here}attn.qkv.{kind}"].chunk(3), strict=True):
                made[f"{there}attention.attention.{name}.{kind}"] = part
            made[f"{there}attention.output.dense.{kind}"] = state[f"{here}attn.proj.{kind}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                made[f"{there}{name}.{kind}"] = state[f"{here}{name}.{kind}"]
        for number in (1, 2):
            made[f"{there}layer_scale{number}.lambda1"] = state[f"{here}ls{number}.gamma"]
    return {name: tensor.clone() for name, tensor in made.items()}


def test_weights_of_the_other_library_are_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FOUNDATION, "small", small_foundation("transformers"))
    donor = build_backbone("small", classes=2, tile_px=64, seed=9)
    save_file(as_transformers(donor.body.state_dict()), tmp_path / "dino.safetensors")
    taker = build("small")
    load_pretrained(taker, "small", str(tmp_path / "dino.safetensors"))
    tiles = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(taker.features(tiles), donor.eval().features(tiles))


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUNDATION)
def test_every_row_of_the_table_builds(name: str) -> None:
    """On the meta device, so that a billion weights take no memory: the options fit the architecture."""
    row = FOUNDATION[name]
    from counterstain.learning.backbones import _options

    with torch.device("meta"):
        body = timm.create_model(row.shape, pretrained=False, **{"num_classes": 0, **_options(row.options)})
        found = body(torch.zeros(1, 3, row.input_px, row.input_px))
    assert found.ndim == (3 if row.pooled == "class+mean" else 2)
    assert row.scale in SCALES


def test_a_bundle_of_a_backbone_predicts_as_it_was(tmp_path: Path) -> None:
    network = build("timm/resnet18", tile_px=64)
    bundle = Bundle("timm/resnet18", ("b", "m"), 64, "exact", "imagenet", layout=layout_of(network))
    write_bundle(tmp_path, bundle, network)
    assert read_bundle(tmp_path) == bundle
    _, loaded = load_network(tmp_path)
    tiles = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    predictor = load_predictor(tmp_path)
    with torch.inference_mode():
        expected = network(to_tensor(tiles, scale="imagenet"))
        torch.testing.assert_close(loaded(predictor.to_tensor(tiles)), expected)
    np.testing.assert_allclose(predictor.logits(tiles), expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(predictor.probabilities(tiles).sum(1), 1)


def test_head_first_leaves_the_body_alone_and_then_does_not() -> None:
    settings = TrainingConfig(
        network="timm/resnet18", weights="random", tune="head_first", head_epochs=2, backbone_rate=0.1
    )
    network, _ = start_network(settings, classes=2, tile_px=64, seed=0)
    optimiser = build_optimiser(network, settings)
    assert [group["lr"] for group in optimiser.param_groups] == [pytest.approx(1e-5), pytest.approx(1e-4)]
    for epoch, learns in ((1, False), (2, False), (3, True)):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        set_phase(network, settings, epoch)
        network.train()
        optimiser.zero_grad(set_to_none=True)
        network(torch.rand(4, 3, 64, 64)).square().sum().backward()
        optimiser.step()
        after = network.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert any(name.startswith("body.") for name in moved) == learns
        assert "output.weight" in moved


def test_the_cosine_falls_from_the_rate_to_nothing() -> None:
    settings = TrainingConfig(network="given", schedule="cosine", epochs=4, learning_rate=1e-3)
    network, _ = start_network(settings, classes=2, tile_px=127, seed=0)
    optimiser = build_optimiser(network, settings)
    rates = []
    for epoch in range(1, 5):
        set_rates(optimiser, settings, epoch=epoch, share=0.0)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(1e-3) and rates[2] == pytest.approx(5e-4)
    set_rates(optimiser, settings, epoch=4, share=1.0)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
