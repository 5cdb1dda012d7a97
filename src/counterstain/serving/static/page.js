"use strict";
// What every page uses: its data, elements, numbers, requests.
const page = (() => {
  const body = document.body;
  const data = JSON.parse(document.getElementById("data").textContent);
  const saved = body.dataset.saved === "yes";
  const run = body.dataset.run;

  /** An element with attributes and children; text is never read as HTML. */
  function element(name, attributes = {}, ...children) {
    const made = ["svg", "g", "line", "circle", "rect", "text", "title", "polygon"].includes(name)
      ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }
  const number = (value, digits = 3) => (value === null || value === undefined ? "n/a" : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));
  const signed = (value) => { const text = number(value); return value > 0 && Number(text) !== 0 ? `+${text}` : text; };
  const within = (score) => (score.low === null ? number(score.value)
    : `${number(score.value)} [${number(score.low)}, ${number(score.high)}]`);
  const tell = (words) => { document.getElementById("told").textContent = words; };

  /** JSON of the server; a refusal is told, and thrown. */
  async function ask(path, options = {}) {
    const answer = await fetch(path, { credentials: "same-origin", ...options });
    const record = await answer.json();
    if (!answer.ok) { tell(record.detail || record.title); throw new Error(record.detail); }
    return record;
  }
  const post = (path, record) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify(record) });
  /** Address of a tile's picture. */
  const tile = (id, full = false) => (saved ? `tiles/${run}-${id}.jpg` : `/runs/${run}/tiles/${id}${full ? "?full=1" : ""}`);
  /** A tile with its words below. */
  const figure = (id, name, ...words) => element("figure", {}, element("a", { href: tile(id, true), target: "_blank", rel: "noopener" },
    element("img", { src: tile(id), alt: name, loading: "lazy", decoding: "async" })),
    element("figcaption", {}, name, ...words.flatMap((line) => [element("br"), line])));
  /** Cells from 0 to 1 as yellow to red, the clearer the less. */
  function paintEvidence(canvas, map) {
    const side = map.length;
    canvas.width = side; canvas.height = side;
    const context = canvas.getContext("2d"), pixels = context.createImageData(side, side);
    map.flat().forEach((value, k) => pixels.data.set([220, Math.round(200 * (1 - value)), 40, Math.round(255 * value)], 4 * k));
    context.putImageData(pixels, 0, 0);
  }
  /** The head above counts of rows: "Images", "Slides", … */
  const many = (rows) => `${rows[0].toUpperCase()}${rows.slice(1)}s`;
  return { data, saved, run, element, number, signed, within, tell, ask, post, tile, figure, paintEvidence, many };
})();
