"use strict";
// Pairs side by side, the first drawn as it lies on the second; decisions by keyboard.
(() => {
  const { data, element, post, run, saved, tell, tile } = page;
  const pick = (name) => document.getElementById(name);
  let at = 0, side = "other", blinking = null;
  pick("words").textContent = data.words;

  function card(pair, which, words) {
    const image = pair[which];
    const said = [image.label && `label ${image.label}`, image.patient_id && `patient ${image.patient_id}`, image.split && `in ${image.split}`].filter(Boolean).join(", ");
    return element("figure", { class: side === which ? "chosen" : null, "data-side": which },
      element("img", { src: tile(image.id, true), alt: image.name }),
      element("figcaption", {}, element("strong", {}, words), ` ${image.name}`, element("br"), said));
  }
  function show() {
    if (!data.pairs.length) { pick("where").textContent = "The audit found no pair."; return; }
    const pair = data.pairs[at], decided = data.decided[at];
    const shown = decided ? `, decided: ${decided.decision}${decided.label ? ` to ${decided.label}` : ""}${decided.who ? ` by ${decided.who}` : ""}` : "";
    pick("where").textContent = `Pair ${at + 1} of ${data.pairs.length}: ${pair.tier}, ${pair.turn}, correlation ${pair.similarity.toFixed(2)}${shown}. ${Object.keys(data.decided).length} decided.`;
    const parts = [card(pair, "image", "1"), card(pair, "other", "2")];
    if (!saved) parts.splice(1, 0, element("figure", { id: "overlaid" }, element("div", { class: "stack" },
      element("img", { src: tile(pair.other.id, true), alt: "" }), element("img", { id: "aligned", src: `/runs/${run}/pairs/${at}.jpg`, alt: "The first image drawn as it lies on the second" })),
      element("figcaption", {}, "1 drawn on 2")));
    pick("pair").replaceChildren(...parts);
    blink(blinking !== null);
  }
  function blink(on) {
    clearInterval(blinking); blinking = null;
    pick("blink").setAttribute("aria-pressed", String(on));
    const top = pick("aligned");
    if (top) top.style.visibility = "visible";
    if (on && top) blinking = setInterval(() => { top.style.visibility = top.style.visibility === "hidden" ? "visible" : "hidden"; }, 500);
  }
  function go(step) { if (data.pairs.length) { at = (at + step + data.pairs.length) % data.pairs.length; side = "other"; show(); } }
  async function decide(decision) {
    if (saved || !data.pairs.length) return;
    const here = at;
    const made = await post("/api/decisions", { run, pair: here, side, decision, label: decision === "relabel" ? pick("label").value : "",
      reason: pick("reason").value, who: pick("who").value });
    if (made.decided) data.decided[here] = made.decided; else delete data.decided[here];
    pick("reason").value = "";
    tell(`Pair ${here + 1}: ${made.decided ? made.decided.decision : "undone"}`);
    if (decision !== "undo" && at === here) go(1); else show();
  }
  const keys = { k: () => decide("keep"), d: () => decide("drop"), s: () => decide("same"), r: () => decide("relabel"), u: () => decide("undo"),
    b: () => blink(blinking === null), arrowleft: () => go(-1), arrowright: () => go(1), 1: () => { side = "image"; show(); }, 2: () => { side = "other"; show(); } };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    const act = keys[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  });
  pick("previous").addEventListener("click", () => go(-1));
  pick("next").addEventListener("click", () => go(1));
  pick("blink").addEventListener("click", () => blink(blinking === null));
  if (!saved) {
    for (const name of ["keep", "drop", "same", "relabel", "undo"]) pick(name).addEventListener("click", () => decide(name));
    pick("label").append(...data.classes.map((name) => element("option", { value: name }, name)));
    try { pick("who").value = localStorage.getItem("who") || ""; pick("who").addEventListener("change", () => localStorage.setItem("who", pick("who").value)); } catch { /* no storage here */ }
  }
  pick("findings").replaceChildren(element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Kind"), element("th", { scope: "col" }, "What was found"))),
    element("tbody", {}, ...data.findings.map((one) => element("tr", {}, element("td", {}, element("span", { class: one.severity === "leak" ? "stamp" : null }, one.severity)), element("td", {}, one.words)))));
  show();
})();
