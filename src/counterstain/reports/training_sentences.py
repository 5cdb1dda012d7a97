"""What was done to train each arm, in sentences: each from the trainings' own records, arms that agree in one sentence.

A sentence whose record is missing isn't written: training.json of an earlier version has no `done`, and then nothing is
said of how its arm was trained.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterstain.evaluation.format import clean, listed, plural
from counterstain.reports.run_record import RunRecord

__all__ = [
    "Recorded",
    "augmentation_sentences",
    "augmented_arms",
    "choice_sentence",
    "preparation_sentences",
    "recorded",
    "stain_sentences",
    "start_words",
    "training_sentences",
]

FITS = {"stretch": "stretched to", "crop": "cropped at their centre to", "exact": "used at"}
POOLING = {"mil/mean": "mean pooling", "mil/abmil": "gated attention; Ilse et al. 2018"}
PROBES = {
    "logistic": "a logistic regression with an L2 penalty",
    "knn": "a vote of the nearest neighbours",
    "mlp": "a network with one hidden layer",
}
CHOSEN = {
    "logistic": "the strongest penalty within one standard error of the lowest validation loss was taken",
    "knn": "the number of neighbours with the lowest validation loss was taken",
    "mlp": "the epoch with the lowest validation loss was taken",
}


@dataclass(frozen=True)
class Recorded:
    """What every training of one arm recorded alike.

    done: `done` of training.json, see study.training_record; taken: of a probe, what each training took.
    parameters: of its network; None where they differ or are not recorded.
    """

    arm: str
    done: Mapping[str, Any]
    taken: tuple[str, ...] = ()
    parameters: int | None = None

    @property
    def kind(self) -> str:
        """ "network", "backbone", "probe" or "bags"; "" where it is not recorded."""
        return str(self.done.get("kind") or "")

    @property
    def network(self) -> str:
        """The network's name."""
        return clean(self.done.get("network") or "")


def recorded(run: RunRecord) -> tuple[Recorded, ...]:
    """The arms whose trainings say what was done, in the order of the comparison.

    An arm is left out where one of its trainings says nothing; of what its trainings say differently nothing is kept,
    but for what each probe took.
    """
    arms = []
    for arm in run.arms:
        records = [training.record for training in run.trainings if training.arm == arm]
        done = [dict(record.get("done") or {}) for record in records]
        if not done or not all(done):
            continue
        probes = tuple(str((training.get("probe") or {}).get("taken") or "") for training in done)
        common = {
            name: value for name, value in done[0].items() if all(_alike(training, done[0], name) for training in done)
        }
        sizes = {record.get("parameters") for record in records}
        parameters = sizes.pop() if len(sizes) == 1 else None
        arms.append(Recorded(arm, common, tuple(filter(None, dict.fromkeys(probes))), parameters))
    return tuple(arms)


