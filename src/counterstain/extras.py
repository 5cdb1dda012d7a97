"""Which extra brings which package: what a verb says where a package that it needs is not installed."""

from counterstain.errors import InputError

__all__ = ["EXTRA_OF", "missing_package", "missing_words"]

# By the name that is imported: what it is called, and the smallest extra that brings it. What is not here is core.
EXTRA_OF = {
    "captum": ("captum", "explain"),
    "cryptography": ("cryptography", "sign"),
    "cv2": ("OpenCV", "train"),
    "dicomweb_client": ("dicomweb-client", "dicom"),
    "distributed": ("dask.distributed", "cluster"),
    "faiss": ("faiss-cpu", "large"),
    "fastapi": ("FastAPI", "web"),
    "h5py": ("h5py", "train"),
    "highdicom": ("highdicom", "dicom"),
    "huggingface_hub": ("huggingface-hub", "train"),
    "imagecodecs": ("imagecodecs", "train"),
    "jinja2": ("Jinja", "report"),
    "keras": ("Keras", "keras"),
    "markupsafe": ("Jinja", "report"),
    "matplotlib": ("matplotlib", "report"),
    "mlflow": ("MLflow", "mlflow"),
    "nncf": ("NNCF", "int8"),
    "numba": ("Numba", "train"),
    "onnx": ("ONNX", "runtimes"),
    "onnxruntime": ("ONNX Runtime", "runtimes"),
    "onnxscript": ("onnxscript", "runtimes"),
    "openslide": ("OpenSlide", "slides"),
    "openvino": ("OpenVINO", "runtimes"),
    "optuna": ("optuna", "search"),
    "pooch": ("pooch", "data"),
    "pyarrow": ("pyarrow", "parquet"),
    "pydicom": ("pydicom", "dicom"),
    "safetensors": ("safetensors", "train"),
    "shapely": ("Shapely", "slides"),
    "sklearn": ("scikit-learn", "train"),
    "tensorboard": ("TensorBoard", "tensorboard"),
    "threadpoolctl": ("threadpoolctl", "train"),
    "tifffile": ("tifffile", "slides"),
    "timm": ("timm", "train"),
    "torch": ("PyTorch", "train"),
    "torchvision": ("torchvision", "train"),
    "uvicorn": ("uvicorn", "web"),
    "wandb": ("Weights & Biases", "wandb"),
}


# These need more than the package that was missed first: one line is to be enough.
_EXTRA_OF_VERB = dict.fromkeys(("inspect", "slides run", "slides tiles", "phantom-slides"), "slides") | {
    "export": "runtimes",
    "slides dicom": "dicom",
    "search": "search",
    "serve": "web",
}


def missing_words(error: ModuleNotFoundError, what: str) -> str | None:
    """One line for a package that an extra brings: what needs it, and what to type; None for any other module.

    >>> missing_words(ModuleNotFoundError(name="torch"), "train")
    "train needs PyTorch, which is not installed here; pip install 'counterstain[train]'"
    """
    known = EXTRA_OF.get((error.name or "").partition(".")[0])
    if known is None:
        return None
    package, extra = known
    if extra != "dicom":  # which brings all that slides need
        extra = _EXTRA_OF_VERB.get(what.removeprefix("counterstain."), extra)
    return f"{what} needs {package}, which is not installed here; pip install 'counterstain[{extra}]'"


def missing_package(error: ModuleNotFoundError, what: str) -> InputError | ModuleNotFoundError:
    """What to raise instead of the error: an InputError where an extra brings the package, else the error itself."""
    words = missing_words(error, what)
    return error if words is None else InputError(words)
