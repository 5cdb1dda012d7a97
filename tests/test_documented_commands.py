"""Every command in README, docs and --help is one that the program takes, and does what it says on small data."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from counterstain.audit.decisions import Decision, append_decision
from counterstain.cli import app
from ssh_keys import pair

ROOT = Path(__file__).parent.parent
RUNNER = CliRunner()

# What only runs with public data, a hub or a cluster, or takes a study of its own that another test makes.
ELSEWHERE = {
    "examples/": "needs PatchCamelyon or BreakHis",
    "data fetch": "needs a network; tests/datasets/test_fetch.py",
    "data verify": "a fetched cohort; tests/datasets/test_fetch.py",
    "tcp://": "needs a dask cluster; tests/study/test_executors.py",
    "arms/abmil": "a study of feature files; tests/study/test_bag_arms.py",
    "own_network.py": "a network of the user's; tests/study/test_own_network_study.py",
    "counterstain publish": "needs a tracker's package; tests/study/test_publish.py",
    "counterstain demo": "make demo; tests/study/test_run.py does the same on less",
}
# Words that stand for the user's own, and options that make a command small: the last of two wins.
STAND_FOR = {"MODEL": "model/", "BUNDLE": "model/", "runs/demo/arms/given/seed0": "model/"}
SMALL = {
    "phantom": ["--patients", "4", "--tiles", "2", "--tile-px", "64"],
    "phantom-slides": ["--slides", "1", "--size-px", "2048"],
    "train": ["--epochs", "1", "--tile-px", "127"],
    "run": ["--set", "training.epochs=1"],
    "search": ["--trials", "1", "--set", "training.epochs=1"],
    "lr-find": ["--steps", "20"],
    "robustness": ["--sample", "8", "--only", "blur"],
    "augment": ["--tile-px", "64", "--count", "2"],
    "features": ["--device", "cpu"],
    "explain": ["--trials", "4", "--each", "2", "--device", "cpu"],
    "features timm/resnet50": ["--device", "cpu", "--weights", "random"],
    "export": ["--formats", "onnx"],
    "serve": ["--export", "site"],  # else it serves until it is stopped
    "slides run": ["--device", "cpu", "--runtime", "torch"],
}


def documented() -> Iterator[tuple[str, str]]:
    """(file, command) of every command in README, docs and --help."""
    # Those of the tutorials run as they are, in tests/test_tutorials.py.
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "tutorials"]
    places = [ROOT / "README.md", *sorted(pages)]
    for path in places:
        text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
        for found in re.finditer(r"^[ ]{0,8}(counterstain [a-z].*)$", text, flags=re.MULTILINE):
            yield path.name, found[1]
    for path in sorted((ROOT / "src" / "counterstain" / "cli").glob("*.py")):
        for found in re.finditer(r"Example: (counterstain .*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            yield path.name, found[1]


COMMANDS = sorted(set(documented()))
ON_SERVER = [(place, line) for place, line in COMMANDS if "dicomweb://" in line or "slides dicom" in line]
RUNNABLE = [pair for pair in COMMANDS if pair not in ON_SERVER and not any(part in pair[1] for part in ELSEWHERE)]


def words(line: str) -> list[str]:
    """The words after `counterstain`, without a comment at the end."""
    found = shlex.split(line, comments=True)[1:]
    return [STAND_FOR.get(word, word) for word in found]


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) > 50
    assert len(RUNNABLE) + len(ON_SERVER) > 0.8 * len(COMMANDS)


@pytest.mark.parametrize(("place", "line"), COMMANDS)
def test_a_documented_command_is_taken(place: str, line: str) -> None:
    """Its verb, options and number of arguments are known."""
    command = typer.main.get_command(app)
    name, *arguments = words(line)
    while name in getattr(command, "commands", {}):
        command = command.commands[name]  # type: ignore[attr-defined]
        if not hasattr(command, "commands"):
            break
        name, *arguments = arguments
    else:
        pytest.fail(f"{place}: there is no verb {name}")
    with command.make_context(name, arguments) as context:
        assert context.info_name == name and set(context.params) == {one.name for one in command.params} - {"help"}


def grades(names: list[str]) -> None:
    """The tables of two models and the one of one model, with these grades as their classes."""
    for seed, table in enumerate(("predictions", "ours", "theirs")):
        prob = np.random.default_rng(seed).dirichlet(np.ones(len(names)), 80)
        rows = [
            f"i{k}.png,p{k // 4},{names[k // 4 % len(names)]},{','.join(f'{value:.4f}' for value in prob[k])}"
            for k in range(80)
        ]
        header = f"image_path,patient_id,label,{','.join(f'prob_{name}' for name in names)}"
        Path(f"{table}.csv").write_text("\n".join([header, *rows]) + "\n")


def tables(folder: Path) -> None:
    """Prediction tables of 80 images of 20 patients at two sites, under the names that the docs use."""
    rng = np.random.default_rng(0)
    header = "image_path,patient_id,site,label,prob_malignant"
    names = ["theirs", "ours", "val", "predictions", *(f"{arm}_seed{seed}" for arm in "ab" for seed in range(3))]
    for name in names:
        rows = [
            f"{'v' if name == 'val' else 'i'}{k}.png,{'v' if name == 'val' else 'p'}{k // 4},"
            f"{'AB'[k // 4 % 4 // 2]},{('benign', 'malignant')[k // 4 % 2]},"
            f"{np.clip(0.5 + 0.3 * (k // 4 % 2 - 0.5) + rng.normal(0, 0.25), 0.01, 0.99):.4f}"
            for k in range(80)
        ]
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    text = (folder / "theirs.csv").read_text()
    text = text.replace("label,prob_malignant", "GT,Score (%)").replace("patient_id", "Case", 1)
    (folder / "scores.csv").write_text(text)
    bits = rng.integers(0, 2, (80, 2))
    for arm in ("plain", "smooth"):
        prob = np.clip(0.2 + 0.6 * bits + rng.normal(0, 0.3, bits.shape), 0, 1).round(4)
        rows = [
            f"i{k}.png,p{k // 4},{a},{x},{b},{y}" for k, ((a, b), (x, y)) in enumerate(zip(bits, prob, strict=True))
        ]
        head = "image_path,patient_id,label_mass,prob_mass,label_oedema,prob_oedema"
        (folder / f"findings_{arm}.csv").write_text("\n".join([head, *rows]) + "\n")
    for arm in "ab":
        made = folder / f"maps-{arm}" / "slide-scores"
        made.mkdir(parents=True)
        shutil.copy(folder / f"{arm}_seed0.csv", made / "predictions.csv")
    (folder / "maps" / "slide-scores").mkdir(parents=True)
    shutil.copy(folder / "ours.csv", folder / "maps" / "slide-scores" / "predictions.csv")


STUDY = """\
name: study
cohort: {path: cohort.csv}
tiles: {tile_px: 127}
audit: {gate: "off", baselines: false}
training: {epochs: 1, threads: 1, precision: fp32}
arms: {given-32: {network: given}, modified: {network: modified}}
seeds: [0]
search: {arm: given-32, ranges: {learning_rate: {low: 1e-5, high: 1e-3, log: true}}}
"""


def do(*arguments: str) -> None:
    done = RUNNER.invoke(app, list(arguments))
    assert done.exit_code == 0, f"{' '.join(arguments)}: {done.output}"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the documented commands name."""
    folder = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        do("phantom", "--out", "images", "--patients", "16", "--tiles", "4", "--tile-px", "127", "--workers", "1")
        for copy in ("my-images", "new_hospital", "new_images"):
            shutil.copytree("images", copy)
            Path(copy, "cohort.csv").unlink()
        _by_patient_folders(Path("my-images"))
        pixels = next(Path("images").rglob("*.png")).read_bytes()
        for kind, subtype in (("B", "A"), ("B", "F"), ("M", "DC"), ("M", "LC")):
            path = Path("breakhis", f"SOB_{kind}_{subtype}-14-{ord(subtype[0])}00-40-001.png")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(pixels)
        do("cohort", "images", "--out", "cohort.csv", "--no-decode")
        for name in ("other_hospital", "new", "tiles"):
            shutil.copy("cohort.csv", f"{name}.csv")
        do("split", "cohort.csv", "--out", "splits.csv")
        do("train", "cohort.csv", "splits.csv", "--out", "model", "--tile-px", "127", "--epochs", "1")
        do("predict", "model", "cohort.csv", "--splits", "splits.csv", "--out", "predicted.csv", "--runtime", "torch")
        Path("study.yaml").write_text(STUDY)
        do("run", "study.yaml")
        image = pd.read_csv("cohort.csv")["image_path"][0]
        append_decision(Path("runs/study/decisions.csv"), Decision("2026-11-29T13:40:00Z", "me", image, "", "drop"))
        for copy in ("demo", "mystudy"):
            shutil.copytree("runs/study", f"runs/{copy}")
        shutil.copytree("images", "tiles")
        Path("budget.yaml").write_text("blur: {at: 2.0, auroc_drop: 1.0}\n")
        tables(folder)
        shutil.rmtree("store")
    return folder


