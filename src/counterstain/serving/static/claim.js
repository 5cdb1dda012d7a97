"use strict";
// Two tables in, the verdict out; the same record as `counterstain compare` writes.
(() => {
  const { element, number, post, tell, many } = page;
  const pick = (name) => document.getElementById(name);
  async function tables(side) {
    const files = await Promise.all([...pick(`file-${side}`).files].map((file) => file.text()));
    const pasted = pick(`text-${side}`).value.trim();
    return pasted ? [...files, pasted] : files;
  }
  for (const side of ["a", "b"]) {  // a file may be dropped anywhere on its model
    const field = pick(`file-${side}`).closest("fieldset");
    field.addEventListener("dragover", (event) => event.preventDefault());
    field.addEventListener("drop", (event) => { event.preventDefault(); pick(`file-${side}`).files = event.dataTransfer.files; });
  }
  for (const side of ["a", "b"]) pick(`report-${side}`).addEventListener("click", async () => {
    const own = await tables(side), name = pick(`name-${side}`).value.trim() || side;
    if (!own.length) { tell("Choose a table of this model, or paste it."); return; }
    tell("Writing the report …");
    const { page: address } = await post("/api/evaluate", { name, tables: own });
    tell("");
    pick(`link-${side}`).replaceChildren(element("a", { href: address, target: "_blank", rel: "noopener" }, `Report of ${name}`));
  });
  pick("ask").addEventListener("click", async () => {
    const models = {};
    for (const side of ["a", "b"]) {
      const own = await tables(side), name = pick(`name-${side}`).value.trim() || side;
      if (!own.length) { tell("Each model needs a table: choose a file or paste it."); return; }
      if (models[name]) { tell("Give the two models different names."); return; }
      models[name] = own;
    }
    tell("Comparing …");
    const record = await post("/api/claim", { models, primary: pick("primary").value });
    tell("");
    const pair = record.pairs[0];
    pick("answer").hidden = false;
    pick("verdict").textContent = pair.words;
    const rows = [[pair.a, number(pair.value_a)], [pair.b, number(pair.value_b)],
      ["Difference", pair.low === null ? number(pair.difference) : `${number(pair.difference)} [${number(pair.low)}, ${number(pair.high)}]`],
      ["p", pair.p === null ? "n/a" : pair.p.toPrecision(3)], ["Patients", pair.patients === null ? "unknown" : String(pair.patients)], [many(record.rows_are), String(pair.images)], ["Test", pair.test]];
    pick("values").replaceChildren(element("tbody", {}, ...rows.map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)))));
    pick("rule").textContent = record.rule;
    pick("warnings").replaceChildren(...record.warnings.map((line) => element("li", {}, line)));
    pick("answer").scrollIntoView();
  });
})();
