"""Verbs that ask how far a model can be trusted: robustness and explain."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from counterstain.api.process import working
from counterstain.cohort.cohort import Cohort
from counterstain.cohort.layouts import read_images
from counterstain.cohort.reading_options import ImageOptions, takes_reading
from counterstain.cohort.split import Split
from counterstain.errors import GateError, says_arguments
from counterstain.explanation.explain_model import ExplanationOptions, explain_bundle
from counterstain.explanation.explanation_result import Explanation
from counterstain.files import StrPath, read_json
from counterstain.learning.bundle import read_bundle
from counterstain.progress import Progress
from counterstain.robustness.card import robustness_card
from counterstain.robustness.robustness_result import RobustnessCard
from counterstain.study.model import find_bundle

__all__ = ["explain", "robustness"]


@says_arguments
@takes_reading
def robustness(
    model: StrPath,
    images: Cohort | StrPath,
    *,
    out: Path | str = "robustness",
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    splits: Split | StrPath | None = None,
    part: str = "test",
    split_fold: str | None = None,
    budget: StrPath | None = None,
    sample: int | None = None,
    only: Sequence[str] | None = None,
    runtime: str = "auto",
    precision: str = "fp32",
    device: str = "auto",
    rehash: bool = False,
    verbose: bool = False,
    **reading: Unpack[ImageOptions],
) -> RobustnessCard:
    """What a model loses under other stains, blur, JPEG, exposure, scanners, a wrong µm/px, and rotated tiles.

    Args:
        model: a loaded model, a run or an export, or its folder; images: a cohort, a folder or a manifest.
        out: folder of the card.
        arm, seed, fold: of a run, instead of the best on validation data; network_file: see `load_model`.
        splits, part: try only this part of a split or its splits.csv; split_fold: of several folds, as "0-1"; by
            default the model's own.
        budget: YAML file of limits; whether they are met is `card.met`, and nothing is raised where one is not.
        sample: at most so many images, evenly over the patients.
        only: names of trials, such as blur or rotation.
        runtime: auto, torch, onnxruntime or openvino; precision: fp32 or bf16; device: auto, cpu or cuda.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        **reading: layout, pattern, … of a folder or a manifest, see `cohort`.
        verbose: show progress on stderr.

    Raises:
        InputError: If the bundle is damaged, classes differ, `out` holds a card, or `only` or the budget doesn't fit.
    """
    bundle, words = find_bundle(model, arm=arm, seed=seed, fold=fold, network_file=network_file)
    cohort = _cohort_for(bundle, images, **reading)
    # With GateError the card is whole, and says which limits are not met.
    with working(verbose=verbose, rehash=Path(out).parent / "store" if rehash else None) as talk, suppress(GateError):
        _tell(talk, words)
        robustness_card(
                bundle, cohort, Path(out), splits=splits, part=part,
                fold=split_fold, budget=None if budget is None else Path(budget), sample=sample, only=tuple(only or ()),
                runtime=runtime, precision=precision, device=device,
                seen=lambda tried: _seen_before(bundle, tried),
                talk=talk,
            )  # fmt: skip
    return RobustnessCard(Path(out), read_json(Path(out) / "robustness.json"))


def _seen_before(bundle: Path, cohort: Cohort) -> list[str]:
    """Which of these images the model was trained on, in words; by patient and by name of the image."""
    from counterstain.audit.training_set import MEMBERS, overlap, read_members

    if not (bundle / MEMBERS).is_file():
        return []
    table = cohort.table
    met = overlap(read_members(bundle), patient=tuple(table["patient_id"]), image=tuple(table["image_path"]))
    return [f"seen before: {line}" for line in met.words]


def _tell(talk: Progress, words: str) -> None:
    if words:
        talk.say(words)


def _cohort_for(bundle: Path, images: Cohort | StrPath, **reading: Unpack[ImageOptions]) -> Cohort:
    """The images with the bundle's positive class as theirs."""
    classes = read_bundle(bundle).classes
    return read_images(images, positive=classes[-1] if len(classes) == 2 else None, **reading)


@says_arguments
@takes_reading
def explain(
    model: StrPath,
    images: Cohort | StrPath,
    *,
    out: Path | str = "explanation",
    arm: str | None = None,
    seed: int | None = None,
    fold: str | None = None,
    network_file: StrPath | None = None,
    splits: Split | StrPath | None = None,
    part: str = "test",
    split_fold: str | None = None,
    method: str = "hirescam",
    each: int = 8,
    trials: int = 32,
    embedding: str = "pca",
    device: str = "auto",
    random_seed: int = 0,
    rehash: bool = False,
    verbose: bool = False,
    **reading: Unpack[ImageOptions],
) -> Explanation:
    """Where the score is sensitive, never why: maps, checks of them, and tiles by their features.

    Args:
        model: a loaded model, a run or an export, or its folder; images: a cohort, a folder or a manifest.
        out: folder of the page.
        arm, seed, fold: of a run, instead of the best on validation data; network_file: see `load_model`.
        splits, part, split_fold: explain only this part of a split or its splits.csv, see `robustness`.
        method: hirescam, gradcam, gradcam++ or integrated-gradients.
        each: tiles per row of the gallery; trials: tiles that the maps are checked on.
        embedding: pca, or umap where umap-learn is installed.
        device: auto, cpu or cuda; random_seed: for all randomness.
        rehash: read and hash every image again, though size and times of its file are as recorded.
        **reading: layout, pattern, … of a folder or a manifest, see `cohort`.
        verbose: show progress on stderr.

    Raises:
        InputError: If the bundle is damaged, classes differ, or the part is empty.
        GateError: If the model cannot be told from one that guesses; no map is shown then.
    """
    settings = ExplanationOptions(method=method, each=each, trials=trials, embedding=embedding, seed=random_seed)
    bundle, words = find_bundle(model, arm=arm, seed=seed, fold=fold, network_file=network_file)
    cohort = _cohort_for(bundle, images, **reading)
    with working(verbose=verbose, rehash=Path(out).parent / "store" if rehash else None) as talk:
        _tell(talk, words)
        record = explain_bundle(
            bundle, cohort, Path(out), settings=settings, splits=splits,
            part=part, fold=split_fold, device=device, say=talk.say, progress=talk.stored,
        )  # fmt: skip
    return Explanation(Path(out), record)
