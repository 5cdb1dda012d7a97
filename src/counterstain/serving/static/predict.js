"use strict";
// One picture to the model; its probabilities, what is decided, what speaks against it, and where it looks.
(() => {
  const { data, element, tell, run } = page;
  const pick = (name) => document.getElementById(name);
  pick("model").append(...data.models.map((name) => element("option", { value: name, selected: name === run }, name)));
  if (!data.models.length) tell("No run here has a trained model yet.");
  const types = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", tif: "image/tiff", tiff: "image/tiff", bmp: "image/bmp" };

  async function send(file) {
    if (!file) return;
    tell("Asking the model …");
    const kind = types[file.name.split(".").pop().toLowerCase()] || "application/octet-stream";
    const query = new URLSearchParams({ model: pick("model").value, exact: "true", evidence: "true" });
    const record = await page.ask(`/api/predict?${query}`, { method: "POST", headers: { "Content-Type": kind }, body: file });
    tell("");
    pick("answer").hidden = false;
    pick("picture").src = URL.createObjectURL(file);
    const rows = record.classes.map((name) => [`P(${name})`, record[`prob_${name}`].toFixed(4)]);
    rows.push(["Called", `${record.decision}, since ${record.decision_rule}`]);
    rows.push(["Cannot be ruled out", record.prediction_set ? record.prediction_set.join(", ") || "nothing fits" : "unknown: the model has no prediction sets"]);
    rows.push(["Seen in training", record.seen_in_training === undefined ? "unknown" : record.seen_in_training ? "yes: this says nothing of new patients" : "no"]);
    rows.push(["Distance", record.distance === undefined ? "unknown: the model has no statistics of its training tiles"
      : `${record.distance.toFixed(1)} (99 % of familiar tiles: below ${record.distance_limit.toFixed(1)})${record.unfamiliar ? ": unlike the training tiles" : ""}`]);
    pick("said").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    pick("notes").replaceChildren(...record.notes.map((line) => element("li", {}, line)));
    page.paintEvidence(pick("map"), record.evidence);
    pick("map").style.opacity = pick("opacity").value / 100;
  }
  pick("opacity").addEventListener("input", () => { pick("map").style.opacity = pick("opacity").value / 100; });
  pick("file").addEventListener("change", () => send(pick("file").files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); send(event.dataTransfer.files[0]); });
})();
