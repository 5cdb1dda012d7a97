"""What does it cost prediction sets that the epoch was chosen on the patients they are fitted on?

    python benchmarks/conformal_epoch.py --studies 300

A small network is trained on features of patients who differ from each other; its epoch is the one with the lowest
validation loss, and its temperature is fitted there too, as in a study. Sets are then fitted on the same validation
patients, and on as many fresh ones that chose nothing. Both are judged on 300 other patients. `candidates` networks are
trained in each study, and the one with the lowest validation loss is taken: a search chooses here once more.
One JSON line per setting: mean coverage over patients and over studies, with its standard error, of the 90 % asked for.
"""

import argparse
import json

import numpy as np
import torch
from torch import nn

from counterstain.evaluation.calibration import apply_calibration, fit_calibration
from counterstain.evaluation.conformal import conformal_quantile, coverage_record, prediction_sets
from counterstain.evaluation.predictions import Predictions

FEATURES, HIDDEN, EPOCHS, IMAGES, TRAINED, TESTED = 40, 32, 60, 8, 40, 300


def simulate(rng: np.random.Generator, patients: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Features, labels and patient codes: two signals of class, a patient's own shift of every feature, and noise."""
    code = np.repeat(np.arange(patients), IMAGES)
    label = rng.integers(2, size=patients)[code]
    x = rng.normal(size=(len(code), FEATURES)) + rng.normal(scale=0.8, size=(patients, FEATURES))[code]
    x[:, :2] += 0.9 * (2 * label - 1)[:, None]
    return torch.tensor(x, dtype=torch.float32), label, code


def as_table(network: nn.Module, data: tuple[torch.Tensor, np.ndarray, np.ndarray]) -> Predictions:
    """The network's predictions."""
    x, label, code = data
    with torch.no_grad():
        prob = torch.softmax(network(x).double(), dim=1).numpy()
    blank = ("",) * len(code)
    return Predictions(
        image=tuple(map(str, range(len(code)))), patient=tuple(f"p{k}" for k in code), slide=blank, site=blank,
        label=label, prob=prob, classes=("benign", "malignant"),
    )  # fmt: skip


def loss_of(table: Predictions) -> float:
    """Mean negative log-likelihood."""
    return float(-np.log(np.clip(table.prob[np.arange(len(table)), table.label], 1e-7, 1)).mean())


def train(
    train_data: tuple[torch.Tensor, np.ndarray, np.ndarray], val: tuple[torch.Tensor, np.ndarray, np.ndarray], seed: int
) -> tuple[float, nn.Module]:
    """The network of the epoch with the lowest validation loss, and that loss."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    x, label, _ = train_data
    target = torch.tensor(label)
    best, state = float("inf"), network.state_dict()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), target[rows]).backward()
            optimiser.step()
        found = loss_of(as_table(network, val))
        if found < best:
            best, state = found, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    return best, network


def coverage(validation: Predictions, chooser: Predictions, test: Predictions) -> float:
    """Coverage over test patients of sets fitted on `validation`, the temperature being that of `chooser`."""
    fitted = fit_calibration(chooser)
    qhat = conformal_quantile(apply_calibration(fitted, validation), alpha=0.1)
    sets = prediction_sets(apply_calibration(fitted, test).prob, qhat)
    return float(coverage_record([test], [sets], alpha=0.1)["covered"]["value"])


def main() -> None:
    """One line per number of validation patients and of candidates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--patients", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 10])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for candidates in given.candidates:
        for patients in given.patients:
            same, fresh = [], []
            for study in range(given.studies):
                rng = np.random.default_rng([study, patients, candidates])
                train_data, val, other, test = (simulate(rng, n) for n in (TRAINED, patients, patients, TESTED))
                _, network = min(
                    (train(train_data, val, 1000 * study + k) for k in range(candidates)), key=lambda one: one[0]
                )
                val_table, other_table, test_table = (as_table(network, data) for data in (val, other, test))
                same.append(coverage(val_table, val_table, test_table))
                fresh.append(coverage(other_table, val_table, test_table))
            cost = np.array(fresh) - np.array(same)
            line = {
                "validation_patients": patients,
                "candidates": candidates,
                "studies": given.studies,
                "same": round(float(np.mean(same)), 4),
                "fresh": round(float(np.mean(fresh)), 4),
                "cost": round(float(cost.mean()), 4),
                "cost_se": round(float(cost.std(ddof=1) / np.sqrt(len(cost))), 4),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
