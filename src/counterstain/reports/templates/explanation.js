"use strict";
// Colours the points by class, patient or site, and tells what lies under the pointer. Names reach the page as text.
(function () {
  const data = JSON.parse(document.getElementById("points").textContent);
  const points = Array.from(document.querySelectorAll("#embedding-map .point"));
  const legend = document.getElementById("embedding-legend");
  const tip = document.getElementById("embedding-tip");
  const map = document.getElementById("embedding-map");
  const buttons = Array.from(document.querySelectorAll("[data-colouring]"));
  let current = null;

  function colour(name) {
    current = data.colourings[name];
    points.forEach((point, index) => point.setAttribute("fill", current.colours[current.group[index]]));
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.colouring === name)));
    legend.textContent = "";
    current.shown.forEach((group) => {
      const entry = document.createElement("li");
      const patch = document.createElement("span");
      patch.className = "patch";
      patch.style.background = current.colours[group];
      entry.append(patch, current.names[group]);
      legend.append(entry);
    });
    if (current.shown.length < current.names.length) {
      const entry = document.createElement("li");
      entry.textContent = "and " + (current.names.length - current.shown.length) + " more; colours of many groups come close";
      legend.append(entry);
    }
  }

  function light(index) {
    points.forEach((point, other) => {
      const alike = index === null || current.group[other] === current.group[index];
      point.classList.toggle("faint", !alike);
    });
  }

  function show(event) {
    const index = points.indexOf(event.target);
    if (index < 0) { tip.hidden = true; light(null); return; }
    const row = data.rows[index];
    tip.textContent = "";
    data.columns.forEach((column, place) => {
      if (row[place] === "") { return; }
      const line = document.createElement("div");
      const head = document.createElement("span");
      head.textContent = column;
      line.append(head, row[place]);
      tip.append(line);
    });
    const box = map.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    tip.hidden = false;
    tip.style.left = Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth - 4)) + "px";
    tip.style.top = (y + 18 + tip.offsetHeight > box.height ? y - tip.offsetHeight - 10 : y + 18) + "px";
    light(index);
  }

  // The browser's own tooltips are for pages without a script.
  points.forEach((point) => point.replaceChildren());
  buttons.forEach((button) => button.addEventListener("click", () => colour(button.dataset.colouring)));
  map.addEventListener("mousemove", show);
  map.addEventListener("mouseleave", () => { tip.hidden = true; light(null); });
  document.querySelector(".colourings").hidden = false;
  colour("class");
})();
