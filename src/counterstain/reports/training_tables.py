"""What a probe has in place of a training curve: what was tried on the frozen features, and what was taken."""

from counterstain.evaluation.format import clean, number
from counterstain.reports.page_table import Cell, Table
from counterstain.reports.run_record import RunRecord
from counterstain.reports.training_sentences import recorded

__all__ = ["probe_table"]

MOST_TRIED = 12  # an mlp probe tries an epoch after another: of more only the taken one and the number are shown


def probe_table(run: RunRecord) -> Table | None:
    """One row per candidate of each frozen arm's probe: its validation loss in each training, the taken ones strong."""
    rows = []
    for arm in (arm for arm in recorded(run) if arm.kind == "probe"):
        trainings = [training for training in run.trainings if training.arm == arm.arm and training.probe]
        names = list(dict.fromkeys(name for training in trainings for name in training.probe))
        taken = [str((training.record["done"].get("probe") or {}).get("taken")) for training in trainings]
        shown = names if len(names) <= MOST_TRIED else [name for name in names if name in taken]
        for name in shown:
            losses = [number(training.probe[name]) for training in trainings if name in training.probe]
            count = taken.count(name)
            note = f"taken in {count} of {len(taken)} trainings" if 0 < count < len(taken) else "taken" if count else ""
            remark = f"of {len(names)} tried" if len(names) > len(shown) else ""
            row = (
                Cell(clean(arm.arm)),
                Cell(clean(name), remark),
                Cell(", ".join(losses[:5]), strong=bool(count)),
                Cell(note),
            )
            rows.append(row)
    if not rows:
        return None
    head = ("arm", "candidate", "validation loss", "")
    return Table("Probes on frozen features: what was tried", head, tuple(rows), frozenset({0, 1, 3}))
