"""Degrees of freedom: how many patients a score really rests on, so that few of them give a wide enough interval."""

import numpy as np
from numpy.typing import NDArray

from counterstain.evaluation.metrics import PER_CLASS, class_scores

__all__ = ["Key", "carrying_units", "class_shares", "combined_df", "effective_units", "score_df", "whole_patients"]

Floats = NDArray[np.float64]
SCARCE = 4.0  # of an AUROC, over what the scarcer class alone has; docs/measures/intervals.md has what it mends
Key = tuple[str, int | None]  # (metric, class index; None: positive class of two, macro mean of more)


def effective_units(exposure: Floats) -> float:
    """(sum n)^2 / sum n^2: equals the number of units where all weigh the same, less where a few carry most images.

    Source: Kish 1965, Survey Sampling, section 11.7.
    """
    square = float((exposure**2).sum())
    return float(exposure.sum()) ** 2 / square if square > 0 else 0.0


def carrying_units(left_out: Floats) -> float:
    """How many units carry the variance of a score: (sum d^2)^2 / sum d^4 of what each of them changes.

    A third of the units where the changes are normal, one where a single unit makes all of the variance, infinite where
    nothing changes.

    Args:
        left_out: (G,) the score without unit (or group) g.
    """
    square = (left_out - left_out.mean()) ** 2
    fourth = float((square**2).sum())
    return float(square.sum()) ** 2 / fourth if fourth > 0 else float("inf")


def combined_df(first: float, second: float, df_first: float, df_second: float) -> float:
    """Welch-Satterthwaite degrees of freedom of the sum of two variances; a part of 0 does not count.

    Source: Satterthwaite 1946, Biometrics Bulletin 2:110, doi:10.2307/3002019.
    """
    parts = [(v, df) for v, df in ((first, df_first), (second, df_second)) if v > 0 and df > 0]
    if not parts:
        return df_first
    total = sum(v for v, _ in parts)
    return 1 / sum((v / total) ** 2 / df for v, df in parts)  # shares, since squares of tiny variances vanish


def score_df(counts: Floats, pairs: list[Floats | None]) -> dict[Key, float]:
    """Degrees of freedom of each score's variance over units, at least 1.

    A share has the effective number of units that carry its denominator, less one; a score made of several classes
    (AUROC, balanced accuracy, MCC) has the Satterthwaite sum of theirs; none has more than all images would give.

    Args:
        counts: (K, C, C) true by predicted class, for each unit.
        pairs: for each ranked class, (K, K) right-ranked pairs of positives of one unit and negatives of another, or
            None where there are too many units for that (and the degrees of freedom no longer matter).
    """
    n_classes = counts.shape[-1]
    true, called, images = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    most = effective_units(images) - 1

    def capped(df: float) -> float:
        return max(min(df, most), 1.0)

    freedom: dict[Key, float] = {(name, None): capped(most) for name in ("loss", "brier", "accuracy")}
    columns = [1] if n_classes == 2 else list(range(n_classes))
    for c in columns:
        index = None if n_classes == 2 else c
        exposure = {
            "precision": called[:, c],
            "recall": true[:, c],
            "specificity": images - true[:, c],
            "f1": true[:, c] + called[:, c],
        }
        for name in PER_CLASS:
            freedom[name, index] = capped(effective_units(exposure[name]) - 1)
    if n_classes == 2:
        freedom["npv", None] = capped(effective_units(called[:, 0]) - 1)
    over_classes = capped(_recall_df(counts))
    freedom["balanced_accuracy", None] = freedom["mcc", None] = over_classes
    ranked = [capped(_pair_df(pair, true[:, c], images - true[:, c])) for c, pair in zip(columns, pairs, strict=True)]
    for name in ("auroc", "auprc"):
        freedom[name, None] = ranked[0] if n_classes == 2 else over_classes
        if n_classes > 2:
            freedom |= {(name, c): ranked[c] for c in columns}
    if n_classes > 2:
        freedom |= {(name, None): over_classes for name in PER_CLASS}
    return freedom


