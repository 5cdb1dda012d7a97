"""What a user writes, from a folder to a verdict; `mypy --strict` checks it, and it is never run.

Each `reveal_type` is held by test_user_script.py: no result may be Any.
"""

from pathlib import Path
from typing import reveal_type

import numpy as np

import counterstain

truth = np.array([0, 1] * 20)
prob = np.linspace(0.0, 1.0, 40)
patient = [f"P{row // 4}" for row in range(40)]

cohort = counterstain.cohort("images/", positive="malignant")
reveal_type(cohort)
reveal_type(cohort.classes)
split = counterstain.split(cohort, folds=5)
reveal_type(split)
for train, test in split:
    reveal_type(train)
    reveal_type(test)
for part in split.parts:
    reveal_type(part.val)
report = counterstain.audit(cohort, split, out="audit")
reveal_type(report)
reveal_type(report.clean)
reveal_type(report.findings)
reveal_type(report.copies)
reveal_type(counterstain.augment(cohort))
reveal_type(counterstain.init("images/"))
reveal_type(counterstain.phantom("phantom", patients=8))
reveal_type(counterstain.phantom_slides("slides", slides=1))

folder = counterstain.train(cohort, split, "model", epochs=5, settings={"tune": "frozen"})
reveal_type(folder)
model = counterstain.load_model(folder, device="cpu")
reveal_type(model)
reveal_type(model.classes)
reveal_type(model.mpp)
output = model.predict(np.zeros((2, 128, 128, 3), np.uint8))
reveal_type(output)
reveal_type(output.prob)
reveal_type(output.predicted)
reveal_type(output.decision)
reveal_type(output.prediction_sets)
reveal_type(output.distance)
reveal_type(output.unfamiliar)
reveal_type(model.predict("new_hospital/").summary())
reveal_type(model.predict([Path("a.png"), Path("b.png")], damaged="skip").skipped)
reveal_type(counterstain.load_network(folder))
predicted = counterstain.predict(folder, ["new_hospital/", "more.csv"], out="predictions.csv")
reveal_type(predicted)
reveal_type(counterstain.predict(model, cohort, splits=split))
reveal_type(counterstain.evaluate(predicted, model=model))
reveal_type(counterstain.evaluate(["a", "b"], model.predict(cohort), groups=cohort.patient))
reveal_type(counterstain.compare({"a": predicted, "b": [predicted, "b.csv"]}))
reveal_type(predicted.summary())
reveal_type(predicted.prob)
table = counterstain.read_predictions("predictions.csv")
reveal_type(table)
reveal_type(counterstain.features("timm/resnet18", "images/"))
exported = counterstain.export(model, "export", cohort=cohort)
reveal_type(exported.parity)
reveal_type(counterstain.verify(exported))

scores = counterstain.evaluate(truth, prob, groups=patient)
reveal_type(scores)
reveal_type(scores["auroc"])
reveal_type(scores["auroc"].value)
reveal_type(scores.patients)
reveal_type(scores.notes)
reveal_type(scores.to_frame())
reveal_type(scores.to_json())
reveal_type(counterstain.evaluate("predictions.csv", by=["site"], prevalence=0.05))
reveal_type(counterstain.evaluate([table, table]))
comparison = counterstain.compare(truth, {"a": prob, "b": [prob, prob]}, groups=patient)
reveal_type(comparison)
reveal_type(comparison.verdict)
reveal_type(comparison.pairs[0].difference)
reveal_type(counterstain.compare({"a": "a.csv", "b": [table, table]}, margin=0.02, noninferiority=True).shown)
if comparison.verdict is counterstain.Verdict.A_BETTER:
    reveal_type(comparison.pairs[0].better)

card = counterstain.robustness(model, cohort, splits=split, budget="budget.yaml")
reveal_type(card)
reveal_type(card.met)
reveal_type(card.clean)
reveal_type(card.loss("blur")[0].difference)
reveal_type(counterstain.explain(folder, "cohort.csv"))
run = counterstain.run("study.yaml", settings={"training.epochs": 5})
reveal_type(run)
reveal_type(run.scores)
reveal_type(run.comparison)
reveal_type(run.model(arm="given", seed=0))
reveal_type(counterstain.run("study.yaml", dry_run=True).trainings)
reveal_type(counterstain.demo())
reveal_type(counterstain.search("study.yaml").val_loss)
reveal_type(counterstain.run(counterstain.search("study.yaml")))
reveal_type(counterstain.report(run))
inspection = counterstain.inspect("slides/")
reveal_type(inspection.slides[0].mpp)
maps = counterstain.slides_run(run, inspection, "maps")
reveal_type(counterstain.slides_dicom(run, inspection, maps, "dicom").files)
reveal_type(counterstain.serve(run, model=model, maps=maps))
reveal_type(counterstain.slides_tiles("slides/", "tiles").cohort)
reveal_type(counterstain.slides_run(folder, ["a.svs"], "maps").failures)
try:
    counterstain.read_predictions("p.csv")
except counterstain.InputError as error:
    reveal_type(error)
