"""What `doctor` says of a machine: each check is made to fail once."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.study import doctor as module
from counterstain.study.doctor import Check, Health, doctor


def check_of(health: Health, name: str) -> Check:
    return next(check for check in health.checks if check.name == name)


def test_this_machine_is_looked_at_whole(tmp_path: Path) -> None:
    health = doctor(tmp_path)
    names = [check.name for check in health.checks]
    assert len(names) == len(set(names))
    assert {"processor", "memory", "disk", "decoder", "OpenSlide", "requirements", "locale"} <= set(names)
    assert check_of(health, "decoder").state == check_of(health, "OpenSlide").state == "ok"
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        doctor(tmp_path / "nowhere")


def test_versions_that_break_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"timm": "1.0.23", "captum": "0.8", "keras": "3.10.0", "onnxscript": "0.6.2", "pillow": "13.0"}
    monkeypatch.setattr(module, "_version", versions.get)
    found = {check.name: (check.state, check.advice) for check in module._known_breakage()}
    assert found == {
        "timm": ("problem", "pip install 'timm!=1.0.23'"),
        "captum": ("problem", "pip install 'captum>=0.9'"),
        "keras": ("note", "pip install 'keras>=3.11'"),
    }


def test_requirements_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._version
    monkeypatch.setattr(module, "_version", lambda name: "1.26.4" if name == "numpy" else real(name))
    (found,) = module._requirements()
    assert found.state == "problem"
    assert found.found == "numpy 1.26.4, needed >=2"


def test_a_reader_that_returns_white_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import openslide
    from PIL import Image

    def white(self: Any, location: Any, level: Any, size: tuple[int, int]) -> Image.Image:
        return Image.new("RGBA", size, (255, 255, 255, 255))

    monkeypatch.setattr(openslide.OpenSlide, "read_region", white)
    found = module._slide_pixels()
    assert (found.state, found.found) == ("problem", "OpenSlide returned pixels that differ from those written")


def test_a_decoder_that_is_off_by_one_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from counterstain.images import decode as decoding

    real: Callable[..., Any] = decoding.decode
    monkeypatch.setattr(
        decoding, "decode", lambda path: replace(real(path), pixels=np.clip(real(path).pixels, 0, 254) + np.uint8(1))
    )
    found = module._probe("decoder", module._decoder_pixels)
    assert found.state == "problem"
    assert "differ by 1 grey levels" in found.found


@pytest.mark.parametrize(("quota", "state"), [("100000 100000", "note"), ("max 100000", "ok"), ("800000 100000", "ok")])
def test_a_container_with_fewer_cores_is_noted(
    quota: str, state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / "cpu.max" if "cpu.max" in str(name) else Path(name))
    monkeypatch.setattr(module, "usable_cores", lambda: 4)
    assert module._cores().state == state


def test_the_verb_prints_a_table_and_ends_with_three_where_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = CliRunner().invoke(app, ["doctor"])
    assert "decoder" in answer.output
    sick = Health((Check("disk", "problem", "0 GiB free", "choose another folder"), Check("memory", "ok", "16 GiB")))
    monkeypatch.setattr(module, "doctor", lambda folder: sick)
    answer = CliRunner().invoke(app, ["doctor"])
    assert answer.exit_code == 3
    assert "disk: choose another folder" in answer.output
    answer = CliRunner().invoke(app, ["doctor", "--json"])
    record = json.loads(answer.output)
    assert (record["healthy"], record["checks"][0]["state"]) == (False, "problem")


def test_every_extra_is_shown_but_trackers_and_bundles_of_others() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bundles = {"all", "dev", "tensorboard", "mlflow", "wandb"}
    assert set(module.EXTRAS) == set(project["optional-dependencies"]) - bundles


def test_a_package_that_several_extras_ask_for_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=1", "pytest>=1; extra == 'a'", "pytest>=2; extra == 'b'", "counterstain[a]; extra == 'b'"]
    monkeypatch.setattr(module.metadata, "requires", lambda name: lines)
    [check] = module._requirements()
    assert check.found == "2 installed packages are new enough"