def whole_patients(counts: Floats) -> dict[Key, float]:
    """How many patients, each right or wrong as a whole, a score made of several classes consists of.

    One patient of a rare class moves such a score further than one of a common class, and that one has not been seen to
    fail yet is no reason to count it among the common ones. 1 / this number is how far the patient that moves the
    score most moves it when all of its images turn from right to wrong, in units of the measure's range (2 for the
    MCC). Scores of a single denominator are left out: there each patient moves what it carries (`score_df`).

    Args:
        counts: (K, C, C) true by predicted class, for each unit.
    """
    n_classes = counts.shape[-1]
    exposure = counts.sum(axis=2)
    patients = np.array([effective_units(exposure[:, c]) for c in range(n_classes)])
    images, total = exposure.sum(axis=0), float(exposure.sum())
    present = patients > 0
    if present.sum() < 2:
        return {}
    most = effective_units(exposure.sum(axis=1))
    others = np.array([effective_units(exposure.sum(axis=1) - exposure[:, c]) for c in range(n_classes)])
    of_mean = min(float(present.sum() * patients[present].min()), most)
    of_mcc = 2 * float((patients[present] / images[present]).min()) * (total**2 - float((images**2).sum())) / total
    ranked = {c: min(float(patients[c]), float(others[c])) for c in np.flatnonzero(present)}
    numbers: dict[Key, float] = {("balanced_accuracy", None): of_mean, ("mcc", None): max(min(of_mcc, most), 1.0)}
    for name in ("auroc", "auprc"):
        numbers[name, None] = min(ranked.values()) if n_classes == 2 else min(of_mean / 2, most)
        if n_classes > 2:
            numbers |= {(name, int(c)): number for c, number in ranked.items()}
    if n_classes > 2:
        numbers |= {(name, None): of_mean for name in PER_CLASS}
    return numbers


def class_shares(images: Floats) -> dict[Key, Floats]:
    """How much of its class each unit carries, for the scores that are made of several classes.

    Leaving out a unit that carries the share h of its class moves the class's mean by 1 / (1 - h) times what it should:
    the variance over units is unbiased where each unit's square is multiplied by 1 - h. A unit of several classes has
    the mean of its shares weighted by the shares themselves.

    Args:
        images: (1 + G, C) images of each class, of all units and without each unit (or group of units).

    Returns:
        (metric, class) -> (G,) shares in [0, 1].

    Source: MacKinnon & White 1985, J. Econometrics 29:305, doi:10.1016/0304-4076(85)90158-7 (HC2).
    """
    total = images[0]
    share = 1 - images[1:] / np.maximum(total, 1)
    over_all = _mean_share(share[:, total > 0])
    shares: dict[Key, Floats] = {(name, None): over_all for name in ("auroc", "auprc", "balanced_accuracy", "mcc")}
    if len(total) > 2:
        shares |= {(name, None): over_all for name in PER_CLASS}
        others = 1 - (images[1:].sum(axis=1, keepdims=True) - images[1:]) / np.maximum(total.sum() - total, 1)
        for c in range(len(total)):
            one_against_rest = _mean_share(np.stack([share[:, c], others[:, c]], axis=1))
            shares |= {(name, c): one_against_rest for name in ("auroc", "auprc")}
    return shares


def _mean_share(share: Floats) -> Floats:
    """(G,) mean over classes of (G, C) shares, weighted by themselves; 0 for a unit without images."""
    total = share.sum(axis=1)
    mean: Floats = np.divide((share**2).sum(axis=1), total, out=np.zeros(len(share)), where=total > 0)
    return mean


def _recall_df(counts: Floats) -> float:
    """Satterthwaite sum over the classes' recalls."""
    recall = class_scores(counts.sum(axis=0))["recall"]
    above = below = 0.0
    for c in np.flatnonzero(np.isfinite(recall)):
        exposure = counts[:, c].sum(axis=1)
        deviation = counts[:, c, c] - recall[c] * exposure
        variance = float((deviation**2).sum()) / float(exposure.sum()) ** 2
        above += variance
        below += variance**2 / max(effective_units(exposure) - 1, 0.5)
    return above**2 / below if below > 0 else np.inf


def _pair_df(pairs: Floats | None, positives: Floats, negatives: Floats) -> float:
    """Satterthwaite sum of the positives' and the negatives' share in an AUROC's variance."""
    if pairs is None or positives.sum() == 0 or negatives.sum() == 0:
        return np.inf
    area = pairs.sum() / positives.sum() / negatives.sum()
    of_positives = pairs.sum(axis=1) / negatives.sum() - area * positives
    of_negatives = pairs.sum(axis=0) / positives.sum() - area * negatives
    freedom = [max(effective_units(exposure) - 1, 0.5) for exposure in (positives, negatives)]
    df = combined_df(
        float((of_positives**2).sum()) / float(positives.sum()) ** 2,
        float((of_negatives**2).sum()) / float(negatives.sum()) ** 2,
        *freedom,
    )
    # The variance that two patients show is often far too small by chance, and then the sum above trusts the others.
    return min(df, SCARCE * min(freedom))
