"""Environments of their own for the programs that are measured against; each is made at first use, beside the project.

The standard library only: a benchmark's parent process must hold next to nothing, because a child's peak memory starts
at what its parent held.
"""

import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

__all__ = ["features_python", "keras_python", "loops_python", "tiatoolbox_python", "wsinfer_python"]

PROJECT = Path(__file__).resolve().parent.parent
# Lightning 2.6.2 and 2.6.3 were compromised releases. fastai pins an older torch than ours, so it comes without its
# requirements, and those that its vision part needs are named here.
LIGHTNING = ("lightning>=2.5,!=2.6.2,!=2.6.3",)
FASTAI_ALONE = ("fastai>=2.7",)
FASTAI_NEEDS = (
    "fastcore>=1.8",
    "fastdownload",
    "fastprogress>=1.0",
    "fasttransform",
    "plum-dispatch",
    "cloudpickle",
    "requests",
)


def keras_python() -> Path:
    """The Python of an environment with Keras on TensorFlow and OpenCV, 1.7 GB."""
    slim = sys.platform == "linux" and platform.machine() == "x86_64"
    packages = ["keras", "tensorflow-cpu" if slim else "tensorflow", "opencv-python-headless"]
    return _make(PROJECT / ".benchenv-keras", [packages])


def loops_python() -> Path:
    """The Python of an environment with Lightning and fastai on the project's own torch, which is not installed twice.

    What this environment installs comes first on its path; what it lacks is found among the project's packages.
    """
    steps = [[*LIGHTNING, *FASTAI_NEEDS], ["--no-deps", *FASTAI_ALONE]]
    return _make(PROJECT / ".benchenv-loops", steps, borrow=True)


def wsinfer_python() -> Path:
    """The Python of an environment with WSInfer on the project's torch; its readers need older versions."""
    return _make(PROJECT / ".benchenv-wsinfer", [["wsinfer", "zarr<3", "tiffslide<3", "numcodecs<0.16"]], borrow=True)


def tiatoolbox_python() -> Path:
    """The Python of an environment with TIAToolbox on the project's torch."""
    return _make(PROJECT / ".benchenv-tiatoolbox", [["tiatoolbox"]], borrow=True)


def features_python() -> Path:
    """The Python of an environment with LazySlide and slide2vec on the project's torch.

    slide2vec's readers other than OpenSlide, for graphics cards and other formats, are left out.
    """
    steps = [["lazyslide", "omegaconf", "wandb", "einops-exts", "transformers<5"], ["--no-deps", "slide2vec", "hs2p"]]
    return _make(PROJECT / ".benchenv-features", steps, borrow=True)


def _make(folder: Path, steps: list[list[str]], *, borrow: bool = False) -> Path:
    python = folder / "bin" / "python"
    if (folder / ".ready").is_file():
        return python
    print(f"making {folder.name} (once)", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    if borrow:
        own = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        (Path(own) / "project.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    for packages in steps:
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    (folder / ".ready").touch()
    return python


if __name__ == "__main__":
    print(keras_python())
    print(loops_python())
    print(wsinfer_python())
    print(tiatoolbox_python())
    print(features_python())