def _by_patient_folders(folder: Path) -> None:
    """benign/P01/…, as the docs' pattern reads it."""
    for path in list(folder.rglob("*.png")):
        place = path.parent / path.name.split("_")[0]
        place.mkdir(exist_ok=True)
        path.rename(place / path.name)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, workshop: Path) -> Path:
    """The workshop with phantom slides, their outlines, and a table of them, under the names that the docs use."""
    folder = tmp_path_factory.mktemp("slides") / "w"
    shutil.copytree(workshop, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        do("phantom-slides", "--out", "drawn", "--slides", "2", "--size-px", "2048", "--patients", "4",
           "--vendor", "aperio")  # fmt: skip
        for found, name in zip(sorted(Path("drawn").glob("*.svs")), ("A.svs", "B.ndpi"), strict=True):
            shutil.copy(found, name)
            (Path("slides") / found.name).parent.mkdir(exist_ok=True)
            found.with_suffix(".truth.geojson").rename(found.with_suffix(".geojson"))
            found.rename(Path("slides") / found.name)
        do("slides", "run", "model", "slides", "--out", "slide-maps", *SMALL["slides run"])
        rows = ("A.svs,A,P000,malignant,test", "B.ndpi,B,P002,benign,test")
        Path("slides.csv").write_text("\n".join(["image_path,slide_id,patient_id,label,split", *rows]) + "\n")
    return folder


def on_slides(line: str) -> bool:
    return bool(re.search(r"slides|\.svs|^counterstain inspect", line))


@pytest.mark.slow
@pytest.mark.parametrize(("place", "line"), [pair for pair in RUNNABLE if on_slides(pair[1])])
def test_a_documented_command_of_slides_runs(
    place: str, line: str, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "w"
    shutil.copytree(slides, here)
    monkeypatch.chdir(here)
    for out in ("tiles", "maps"):  # of other commands
        shutil.rmtree(out)
    verb, *more = words(line)
    small = SMALL.get(f"{verb} {more[0]}", SMALL.get(verb, []))
    if verb == "phantom-slides":
        shutil.rmtree("slides")
    done = RUNNER.invoke(app, [verb, *more, *small])
    assert done.exit_code == 0, f"{place}: {line}\n{done.output}"


@pytest.mark.slow
def test_documented_commands_of_dicom_run(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Orthanc on another port, in the order in which they are needed."""
    pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    from cohort_runs import tissue_pixels
    from dicom_series import write_series
    from orthanc_server import started

    here = tmp_path / "w"
    shutil.copytree(workshop, here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("COUNTERSTAIN_CACHE", str(tmp_path / "cache"))
    shutil.rmtree("maps")
    assert len(ON_SERVER) > 2
    with started(tmp_path) as server:
        server.store(write_series(here / "slides", tissue_pixels(1), tile=256))
        for _, line in sorted(ON_SERVER, key=lambda pair: ("dicomweb" not in pair[1], "slides dicom" in pair[1])):
            if "dicomweb" not in line:  # of the files, with another model
                shutil.rmtree("maps")
                do("slides", "run", "runs/demo", "slides", "--out", "maps", *SMALL["slides run"])
            verb = words(line)[:2]
            do(*words(line.replace("localhost:8042", f"127.0.0.1:{server.port}")), *SMALL.get(" ".join(verb), []))


@pytest.mark.slow
@pytest.mark.parametrize(("place", "line"), [pair for pair in RUNNABLE if not on_slides(pair[1])])
def test_a_documented_command_runs(
    place: str, line: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends with 0, or with 3 where the page says that it may: a leak, a limit, a slide skipped."""
    here = tmp_path / "w"
    shutil.copytree(workshop, here)
    monkeypatch.chdir(here)
    verb, *more = words(line)
    for path in ("runs/study",) if verb in ("run", "search") else ():
        shutil.rmtree(path)
    if verb == "init":
        Path("study.yaml").unlink()
    if "--key" in more:
        pytest.importorskip("cryptography", reason="the extra sign is not installed")
        pair(here, "id_ed25519")
    if "--order" in more:
        grades(more[more.index("--order") + 1].split(","))
    for option in ("--out",):  # what the workshop made is made anew
        if option in more and verb in ("train", "export"):
            shutil.rmtree(more[more.index(option) + 1], ignore_errors=True)
    done = RUNNER.invoke(app, [verb, *more, *SMALL.get(verb, [])])
    assert done.exit_code in (0, 3), f"{place}: {line}\n{done.output}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "cohort runs/demo/records/cohort.csv",
        "cohort runs/demo",
        "split runs/demo/records/cohort.csv --out s.csv",
        "audit runs/demo/records/cohort.csv runs/demo/records/splits.csv --out audited --no-rotated",
        "augment runs/demo/records/cohort.csv --out sheet.png",
        "train runs/demo/records/cohort.csv runs/demo/records/splits.csv --out again",
        "predict model/ runs/demo/records/cohort.csv --splits runs/demo/records/splits.csv --out p.csv --runtime torch",
        "robustness model/ runs/demo/records/cohort.csv --splits runs/demo/records/splits.csv --out card",
        "explain model/ runs/demo/records/cohort.csv --splits runs/demo/records/splits.csv --out explanation",
        "features model/ runs/demo/records/cohort.csv --out features",
        "init runs/demo/records/cohort.csv --out other.yaml",
    ],
)
def test_a_run_s_own_cohort_works_in_every_verb(
    line: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "w"
    shutil.copytree(workshop, here)
    monkeypatch.chdir(here)
    verb, *more = words(f"counterstain {line}")
    done = RUNNER.invoke(app, [verb, *more, *SMALL.get(verb, [])])
    assert done.exit_code in (0, 3), f"{line}\n{done.output}"
