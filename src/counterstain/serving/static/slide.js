"use strict";
// The slide through OpenSeadragon; maps, truth and polygons lie on it in level-0 px.
(() => {
  const { data, element, ask, post, tell } = page;
  const pick = (name) => document.getElementById(name);
  pick("name").textContent = data.name;
  // OpenSeadragon would add an inline style for its navigator, which our policy forbids and we have no use for: an
  // element that only looks like that style keeps it from doing so.
  const mark = document.createElementNS("urn:counterstain", "style");
  mark.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(mark);
  const viewer = OpenSeadragon({ element: pick("viewer"), showNavigator: false, showNavigationControl: false, drawer: "canvas", gestureSettingsMouse: { clickToZoom: false },
    maxZoomPixelRatio: 8, tileSources: { width: data.width, height: data.height, tileSize: data.tile_px, tileOverlap: 0, minLevel: 8 > data.levels ? 0 : 8, maxLevel: data.levels,
      getTileUrl: (level, x, y) => `/api/slides/${data.id}/tiles/${level}/${x}_${y}.jpg` } });
  const place = (x, y, width, height) => viewer.viewport.imageToViewportRectangle(x, y, width, height);
  // From blue through green and yellow to red, evenly along the probability.
  const STOPS = [[59, 76, 192], [67, 190, 220], [150, 215, 70], [250, 160, 40], [180, 10, 20]];
  const shades = (value) => {
    const at = Math.min(STOPS.length - 2, Math.floor(value * (STOPS.length - 1))), part = value * (STOPS.length - 1) - at;
    return STOPS[at].map((low, k) => Math.round(low + part * (STOPS[at + 1][k] - low)));
  };
  const maps = { first: null, second: null };

  for (const name of ["first", "second"]) pick(name).append(element("option", { value: "" }, "none"), ...data.maps.map((run) => element("option", { value: run }, run)));
  async function load(name) {
    const run = pick(name).value;
    if (maps[name]) viewer.removeOverlay(maps[name].canvas);
    maps[name] = null;
    if (run) {
      const found = await ask(`/api/slides/${data.id}/maps/${encodeURIComponent(run)}`);
      const canvas = element("canvas", { width: found.width, height: found.height, class: "heat", "data-map": name });
      maps[name] = { ...found, canvas, bytes: found.values.map((text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0))) };
      viewer.addOverlay({ element: canvas, location: place(found.x, found.y, found.width * found.step, found.height * found.step) });
      const names = found.names;
      if (pick("plane").options.length !== names.length) pick("plane").replaceChildren(...names.map((own, k) => element("option", { value: k }, own)));
    }
    paint();
  }
  function paint() {
    const least = pick("threshold").value / 100, plane = Number(pick("plane").value || 0);
    pick("shown").textContent = least.toFixed(2);
    for (const name of ["first", "second"]) {
      const map = maps[name];
      if (!map) continue;
      const context = map.canvas.getContext("2d"), pixels = context.createImageData(map.width, map.height);
      const values = map.bytes[Math.min(plane, map.bytes.length - 1)];
      for (let k = 0; k < values.length; k += 1) {
        const prob = (values[k] - 1) / 254;
        if (values[k] === 0 || prob < least) continue;
        pixels.data.set([...shades(prob), 255], 4 * k);
      }
      context.putImageData(pixels, 0, 0);
      map.canvas.style.opacity = pick("opacity").value / 100;
    }
    curtain();
  }
  function curtain() {
    const both = maps.first && maps.second, box = pick("viewer").getBoundingClientRect(), at = box.left + box.width * pick("curtain").value / 100;
    for (const name of ["first", "second"]) {
      const canvas = maps[name] && maps[name].canvas;
      if (!canvas) continue;
      if (!both) { canvas.style.clipPath = ""; continue; }
      const own = canvas.getBoundingClientRect(), cut = Math.max(0, Math.min(own.width, at - own.left));
      canvas.style.clipPath = name === "first" ? `inset(0 ${own.width - cut}px 0 0)` : `inset(0 0 0 ${cut}px)`;
    }
  }
  function outline(rings, name) {
    return rings.map((ring) => element("polygon", { points: ring.map((point) => point.join(",")).join(" "), "data-class": name }, element("title", {}, name)));
  }
  const drawn = element("g", { class: "drawn" });
  const truth = element("svg", { viewBox: `0 0 ${data.width} ${data.height}`, preserveAspectRatio: "none", class: "truth", "aria-hidden": "true" },
    ...data.annotations.flatMap((one) => outline(one.rings, one.name)), drawn);

  function scale() {
    if (!data.mpp) { pick("scale").firstChild.textContent = "µm per pixel unknown"; return; }
    const perPixel = data.mpp / viewer.viewport.viewportToImageZoom(viewer.viewport.getZoom(true)), most = 160 * perPixel;
    const power = 10 ** Math.floor(Math.log10(most)), round = [5, 2, 1].map((step) => step * power).find((step) => step <= most);
    pick("scale").firstChild.textContent = round >= 1000 ? `${round / 1000} mm` : `${round} µm`;
    pick("scale").firstChild.style.width = `${round / perPixel}px`;
  }
  let points = null;
  function drawing(on) {
    points = on ? [] : null;
    pick("draw").setAttribute("aria-pressed", String(on));
    pick("draw").textContent = on ? "Finish the polygon" : "Draw a polygon";
    drawn.replaceChildren();
  }
  pick("draw").addEventListener("click", async () => {
    if (points === null) { drawing(true); tell("Click its corners, then finish it."); return; }
    const own = points;
    if (own.length < 3) { tell("A polygon needs three corners; nothing was kept."); drawing(false); return; }
    const made = await post("/api/polygons", { slide: data.id, label: pick("label").value, points: own });
    drawing(false);
    truth.append(...outline([own], pick("label").value));
    tell(`Kept: ${made.features} drawn on this slide.`);
  });
  viewer.addHandler("canvas-click", (event) => {
    if (points === null || !event.quick) return;
    const at = viewer.viewport.viewportToImageCoordinates(viewer.viewport.pointFromPixel(event.position));
    points.push([Math.round(at.x * 10) / 10, Math.round(at.y * 10) / 10]);
    drawn.replaceChildren(...outline([points], "drawn"));
  });
  viewer.addHandler("open", () => {
    viewer.addOverlay({ element: truth, location: place(0, 0, data.width, data.height) });
    if (data.maps.length) { pick("first").value = data.maps[0]; load("first"); }
    if (data.maps.length > 1) { pick("second").value = data.maps[1]; load("second"); }
    scale();
    document.body.dataset.ready = "yes";
  });
  for (const event of ["animation", "zoom", "resize", "update-viewport"]) viewer.addHandler(event, () => { scale(); curtain(); });
  for (const name of ["first", "second"]) pick(name).addEventListener("change", () => load(name));
  for (const name of ["opacity", "threshold", "plane"]) pick(name).addEventListener("input", paint);
  pick("curtain").addEventListener("input", curtain);
  pick("truth").addEventListener("change", () => { truth.style.display = pick("truth").checked ? "" : "none"; });
  pick("legend").textContent = data.annotations.length ? `Annotated: ${data.annotations.map((one) => one.name).join(", ")}.` : "No annotations lie beside this slide.";
  window.slideViewer = viewer;
})();
