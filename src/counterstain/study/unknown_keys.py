"""What an unknown key of a study was meant to be: by its meaning, by its place, and then by its spelling."""

import difflib
from collections.abc import Mapping, Sequence

from counterstain.errors import suggest
from counterstain.evaluation.metric_names import is_measure

__all__ = ["unknown_key_words"]

# Our key -> what other programs, papers and people call it, without signs and in lower case.
MEANINGS: dict[str, tuple[str, ...]] = {
    "cohort.path": ("data", "dataset", "datadir", "datapath", "images", "folder", "input", "manifest"),
    "cohort.root": ("root", "basepath", "imageroot", "imagedir"),
    "cohort.positive": ("poslabel", "positiveclass"),
    "cohort.pattern": ("regex", "regexp"),
    "split.unit": ("unit", "group", "groups", "groupby", "level", "patientlevel"),
    "split.test": ("testsize", "testshare", "testsplit"),
    "split.val": ("valsize", "validation", "validationsplit", "valsplit"),
    "split.folds": ("k", "kfold", "kfolds", "nfolds", "nsplits", "cv"),
    "split.file": ("splits", "splitfile"),
    "tiles.tile_px": ("tilesize", "imagesize", "imgsize", "inputsize", "patchsize", "size", "resize", "inputshape"),
    "training.batch": ("batchsize", "bs"),
    "training.learning_rate": ("lr", "rate", "stepsize"),
    "training.epochs": ("maxepochs", "numepochs", "nepochs", "iterations"),
    "training.patience": ("earlystopping", "earlystop"),
    "training.schedule": ("scheduler", "lrscheduler", "lrschedule"),
    "training.network": ("model", "arch", "architecture", "backbone", "encoder", "net"),
    "training.network_settings": ("modelargs", "modelkwargs", "networkkwargs"),
    "training.weights": ("pretrained", "checkpoint", "imagenet"),
    "training.tune": ("freeze", "frozen", "finetune", "finetuning"),
    "training.class_weights": ("classweight", "posweight", "lossweights", "imbalance"),
    "training.sampler": ("oversample", "oversampling", "undersampling", "weightedsampler"),
    "training.label_smoothing": ("smoothing",),
    "training.focal": ("focalloss", "gamma"),
    "training.precision": ("amp", "fp16", "bf16", "dtype", "mixedprecision"),
    "training.device": ("gpu", "gpus", "cuda", "accelerator"),
    "training.threads": ("workers", "numworkers", "njobs", "cores", "cpus"),
    "training.normalisation": ("normalization", "stainnormalisation", "stainnormalization", "macenko", "reinhard"),
    "training.weight_decay": ("l2", "regularisation", "regularization"),
    "augmentation.rotation_deg": ("rotation", "rotate", "degrees"),
    "augmentation.flip": ("hflip", "vflip", "horizontalflip", "verticalflip"),
    "augmentation.saturation": ("colorjitter", "colourjitter"),
    "comparison.primary": ("metric", "metrics", "measure", "primarymetric", "endpoint"),
    "comparison.margin": ("delta", "equivalencemargin"),
    "comparison.detect": ("effect", "effectsize", "power"),
    "calibration.threshold": ("threshold", "cutoff", "operatingpoint"),
    "seeds": ("seed", "randomseed", "randomstate", "nseeds"),
    "ledger": ("testsetlog", "log"),
}
# What is no key at all, and what there is instead.
INSTEAD = {
    "dropout": "the given and modified networks have their own fixed dropout; a network of your own may take it as a "
    "setting: network_settings: {dropout: 0.3}",
    "optimizer": "every network is trained with Adam; learning_rate, epsilon and weight_decay set it",
    "optimiser": "every network is trained with Adam; learning_rate, epsilon and weight_decay set it",
    "momentum": "every network is trained with Adam; learning_rate, epsilon and weight_decay set it",
    "loss": "the loss is the cross-entropy; class_weights, label_smoothing and focal change it",
    **dict.fromkeys(
        ("out", "output", "outputdir"),
        "results go to runs/ beside the study; `run --folder FOLDER` puts them elsewhere",
    ),
}


def unknown_key_words(section: str, key: str, known: Mapping[str, Sequence[str]]) -> str:
    """What to say after "has unknown key 'lr'": what was probably meant, or which keys there are.

    Args:
        section: in which the key stands: "training", "arms.given", "study" for the top, or "--set" of one arm.
        key: the unknown one.
        known: section -> its keys; "" for the top of the study.

    Example:
        >>> keys = {"": ["seeds", "training"], "training": ["learning_rate"], "split": ["unit"]}
        >>> unknown_key_words("arms.given", "lr", keys)
        "; did you mean 'learning_rate'?"
        >>> unknown_key_words("cohort", "unit", keys)
        '; it belongs in split (split.unit)'
    """
    bare = key.replace("-", "").replace("_", "").replace(" ", "").lower()
    place = "training" if section.startswith(("arms", "--set")) else "" if section == "study" else section
    siblings = list(known.get(place, ()))
    if bare in INSTEAD:
        return f"; {INSTEAD[bare]}"
    if is_measure(key):
        return f"; to compare the arms by it: comparison.primary: {key}"
    elsewhere = [f"{name}.{key}" if name else key for name, keys in known.items() if key in keys and name != place]
    meant = [ours for ours, theirs in MEANINGS.items() if bare in theirs and _is_known(ours, known)]
    inside = [ours for ours in meant if ours.rpartition(".")[0] == place]
    if inside:
        return f"; did you mean '{inside[0].rpartition('.')[2]}'?"
    near = difflib.get_close_matches(key, siblings, n=1, cutoff=0.75)
    if near:
        return f"; did you mean '{near[0]}'?"
    for dotted in (*elsewhere, *meant):
        name = dotted.rpartition(".")[0]
        also = " or an arm" if name == "training" else ""
        return (
            f"; it belongs in {name}{also} ({dotted})" if name else f"; it belongs at the top of the study ({dotted})"
        )
    if not place:
        everywhere = {inner: f"{name}.{inner}" for name, keys in known.items() if name for inner in keys}
        near = difflib.get_close_matches(key, list(everywhere), n=1, cutoff=0.8)
        if near:
            return f"; did you mean '{everywhere[near[0]]}'?"
    return suggest(key, siblings)


def _is_known(dotted: str, known: Mapping[str, Sequence[str]]) -> bool:
    section, _, key = dotted.rpartition(".")
    return key in known.get(section, ())
