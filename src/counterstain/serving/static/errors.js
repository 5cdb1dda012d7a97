"use strict";
// The confusion matrix whose cells open their tiles; two models by how far they disagree; what each patient weighs.
(() => {
  const { data, element, number, signed, figure, many } = page;
  const pick = (name) => document.getElementById(name);
  const STEP = 60;
  const arms = Object.keys(data.arms);
  const last = data.classes.length - 1;
  let shown = [], count = STEP;
  pick("arm").append(...arms.map((arm) => element("option", { value: arm }, arm)));
  pick("other").append(element("option", { value: "" }, "no other model"),
    ...arms.map((arm) => element("option", { value: arm }, arm)));
  pick("verdict").textContent = data.influence.words || "";

  const seeds = () => Object.keys(data.arms[pick("arm").value]);
  const own = () => data.arms[pick("arm").value][pick("seed").value];
  const against = () => { const arm = data.arms[pick("other").value]; return arm && (arm[pick("seed").value] || Object.values(arm)[0]); };

  function choose(truth, called, words) {
    shown = data.names.map((_, row) => row).filter((row) => data.labels[row] === truth && own().called[row] === called)
      .sort((a, b) => own().prob[b][called] - own().prob[a][called]);
    count = STEP; draw(words);
  }
  function disagree() {
    const other = against();
    if (!other) return;
    const apart = (row) => Math.max(...own().prob[row].map((value, k) => Math.abs(value - other.prob[row][k])));
    shown = data.names.map((_, row) => row).sort((a, b) => apart(b) - apart(a));
    count = STEP; draw(`Those on which ${pick("arm").value} and ${pick("other").value} disagree most, first`);
  }
  function words(row) {
    const other = against();
    const lines = [`${data.by_patient ? `${data.patients[row]}, ` : ""}is ${data.classes[data.labels[row]]}`,
      `called ${data.classes[own().called[row]]}, P(${data.classes[last]}) ${number(own().prob[row][last])}`];
    if (other) lines.push(`other model: ${number(other.prob[row][last])}`);
    return lines;
  }
  /** A tile with its words, and a button that asks where the model looks. */
  function tileOf(row) {
    const made = figure(data.ids[row], data.names[row], ...words(row));
    if (page.saved) return made;
    const button = element("button", { "aria-label": `Where it looks in ${data.names[row]}`, onclick: async () => {
      button.disabled = true;
      try {
        const found = await page.post("/api/explain", { run: page.run, arm: pick("arm").value, seed: pick("seed").value, image: data.ids[row] });
        const map = element("canvas", { class: "evidence", role: "img", "aria-label": `Where the tile speaks for ${found.called}` });
        page.paintEvidence(map, found.evidence);
        made.firstChild.append(map);
        button.removeAttribute("aria-label");
        button.textContent = `Speaks for ${found.called}`;
      } catch { button.disabled = false; }
    } }, "Where it looks");
    made.append(button);
    return made;
  }
  function draw(title) {
    const groups = new Map();
    for (const row of shown.slice(0, count)) {
      const key = data.by_patient ? data.patients[row] : "";
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    }
    pick("chosen").textContent = `${title}: ${shown.length} ${shown.length === 1 ? "tile" : "tiles"}`;
    pick("tiles").replaceChildren(...[...groups].flatMap(([patient, rows]) => [
      patient ? element("h3", {}, `Patient ${patient}`) : null,
      element("ul", { class: "tiles" }, ...rows.map((row) => element("li", {}, tileOf(row))))]).filter(Boolean));
    pick("more").hidden = shown.length <= count;
  }
  pick("more").addEventListener("click", () => { count += STEP; draw(pick("chosen").textContent.split(":")[0]); });

  function matrix() {
    const cells = own().confusion;
    const heads = data.classes.map((name) => element("th", { scope: "col" }, `called ${name}`));
    pick("matrix").replaceChildren(element("thead", {}, element("tr", {}, element("td"), ...heads)),
      element("tbody", {}, ...cells.map((line, truth) => {
        const total = line.reduce((sum, value) => sum + value, 0);
        return element("tr", {}, element("th", { scope: "row" }, `is ${data.classes[truth]}`), ...line.map((value, called) => {
          const share = total ? ` (${Math.round(100 * value / total)} %)` : "";
          const title = `${data.classes[truth]} called ${data.classes[called]}`;
          return element("td", { [truth === called ? "data-right" : "data-wrong"]: value > 0 },
            element("button", { "aria-label": `${title}: ${value} tiles`, "data-cell": `${truth}-${called}`,
              onclick: () => choose(truth, called, title) }, `${value}${share}`));
        }));
      })));
  }
  function influence() {
    const found = data.influence;
    if (!found.patients || !found.patients.length) { pick("influence-words").textContent = "Nothing is compared, or the measure is not one that is computed here."; return; }
    pick("influence-words").textContent = `Difference in ${found.measure_name} between ${found.a} and ${found.b} over all test ${data.rows_are}s: ` +
      `${signed(found.difference)}. Below, the same without one patient; who moves it most comes first.`;
    pick("influence").replaceChildren(element("thead", {}, element("tr", {}, ...["Patient", many(data.rows_are), "Difference without", "Change"].map((name, k) => element("th", { scope: "col", class: k ? "number" : null }, name)))),
      element("tbody", {}, ...found.patients.map((row) => element("tr", {}, element("th", { scope: "row" }, row.patient),
        element("td", { class: "number" }, String(row.images)), element("td", { class: "number" }, signed(row.without)),
        element("td", { class: "number" }, row.without === null || found.difference === null ? "n/a" : signed(row.without - found.difference))))));
  }
  function seedsOf() { pick("seed").replaceChildren(...seeds().map((seed) => element("option", { value: seed }, seed))); }
  function anew() { matrix(); if (against()) disagree(); else worst(); }
  function worst() {
    shown = data.names.map((_, row) => row).filter((row) => own().called[row] !== data.labels[row])
      .sort((a, b) => own().prob[a][data.labels[a]] - own().prob[b][data.labels[b]]);
    count = STEP; draw("Errors, the most certain first");
  }
  pick("arm").addEventListener("change", () => { seedsOf(); anew(); });
  for (const name of ["seed", "other"]) pick(name).addEventListener("change", anew);
  seedsOf(); anew(); influence();
})();
