"""Which device is asked for."""

import pytest

from counterstain.errors import InputError
from counterstain.learning.device import device_for


@pytest.mark.parametrize(
    ("runtime", "device", "asked"),
    [
        ("auto", "auto", "auto"),
        ("torch", "auto", "auto"),
        ("torch", "cuda", "cuda"),
        ("auto", "cuda", "cuda"),
        ("openvino", "auto", "cpu"),
        ("onnxruntime", "cpu", "cpu"),
        ("openvino", "cdua", "cdua"),
    ],
)
def test_a_runtime_of_the_processor_is_on_the_processor(runtime: str, device: str, asked: str) -> None:
    """A misspelt device is handed on, for prepare_device to refuse by name."""
    assert device_for(runtime, device) == asked


def test_cuda_with_another_runtime_than_torch_is_refused() -> None:
    with pytest.raises(InputError, match="onnxruntime is of the processor"):
        device_for("onnxruntime", "cuda")