def _alike(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> bool:
    """Whether two trainings say the same of this; what a probe took, and among how many, is each one's own."""
    if name == "probe" and first.get(name) and second.get(name):
        return bool(first[name].get("kind") == second[name].get("kind"))
    return name in first and bool(first[name] == second[name])


def _grouped(arms: Iterable[Recorded], key: Callable[[Recorded], Hashable]) -> list[tuple[Any, list[Recorded]]]:
    """Arms with the same key together, in the order of their first; a key of None is left out."""
    groups: dict[Hashable, list[Recorded]] = {}
    for arm in arms:
        if (value := key(arm)) is not None:
            groups.setdefault(value, []).append(arm)
    return list(groups.items())


def _names(arms: Iterable[Recorded]) -> str:
    return listed(clean(arm.arm) for arm in arms)


def _of_all(run: RunRecord, arms: Sequence[Recorded]) -> bool:
    """Whether these are all arms of the run, so that they need no naming."""
    return len(arms) == len(run.arms)


def _of_arms(run: RunRecord, arms: Sequence[Recorded]) -> str:
    """ " of" and the names of these arms; "" where they are all."""
    return "" if _of_all(run, arms) else f" of {_names(arms)}"


# ---------------------------------------------------------------------------------------------------------- preparation


def preparation_sentences(run: RunRecord) -> list[str]:
    """How images became what the networks saw."""
    out = []
    for preparation, arms in _grouped(recorded(run), lambda arm: _prepared(arm, run.rows_are)):
        start = "" if _of_all(run, arms) else f"For {_names(arms)}: "
        out.append(f"{start}{preparation}.")
    return out


def _prepared(arm: Recorded, rows_are: str) -> str | None:
    features, tiles = arm.done.get("features"), arm.done.get("tiles")
    if arm.kind == "bags" and features:
        encoder = f" of {clean(features['encoder'])}" if features.get("encoder") else ""
        each = "row" if rows_are == "bag" else rows_are
        return f"Each {each} was a bag of tile features ({features['width']:,} for each tile{encoder})"
    if not tiles:
        return None
    side = int(tiles["tile_px"])
    size, verb = f"{side} × {side} px", FITS.get(str(tiles.get("fit")), "made")
    images, resized = tiles.get("images"), tiles.get("resized")
    if resized == 0:
        sentence = f"Images were used at their own size, {size}"
    elif resized is not None and images is not None and resized < images:
        sentence = f"{resized:,} of {images:,} images were {verb} {size}, the size of the others"
    else:
        sentence = f"Images were {verb} {size}"
    inside = (arm.done.get("backbone") or {}).get("input_px")
    if inside and inside != side:
        sentence += f"; the backbone resized them to {inside} × {inside} px"
    return sentence


def stain_sentences(run: RunRecord) -> list[str]:
    """What was done to the stain: normalisation of every image, variation of training images."""
    out = []
    for method, arms in _grouped(recorded(run), lambda arm: arm.done.get("normalisation")):
        out.append(
            f"Every image{_of_arms(run, arms)} was normalised to the stain of the training images ({clean(method)})."
        )
    for method, arms in _grouped(recorded(run), _stain_varied):
        out.append(f"The stain of the training images{_of_arms(run, arms)} was varied in each epoch ({clean(method)}).")
    return out


def _stain_varied(arm: Recorded) -> str | None:
    method = arm.done.get("stain_augmentation")
    return None if method in (None, "none") else str(method)


# ------------------------------------------------------------------------------------------------------------- training


def training_sentences(run: RunRecord) -> list[str]:
    """How each arm came by its weights; arms that were trained alike stand in one sentence."""
    arms = recorded(run)
    out = []
    for (start, how), group in _grouped(
        (arm for arm in arms if arm.kind != "probe"), lambda arm: _trained(arm, run.rows)
    ):
        described = listed(_described(arm) for arm in group)
        verb = "fine-tuned" if group[0].done.get("weights") else "trained"
        out.append(f"We {verb} {described}{start}{how}.")
    out += [_probe_sentence(arm) for arm in arms if arm.kind == "probe" and arm.done.get("probe")]
    return out


def _described(arm: Recorded) -> str:
    """An arm with what tells it from others that were trained alike."""
    network = POOLING.get(arm.network, "" if arm.kind != "network" else f"{arm.network} network")
    batch = (arm.done.get("optimiser") or {}).get("batch")
    traits = (network or arm.network, "" if batch is None else f"batch {batch}")
    return f"{clean(arm.arm)} ({', '.join(filter(None, traits))})"


def _trained(arm: Recorded, rows: str) -> tuple[str, str] | None:
    """How weights began, and how a training loop changed them."""
    optimiser, stopping = arm.done.get("optimiser"), arm.done.get("stopping")
    if not optimiser or not stopping:
        return None
    body = arm.done.get("backbone") or {}
    rate = f"learning rate {optimiser['learning_rate']:g}"
    if optimiser.get("weight_decay"):
        rate += f", weight decay {optimiser['weight_decay']:g}"
    if optimiser.get("schedule") == "cosine":
        rate += ", falling to 0 along a cosine"
    how = f" with {clean(optimiser['name'])} ({rate}){_stopped(stopping)}"
    if body.get("head_epochs"):
        how += f"; the head learned alone for {plural(body['head_epochs'], 'epoch')}, then the whole network"
    if body.get("rate") not in (None, 1, 1.0):
        how += f"; the backbone learned at {body['rate']:g} times the head's rate"
    how += "".join(f"; {clause}" for clause in _uneven_clauses(arm.done.get("uneven") or {}, rows))
    cap = (arm.done.get("features") or {}).get("bag_tiles")
    if cap:
        how += f"; each epoch saw at most {plural(cap, 'tile')} of a slide"
    return f" {start_words(arm)}", how


def _uneven_clauses(settings: Mapping[str, Any], rows: str) -> Iterator[str]:
    """What was done for classes of uneven size, a clause each."""
    weights = settings.get("class_weights")
    if weights == "balanced":
        yield "the loss was weighted inversely to the frequency of each class"
    elif weights:
        yield f"the loss was weighted by class ({', '.join(f'{clean(k)} {value:g}' for k, value in weights.items())})"
    if settings.get("sampler"):
        yield f"every epoch drew equally many {rows} of each class"
    if weights or settings.get("sampler"):
        yield "the logits were corrected for it to the classes' frequencies in the training part (logit adjustment)"
    if settings.get("label_smoothing"):
        yield f"labels were smoothed by {settings['label_smoothing']:g}"
    if settings.get("focal"):
        yield f"the focal loss was used (γ = {settings['focal']:g})"
    for name, mixing in (("mixup", "MixUp"), ("cutmix", "CutMix")):
        if settings.get(name):
            yield f"training images were mixed by {mixing} (α = {settings[name]:g})"


def _stopped(stopping: Mapping[str, Any]) -> str:
    epochs, patience = int(stopping["epochs"]), int(stopping["patience"])
    if epochs == 1:
        return " for 1 epoch"
    best_kept = "the weights of the epoch with the lowest validation loss were kept"
    if patience >= epochs:
        return f" for {epochs} epochs; {best_kept}"
    waited = plural(patience, "epoch")
    return (
        f" for at most {epochs} epochs; training stopped once the validation loss had not improved for {waited}, and "
        f"{best_kept}"
    )


def start_words(arm: Recorded) -> str:
    """Where an arm's weights began: "from random weights", or from which trained ones."""
    weights = arm.done.get("weights")
    if not weights:
        return "from random weights"
    return f"from the trained weights of {_source(weights)}"


def _source(weights: Mapping[str, Any]) -> str:
    proof = f"SHA-256 {str(weights['sha256'])[:12]}…" if weights.get("sha256") else ""
    terms = clean(weights.get("licence") or "")
    details = ", ".join(filter(None, (proof, terms)))
    return clean(weights.get("source") or "") + (f" ({details})" if details else "")


def _probe_sentence(arm: Recorded) -> str:
    """A probe: nothing of its backbone was trained."""
    probe, weights = arm.done["probe"], arm.done.get("weights")
    starting = f" with the trained weights of {_source(weights)}" if weights else ""
    views = int(probe.get("views") or 1)
    averaged = f", as the mean over {views} symmetries of the tile" if views > 1 else ""
    levels = " of all its levels" if probe.get("features") == "levels" else ""
    kind = str(probe.get("kind"))
    candidates = f" ({listed(clean(name) for name in arm.taken)})" if arm.taken else ""
    chosen = f"; {CHOSEN[kind]}{candidates}" if kind in CHOSEN else ""
    return (
        f"For {clean(arm.arm)}, {arm.network}{starting} was kept frozen, its features{levels} were computed for each "
        f"image{averaged}, and {PROBES.get(kind, 'a probe')} was fitted to those of the training images{chosen}."
    )


def choice_sentence(run: RunRecord) -> str:
    """What training and validation images were used for, by all arms together; "" where that is not recorded."""
    arms = recorded(run)
    stopped = [arm for arm in arms if (arm.done.get("stopping") or {}).get("epochs", 1) > 1]
    probes = [arm for arm in arms if arm.kind == "probe"]
    if not arms or not (stopped or probes):
        return ""
    choices = []
    if stopped:
        choices.append("which epoch's weights are kept")
    if probes:
        choices.append("which probe is taken")
    return f"Training {run.rows} fit the weights, validation {run.rows} say {listed(choices)}."


# --------------------------------------------------------------------------------------------------------- augmentation


def augmented_arms(run: RunRecord) -> list[Recorded]:
    """The arms whose training images were augmented, by their own records."""
    return [arm for arm in recorded(run) if _augmented(arm)]


def _augmented(arm: Recorded) -> tuple[str, tuple[str, ...]] | None:
    augmentation = arm.done.get("augmentation") or {}
    names = tuple(str(name).replace("_", " ") for name in augmentation.get("transformations") or ())
    return (str(augmentation.get("mode")), names) if augmentation.get("mode") not in (None, "none") and names else None


def augmentation_sentences(run: RunRecord) -> list[str]:
    """Whose training images were augmented, how, and whose were not."""
    if run.stamp.startswith("LEAK"):
        return []
    out = []
    for (mode, names), arms in _grouped(recorded(run), _augmented):
        whose = _of_arms(run, arms)
        if mode == "expand":
            out.append(
                f"The training images{whose} were joined by one altered copy for each transformation ({listed(names)})."
            )
        else:
            out.append(f"Training images alone{whose} were augmented, with new draws in each epoch ({listed(names)}).")
    plain = [arm for arm in recorded(run) if not _augmented(arm)]
    if plain:
        inputs = "features" if all(arm.kind == "bags" for arm in plain) else "images"
        out.append(f"The training {inputs}{_of_arms(run, plain)} were used as they are, without augmentation.")
    return out
