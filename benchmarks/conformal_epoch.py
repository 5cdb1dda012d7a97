"""What does it cost prediction sets that the epoch was chosen on the patients they are fitted on?

    python benchmarks/conformal_epoch.py --studies 200

A small network is trained on features of patients who differ from each other; its epoch is the one with the lowest
validation loss, and its temperature is fitted there too, as in a study. Sets are then fitted on the same validation
patients, and on as many fresh ones that chose nothing. Both are judged on 200 other patients. `candidates` networks are
trained in each study, and the one with the lowest validation loss is taken: a search chooses here once more.
All networks are trained at once, each by its own gradient. One JSON line per setting: mean coverage over patients and
over studies, with its standard error, of the 90 % asked for.
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from counterstain.evaluation.calibration import apply_calibration, fit_calibration
from counterstain.evaluation.conformal import conformal_quantile, prediction_sets
from counterstain.evaluation.predictions import Predictions

FEATURES, HIDDEN, EPOCHS, BATCH, RATE = 40, 32, 60, 64, 3e-3
IMAGES, TRAINED, TESTED = 8, 40, 200  # images of a patient; patients


@dataclass(frozen=True, eq=False)
class Data:
    """Images of S studies: x (S, N, F), label (S, N), and patient codes (N,) that they share."""

    x: torch.Tensor
    label: torch.Tensor
    code: np.ndarray


def simulate(rng: np.random.Generator, studies: int, patients: int) -> Data:
    """Two signals of class, a patient's own shift of every feature, and noise."""
    code = np.repeat(np.arange(patients), IMAGES)
    label = rng.integers(2, size=(studies, patients))[:, code]
    x = rng.normal(size=(studies, len(code), FEATURES))
    x += rng.normal(scale=0.8, size=(studies, patients, FEATURES))[:, code]
    x[:, :, :2] += 0.9 * (2 * label - 1)[:, :, None]
    return Data(torch.tensor(x, dtype=torch.float32), torch.tensor(label), code)


def logits(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """(M, N, 2) of M networks with one hidden layer, each on its own images (M, N, F)."""
    first, shift, last, end = weights
    return torch.baddbmm(end, torch.relu(torch.baddbmm(shift, x, first)), last)


def losses(weights: list[torch.Tensor], x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """(M,) mean negative log-likelihood of each network."""
    each = functional.cross_entropy(logits(weights, x).flatten(0, 1), label.flatten(), reduction="none")
    return each.view(label.shape).mean(dim=1)


def train(data: Data, val: Data, *, candidates: int, seed: int) -> list[torch.Tensor]:
    """The weights of each study's network: of its candidates and epochs the one with the lowest validation loss."""
    draw = torch.Generator().manual_seed(seed)
    studies = len(data.x)
    x, label, val_x, val_label = (
        torch.repeat_interleave(one, candidates, dim=0) for one in (data.x, data.label, val.x, val.label)
    )
    shapes = ((FEATURES, HIDDEN), (1, HIDDEN), (HIDDEN, 2), (1, 2))
    widths = (FEATURES, FEATURES, HIDDEN, HIDDEN)  # torch's own start: uniform within 1 / sqrt(inputs)
    weights = [
        ((2 * torch.rand((len(x), *shape), generator=draw) - 1) / width**0.5).requires_grad_()
        for shape, width in zip(shapes, widths, strict=True)
    ]
    optimiser = torch.optim.Adam(weights, lr=RATE)
    best, kept = torch.full((len(x),), torch.inf), [one.detach().clone() for one in weights]
    for _ in range(EPOCHS):
        for rows in torch.randperm(x.shape[1], generator=draw).split(BATCH):
            optimiser.zero_grad()
            losses(weights, x[:, rows], label[:, rows]).sum().backward()  # of the sum each network has its own gradient
            optimiser.step()
        with torch.no_grad():
            found = losses(weights, val_x, val_label)
            better = found < best
            best = torch.where(better, found, best)
            kept = [torch.where(better[:, None, None], new, old) for new, old in zip(weights, kept, strict=True)]
    chosen = torch.arange(studies) * candidates + best.view(studies, candidates).argmin(dim=1)
    return [one[chosen] for one in kept]


def as_tables(weights: list[torch.Tensor], data: Data) -> list[Predictions]:
    """The predictions of each study's network."""
    with torch.no_grad():
        prob = torch.softmax(logits(weights, data.x).double(), dim=2).numpy()
    blank, names = ("",) * len(data.code), tuple(map(str, range(len(data.code))))
    people = tuple(f"p{k}" for k in data.code)
    return [
        Predictions(image=names, patient=people, slide=blank, site=blank, label=label, prob=own,
                    classes=("benign", "malignant"))
        for label, own in zip(data.label.numpy(), prob, strict=True)
    ]  # fmt: skip


def coverage(fitted_on: Predictions, chooser: Predictions, test: Predictions) -> float:
    """Share of images covered, of sets fitted on these patients, the temperature being that of `chooser`.

    All patients have as many images, so that this is the mean over patients.
    """
    fitted = fit_calibration(chooser)
    qhat = conformal_quantile(apply_calibration(fitted, fitted_on), alpha=0.1)
    sets = prediction_sets(apply_calibration(fitted, test).prob, qhat)
    return float(sets[np.arange(len(test)), test.label].mean())


def main() -> None:
    """One line per number of validation patients and of candidates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--patients", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 10])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for candidates in given.candidates:
        for patients in given.patients:
            start = time.process_time()
            rng = np.random.default_rng([given.studies, patients, candidates])
            data, val, other, test = (simulate(rng, given.studies, n) for n in (TRAINED, patients, patients, TESTED))
            weights = train(data, val, candidates=candidates, seed=patients)
            tables = zip(*(as_tables(weights, own) for own in (val, other, test)), strict=True)
            found = np.array([
                (coverage(val_table, val_table, test_table), coverage(other_table, val_table, test_table))
                for val_table, other_table, test_table in tables
            ])  # fmt: skip
            cost = found[:, 1] - found[:, 0]
            line = {
                "validation_patients": patients,
                "candidates": candidates,
                "studies": given.studies,
                "same": round(float(found[:, 0].mean()), 4),
                "fresh": round(float(found[:, 1].mean()), 4),
                "se": [round(float(one.std(ddof=1) / np.sqrt(len(found))), 4) for one in found.T],
                "cost": round(float(cost.mean()), 4),
                "cost_se": round(float(cost.std(ddof=1) / np.sqrt(len(cost))), 4),
                "seconds": round(time.process_time() - start, 1),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
