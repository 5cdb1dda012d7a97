"""What an unknown option was meant to be: by its meaning, where spelling alone doesn't tell."""

from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["MEANINGS", "SETTINGS", "SuggestingGroup", "meant"]

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # of whichever click this typer uses

# Our option -> what other tools call it.
MEANINGS: dict[str, tuple[str, ...]] = {
    "--out": ("-o", "--output", "--output-dir", "--outdir", "--out-dir", "--dest", "--destination", "--save", "--to"),
    "--batch": ("--batch-size", "--bs"),
    "--learning-rate": ("--lr",),
    "--epochs": ("--max-epochs", "--num-epochs", "--n-epochs", "--iterations"),
    "--patience": ("--early-stopping",),
    "--tile-px": ("--size", "--tile-size", "--image-size", "--img-size", "--patch-size", "--input-size"),
    "--network": ("--model", "--arch", "--architecture", "--backbone"),
    "--device": ("--gpu", "--gpus", "--cuda", "--accelerator", "--cpu"),
    "--precision": ("--amp", "--fp16", "--bf16", "--dtype", "--half"),
    "--threads": ("--num-threads", "--workers", "--num-workers", "--n-jobs", "--jobs", "--cores", "--cpus", "-j"),
    "--workers": ("--num-workers", "--threads", "--num-threads", "--n-jobs", "--jobs", "--cores", "--cpus", "-j"),
    "--jobs": ("--n-jobs", "--workers", "--num-workers", "--parallel", "-j"),
    "--seed": ("--random-seed", "--random-state", "--model-seed"),
    "--random-seed": ("--random-state",),
    "--folds": ("-k", "--k", "--kfold", "--k-folds", "--n-folds", "--n-splits", "--cv"),
    "--test": ("--test-size", "--test-share", "--holdout"),
    "--val": ("--val-size", "--validation", "--val-share"),
    "--unit": ("--group", "--groups", "--group-by"),
    "--by": ("--group", "--groups", "--group-by", "--subgroups", "--stratify"),
    "--positive": ("--pos-label", "--positive-class"),
    "--primary": ("--metric", "--measure", "--metrics"),
    "--reference": ("--baseline",),
    "--detect": ("--effect", "--power"),
    "--interval": ("--ci", "--bootstrap"),
    "--ledger": ("--test-set-log", "--log"),
    "--model": ("--bundle", "--checkpoint"),
    "--weights": ("--pretrained", "--checkpoint"),
    "--sample": ("--images", "--limit", "--max-images", "--subset", "--count", "-n"),
    "--count": ("--images", "--sample", "-n"),
    "--splits": ("--split", "--split-file"),
    "--part": ("--split", "--subset"),
    "--layout": ("--dataset", "--format"),
    "--pattern": ("--regex", "--regexp"),
    "--columns": ("--column", "--mapping", "--rename"),
    "--follow-links": ("--symlinks", "--follow-symlinks"),
    "--mpp": ("--resolution", "--microns", "--magnification"),
    "--assume-mpp": ("--default-mpp",),
    "--slide-table": ("--table",),
    "--compress": ("--gz", "--gzip", "--zip"),
    "--evaluation": ("--judging",),
    "--formats": ("--format",),
    "--set": ("--config", "--override"),
    "--dry-run": ("--plan", "--check"),
    "--folder": ("--out", "-o", "--output", "--workdir", "--dir"),
    "--scheduler": ("--dask", "--cluster"),
    "--json": ("--as-json",),
    "--threshold": ("--cutoff", "--operating-point", "--sensitivity", "--specificity"),
    "--root": ("--base", "--base-path", "--image-root", "--prefix"),
}
# Settings of an arm that have no option of their own: `train` takes them with --set.
SETTINGS = (
    "backbone_rate", "bag_tiles", "class_weights", "cutmix", "epsilon", "features", "focal", "head_epochs", "input_px",
    "label_smoothing", "micro_batch", "mixup", "network_settings", "normalisation", "ordinal", "probe", "sampler",
    "scale", "schedule", "stain_augmentation", "tune", "views", "weight_decay", "weights",
)  # fmt: skip


def meant(given: str, options: set[str], arguments: set[str]) -> tuple[list[str], str]:
    """Which options of a verb have the meaning of an unknown one, and what to say where it is an argument.

    Args:
        given: the unknown option, such as "--output".
        options: those that the verb takes; arguments: names of its arguments, in lower case.

    Example:
        >>> meant("--output", {"--out", "--json"}, set())
        (['--out'], '')
        >>> meant("--class-weights", {"--set", "--learning-rate"}, set())
        ([], '; it is a setting of the arm: --set class_weights=VALUE')
        >>> meant("--model", {"--out"}, {"model"})
        ([], '; MODEL is an argument: give it alone, without --model')
    """
    word = given.lstrip("-").replace("-", "_").lower()
    names = [ours for ours, theirs in MEANINGS.items() if given in theirs and ours in options]
    if word in SETTINGS and {"--set", "--learning-rate"} <= options:
        return [], f"; it is a setting of the arm: --set {word}=VALUE"
    return names, f"; {word.upper()} is an argument: give it alone, without {given}" if word in arguments else ""


class SuggestingGroup(TyperGroup):
    """Commands whose unknown options are answered by `meant`."""

    def invoke(self, ctx: Any) -> object:
        """Run the command; a usage error for an unknown option gets the options that were meant.

        An empty argument is refused: it is a shell variable that is not set, and as a path it would be this folder.
        """
        given = [*getattr(ctx, "_protected_args", ()), *ctx.args]
        if "" in given:
            before = given[given.index("") - 1] if given.index("") else ""
            problem = f"{before} is empty" if before.startswith("--") else "an argument is empty"
            raise UsageError(f"{problem}; a variable of the shell that is not set? Give a value, or leave it out.")
        try:
            return super().invoke(ctx)
        except UsageError as error:
            name, of = getattr(error, "option_name", None), getattr(error, "ctx", None)
            if isinstance(name, str) and of is not None and hasattr(error, "possibilities"):
                parameters = of.command.params
                options = {text for one in parameters if one.param_type_name == "option" for text in one.opts}
                arguments = {one.name for one in parameters if one.param_type_name == "argument"}
                names, words = meant(name, options, arguments)
                error.possibilities = names or (None if words else error.possibilities)
                vars(error)["message"] = f"{vars(error).get('message', '')}{words}"
            raise
