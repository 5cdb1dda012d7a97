"use strict";
// The grid of tiles: only those in sight are elements, and they are used again as one scrolls.
(async () => {
  const { element, run, saved, tile } = page;
  const pick = (name) => document.getElementById(name);
  const data = saved ? page.data : await page.ask(`/api/runs/${run}/cohort`);
  const grid = pick("grid"), space = pick("space");
  const names = Object.keys(data.facets);
  const chosen = Object.fromEntries(names.map((name) => [name, -1]));
  let rows = [], pool = [], size = 0, columns = 1, first = -1;

  for (const name of names) {
    const { values, codes } = data.facets[name];
    if (values.length < 2) continue;
    const counts = new Array(values.length).fill(0);
    for (const code of codes) counts[code] += 1;
    const select = element("select", { id: `facet-${name}`, onchange: () => { chosen[name] = Number(select.value); filter(); } },
      element("option", { value: -1 }, "all"), ...values.map((value, code) => element("option", { value: code }, `${value || "none"} (${counts[code].toLocaleString("en")})`)));
    pick("facets").append(element("label", { for: `facet-${name}` }, data.titles[name]), select);
  }
  function filter() {
    const used = names.filter((name) => chosen[name] >= 0);
    rows = data.ids.map((_, row) => row).filter((row) => used.every((name) => data.facets[name].codes[row] === chosen[name]));
    pick("count").textContent = `${rows.length.toLocaleString("en")} of ${data.ids.length.toLocaleString("en")} images`;
    grid.scrollTop = 0; layout();
  }
  function layout() {
    const width = grid.clientWidth - 16;
    columns = Math.max(2, Math.floor(width / 140));
    size = Math.floor(width / columns);
    space.style.height = `${Math.ceil(rows.length / columns) * size}px`;
    const needed = columns * (Math.ceil(grid.clientHeight / size) + 3);
    while (pool.length < needed) {
      const image = element("img", { alt: "", decoding: "async" });
      const button = element("button", { class: "cell", onclick: () => detail(Number(button.dataset.row)) }, image);
      pool.push(button); space.append(button);
    }
    while (pool.length > needed) pool.pop().remove();
    for (const button of pool) { button.style.width = `${size}px`; button.style.height = `${size}px`; button.dataset.row = ""; }
    first = -1; draw();
  }
  function draw() {
    const top = Math.max(0, Math.floor(grid.scrollTop / size) - 1) * columns;
    if (top === first) return;
    first = top;
    for (let k = 0; k < pool.length; k += 1) {
      const place = top + k, button = pool[place % pool.length], row = rows[place];
      if (row === undefined) { button.hidden = true; continue; }
      button.hidden = false;
      button.style.transform = `translate(${(place % columns) * size}px, ${Math.floor(place / columns) * size}px)`;
      if (button.dataset.row === String(row)) continue;
      button.dataset.row = row;
      button.firstChild.src = tile(data.ids[row]);
      button.setAttribute("aria-label", data.names[row]);
    }
  }
  function detail(row) {
    const said = [["Image", data.names[row]], ...names.map((name) => [data.titles[name], data.facets[name].values[data.facets[name].codes[row]]]),
      ...Object.entries(data.more).map(([name, values]) => [name, values[row]])].filter(([, value]) => value);
    pick("row").replaceChildren(element("img", { src: tile(data.ids[row], true), alt: data.names[row] }),
      element("dl", {}, ...said.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
  }
  function counts() {
    const { label, split } = data.facets;
    const table = label.values.map(() => new Array(split.values.length).fill(0));
    data.ids.forEach((_, row) => { table[label.codes[row]][split.codes[row]] += 1; });
    pick("counts").replaceChildren(element("thead", {}, element("tr", {}, element("td"), ...split.values.map((name) => element("th", { scope: "col", class: "number" }, name || "no part")))),
      element("tbody", {}, ...table.map((line, k) => element("tr", {}, element("th", { scope: "row" }, label.values[k] || "no class"), ...line.map((value) => element("td", { class: "number" }, value.toLocaleString("en")))))));
  }
  grid.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  addEventListener("resize", layout);
  filter(); counts();
  document.body.dataset.ready = "yes";
})();
