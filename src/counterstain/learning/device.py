"""What this machine trains on: device, precision, threads, and an allocator that keeps its pages."""

import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from counterstain.errors import InputError
from counterstain.learning.networks import NETWORKS
from counterstain.learning.pooling import has_kernels
from counterstain.system import default_threads, keep_pages

__all__ = ["DEVICES", "PRECISIONS", "Device", "check_machine", "prepare_device"]

PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda")
MOST_THREADS = 1024


@dataclass(frozen=True)
class Device:
    """What a run was made on. The same seed gives the same bytes where all of this is the same."""

    device: str
    precision: str
    threads: int
    allocator: bool
    pooling: str
    processor: str
    torch: str


def prepare_device(
    *, device: str = "auto", precision: str = "auto", threads: int | None = None, network: str | None = None
) -> Device:
    """Settle device, precision and threads for this process, and say what was settled.

    "auto" takes a CUDA device where there is one, and bfloat16 where the processor or device computes in it natively.

    Args:
        device: "auto", "cpu" or "cuda".
        precision: of training steps, "auto", "fp32" or "bf16"; weights, validation and prediction are always fp32.
        threads: of the processor; None for OMP_NUM_THREADS, and without it for as many as the process may use.
        network: what is to be trained; None where nothing is. For a training, glibc is told to keep freed memory (see
            memory.keep_pages), and of this project's own networks the pooling is compiled where that works.

    Raises:
        InputError: If an asked-for device is not there: nothing is moved to another one silently.
    """
    has_cuda = check_machine(device=device, precision=precision, threads=threads)
    chosen = "cuda" if has_cuda and device != "cpu" else "cpu"
    if precision == "auto":
        native = torch.cuda.is_bf16_supported() if chosen == "cuda" else _processor_has_bf16()
        precision = "bf16" if native else "fp32"
    torch.set_num_threads(threads or default_threads())
    return Device(
        device=chosen,
        precision=precision,
        threads=torch.get_num_threads(),
        allocator=chosen == "cpu" and network is not None and keep_pages(),
        pooling="compiled" if network in NETWORKS and chosen == "cpu" and has_kernels() else "torch",
        processor=_processor_name(),
        torch=str(torch.__version__),
    )


def check_machine(*, device: str, precision: str, threads: int | None) -> bool:
    """Refuse a device, a precision or a number of threads that cannot be had; returns whether there is a CUDA device.

    Raises:
        InputError: Naming the setting.
    """
    if device not in DEVICES:
        raise InputError(f"device is '{device}'; it can be {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision is '{precision}'; it can be {', '.join(PRECISIONS)}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads is {threads}; it must be from 1 to {MOST_THREADS}, or left out for all cores")
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise InputError("device is 'cuda', but this PyTorch sees no CUDA device; set training.device to cpu or auto")
    return has_cuda


def _cpu_info(field: str) -> str:
    """One field of the first processor that Linux lists, or "" elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _processor_has_bf16() -> bool:
    # Without these instructions bfloat16 is emulated, which is slower than fp32.
    return bool({"avx512_bf16", "amx_bf16"} & set(_cpu_info("flags").split()))


def _processor_name() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()
