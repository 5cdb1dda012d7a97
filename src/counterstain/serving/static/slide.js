"use strict";
// The slide through OpenSeadragon; maps, truth and polygons lie on it in level-0 px.
(() => {
  const { data, element, ask, post, saved, tell } = page;
  const pick = (name) => document.getElementById(name);
  pick("name").textContent = data.name;
  // OpenSeadragon would add an inline style for its navigator, which our policy forbids and we have no use for: an
  // element that only looks like that style keeps it from doing so.
  const mark = document.createElementNS("urn:counterstain", "style");
  mark.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(mark);
  const finest = saved ? data.finest : data.levels;  // saved pages lack the finest levels of a large slide
  const viewer = OpenSeadragon({ element: pick("viewer"), showNavigator: false, showNavigationControl: false, drawer: "canvas", gestureSettingsMouse: { clickToZoom: false },
    maxZoomPixelRatio: 8, tileSources: { width: data.width, height: data.height, tileSize: data.tile_px, tileOverlap: 0, minLevel: Math.min(8, finest), maxLevel: finest,
      getLevelScale: (level) => 2 ** (level - data.levels),
      getTileUrl: (level, x, y) => (saved ? `slides/${data.id}/${level}_${x}_${y}.jpg` : `/api/slides/${data.id}/tiles/${level}/${x}_${y}.jpg`) } });
  const place = (x, y, width, height) => viewer.viewport.imageToViewportRectangle(x, y, width, height);
  // From blue through green and yellow to red, evenly along the probability; a value of 0 was not read.
  const STOPS = [[59, 76, 192], [67, 190, 220], [150, 215, 70], [250, 160, 40], [180, 10, 20]];
  const shades = (value) => {
    const at = Math.min(STOPS.length - 2, Math.floor(value * (STOPS.length - 1))), part = value * (STOPS.length - 1) - at;
    return STOPS[at].map((low, k) => Math.round(low + part * (STOPS[at + 1][k] - low)));
  };
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  const packed = (r, g, b) => (little ? (255 << 24) | (b << 16) | (g << 8) | r : (r << 24) | (g << 16) | (b << 8) | 255) >>> 0;
  const COLOURS = Uint32Array.from({ length: 256 }, (_, value) => (value ? packed(...shades((value - 1) / 254)) : 0));
  // Tiles against whose probability something speaks are hatched, each flag in a direction and colour of its own.
  const FLAGS = { abstained: { colour: packed(20, 20, 20), on: (x, y) => (x + y) % 4 === 0 },
    unfamiliar: { colour: packed(224, 0, 200), on: (x, y) => (x - y + 4000) % 4 === 0 } };
  const maps = { first: null, second: null };

  function listed(select, runs) {
    const value = select.value;
    select.replaceChildren(element("option", { value: "" }, "none"), ...runs.map((run) => element("option", { value: run }, run)));
    select.value = value;
  }
  for (const name of ["first", "second"]) listed(pick(name), data.maps);
  const bytesOf = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  async function load(name) {
    const run = pick(name).value;
    if (maps[name]) viewer.removeOverlay(maps[name].canvas);
    maps[name] = null;
    if (run) {
      const found = saved ? data.heats[run] : await ask(`/api/slides/${data.id}/maps/${encodeURIComponent(run)}`);
      const canvas = element("canvas", { width: found.width, height: found.height, class: "heat", "data-map": name });
      const flags = Object.fromEntries(Object.entries(found.flags).map(([flag, text]) => [flag, bytesOf(text)]));
      maps[name] = { ...found, canvas, flags, bytes: found.values.map(bytesOf) };
      viewer.addOverlay({ element: canvas, location: place(found.x, found.y, found.width * found.step, found.height * found.step) });
      const names = found.names;
      if (pick("plane").options.length !== names.length) pick("plane").replaceChildren(...names.map((own, k) => element("option", { value: k }, own)));
    }
    for (const flag of Object.keys(FLAGS)) pick(flag).disabled = !Object.values(maps).some((map) => map && map.flags[flag]);
    paint();
  }
  function paint() {
    const least = pick("threshold").value / 100, plane = Number(pick("plane").value || 0);
    const shown = COLOURS.map((colour, value) => (value && (value - 1) / 254 >= least ? colour : 0));
    pick("shown").textContent = least.toFixed(2);
    for (const map of Object.values(maps)) {
      if (!map) continue;
      const context = map.canvas.getContext("2d"), pixels = context.createImageData(map.width, map.height);
      const values = map.bytes[Math.min(plane, map.bytes.length - 1)], out = new Uint32Array(pixels.data.buffer);
      for (let k = 0; k < values.length; k += 1) out[k] = shown[values[k]];
      for (const [flag, { colour, on }] of Object.entries(FLAGS)) {
        const own = map.flags[flag];
        if (!own || !pick(flag).checked) continue;
        for (let k = 0; k < own.length; k += 1) if (own[k] === 2 && on(k % map.width, Math.floor(k / map.width))) out[k] = colour;
      }
      context.putImageData(pixels, 0, 0);
      map.canvas.style.opacity = pick("opacity").value / 100;
    }
    curtain();
  }
  function curtain() {
    const both = maps.first && maps.second;
    pick("viewer").classList.toggle("two", Boolean(both));
    pick("viewer").style.setProperty("--curtain", `${pick("curtain").value}%`);
    const box = pick("viewer").getBoundingClientRect(), at = box.left + box.width * pick("curtain").value / 100;
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
  // Reading by a model goes on in the server, also when this page is closed.
  if (!saved) {
    pick("model").append(...data.models.map((name) => element("option", { value: name }, name)));
    pick("read").disabled = !data.models.length;
    pick("read").addEventListener("click", async () => follow(await post(`/api/slides/${data.id}/requests`, { model: pick("model").value, mpp: pick("mpp").value ? Number(pick("mpp").value) : null })));
    if (data.requests.length) follow(data.requests[0]);
    pick("draw").addEventListener("click", finish);
  }
  async function follow(request) {
    for (;;) {
      const now = await ask(`/api/slide-requests/${request.id}`);
      const share = now.tiles ? `${now.tiles_done.toLocaleString("en")} of ${now.tiles.toLocaleString("en")} tiles` : "looking for tissue";
      const words = { waiting: "waiting for its turn", reading: share, done: "done", cancelled: "cancelled", failed: `failed: ${now.words}` };
      pick("request").textContent = `${now.model}: ${words[now.state]}.`;
      pick("cancel").hidden = !["waiting", "reading"].includes(now.state);
      pick("cancel").onclick = () => post(`/api/slide-requests/${now.id}/cancel`, {});
      if (now.state === "done") {
        const { maps: runs } = await ask(`/api/slides/${data.id}`);
        for (const name of ["first", "second"]) listed(pick(name), runs);
        pick("first").value = now.words;
        await load("first");
      }
      if (!["waiting", "reading"].includes(now.state)) return;
      await new Promise((again) => setTimeout(again, 1000));
    }
  }
  function drawing(on) {
    points = on ? [] : null;
    pick("draw").setAttribute("aria-pressed", String(on));
    pick("draw").textContent = on ? "Finish the polygon" : "Draw a polygon";
    drawn.replaceChildren();
  }
  async function finish() {
    if (points === null) { drawing(true); tell("Click its corners, then finish it."); return; }
    const own = points;
    if (own.length < 3) { tell("A polygon needs three corners; nothing was kept."); drawing(false); return; }
    const made = await post("/api/polygons", { slide: data.id, label: pick("label").value, points: own });
    drawing(false);
    truth.append(...outline([own], pick("label").value));
    tell(`Kept: ${made.features} drawn on this slide.`);
  }
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
  for (const name of ["opacity", "threshold", "plane", ...Object.keys(FLAGS)]) pick(name).addEventListener("input", paint);
  pick("curtain").addEventListener("input", curtain);
  pick("truth").addEventListener("change", () => { truth.style.display = pick("truth").checked ? "" : "none"; });
  pick("legend").textContent = data.annotations.length ? `Annotated: ${data.annotations.map((one) => one.name).join(", ")}.` : "No annotations lie beside this slide.";
  window.slideViewer = viewer;
})();
