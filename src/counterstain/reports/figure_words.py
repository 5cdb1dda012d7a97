"""The words and numerals of figures in the languages that they can be drawn in.

A text in English is its own key: a figure says `say("true")`, and a language without that key says it in English. A
test holds that every text a figure says is in every table, with the same fields.
"""

import re
from collections.abc import Mapping

from counterstain.evaluation.format import METRIC_NAMES, metric_name

__all__ = ["GERMAN", "LANGUAGES", "measure_name", "numerals", "words"]

LANGUAGES = ("en", "de")

GERMAN: Mapping[str, str] = {
    # measures and levels
    "log loss": "Log-Loss", "accuracy": "Genauigkeit", "precision": "Präzision", "NPV": "NPV",
    "sensitivity (recall)": "Sensitivität", "specificity": "Spezifität", "F1": "F1",
    "balanced accuracy": "balancierte Genauigkeit", "MCC": "MCC", "AUROC": "AUROC", "AUPRC": "AUPRC",
    "Brier score": "Brier-Score", "sensitivity at 95\u00a0% specificity": "Sensitivität bei 95\u00a0% Spezifität",
    "patient recognition rate": "Patienten-Erkennungsrate", "quadratic-weighted kappa": "quadratisch gewichtetes Kappa",
    "image": "Bildebene", "slide": "Schnittebene", "patient": "Patientenebene",
    "bag": "Bag-Ebene", "row": "Zeilenebene",
    # each arm, differences
    "{measure} of each arm on the test part, {level} level": "{measure} jedes Arms auf den Testdaten, {level}",
    "{measure} with {percent} interval": "{measure} mit {percent}-Konfidenzintervall",
    "Paired differences in {measure}, {level} level": "Gepaarte Differenzen: {measure}, {level}",
    "difference in {measure}: right of 0, the first-named arm is higher":
        "Differenz ({measure}): rechts von 0 ist der erstgenannte Arm höher",
    # split, training
    "{rows} of each part of the split, by class": "{rows} jedes Teils der Aufteilung, nach Klasse",
    "images": "Bilder", "slides": "Schnitte", "patients": "Patienten", "bags": "Bags", "rows": "Zeilen",
    "train": "Training", "val": "Validierung", "test": "Test",
    "Training of {arm}: loss and accuracy over {runs}": "Training von {arm}: Verlust und Genauigkeit, {runs}",
    "{count} run": "{count} Lauf", "{count} runs": "{count} Läufe",
    "epoch": "Epoche", "loss": "Verlust", "training": "Training", "validation": "Validierung",
    "best epoch": "beste Epoche",
    # confusion
    "{arm}, sum of {seeds} seeds": "{arm}, Summe über {seeds} Seeds",
    "{arm}, mean over {seeds} seeds": "{arm}, Mittel über {seeds} Seeds",
    "predicted": "vorhergesagt", "true": "wahr", "share of the true class": "Anteil an der wahren Klasse",
    # curves
    "ROC curves, {what}": "ROC-Kurven, {what}", "Precision–recall, {what}": "Präzision–Sensitivität, {what}",
    "macro mean": "Makromittel", "1 − specificity (false-positive rate)": "1 − Spezifität (Falsch-positiv-Rate)",
    "sensitivity": "Sensitivität", "chance": "Zufall", "recall (sensitivity)": "Sensitivität (Recall)",
    "prevalence {share}": "Prävalenz {share}",
    # probabilities
    "before": "vorher", "calibrated": "kalibriert", "not calibrated": "nicht kalibriert",
    "share that is positive": "Anteil positiv",
    "share that is right": "Anteil richtig", "mean probability of the bin": "mittlere Wahrscheinlichkeit der Gruppe",
    "Net benefit of acting on the model": "Nettonutzen des Handelns nach dem Modell",
    "treat all": "alle behandeln", "treat nobody": "niemanden behandeln", "net benefit": "Nettonutzen",
    "threshold: the probability from which on one would act":
        "Schwelle: Wahrscheinlichkeit, ab der gehandelt würde",
    # stamps
    "LEAK: images were augmented before an image-level split":
        "LECK: Bilder wurden vor einer Aufteilung nach Bildern augmentiert",
    "slide-level: patients are unknown or ignored, so every figure here is optimistic":
        "Schnittebene: Patienten sind unbekannt oder unberücksichtigt, jede Zahl ist daher zu günstig",
    "image-level: patients are unknown or ignored, so every figure here is optimistic":
        "Bildebene: Patienten sind unbekannt oder unberücksichtigt, jede Zahl ist daher zu günstig",
}  # fmt: skip


def words(template: str, language: str, **fields: object) -> str:
    """A text with its fields filled in, in a language; what it has no words for stays in English."""
    text = GERMAN.get(template, template) if language == "de" else template
    return text.format(**fields) if fields else text


def measure_name(metric: str, language: str) -> str:
    """The name of a measure in a language."""
    return words(METRIC_NAMES.get(metric, metric_name(metric)), language)


def numerals(text: str, language: str) -> str:
    """The numbers of a text as a language writes them: 1,234.5 is 1.234,5 in German, and [0.1, 0.2] is [0,1; 0,2].

    Numbers that belong to a name, such as v1.5 or lr-0.1, are left alone.
    """
    if language != "de":
        return text

    def swapped(match: re.Match[str]) -> str:
        return match[0].translate({ord(","): ".", ord("."): ","})

    apart = re.sub(r"\[[^\[\]]*\]", lambda match: match[0].replace(", ", "; "), text)
    return re.sub(r"(?<![\w.\-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w.])", swapped, apart)
