"use strict";
// All runs: the verdict of each, and a forest plot of one measure across them.
(() => {
  const { data, element, number, within, saved } = page;
  const link = (name) => (saved ? `${name}-errors.html` : `/runs/${encodeURIComponent(name)}/errors`);
  document.getElementById("count").textContent = data.runs.length === 1 ? "One run." : `${data.runs.length} runs.`;

  const rows = data.runs.map((run) => {
    const valued = run.arms.filter((arm) => arm.value !== null);
    const least = ["loss", "brier"].includes(run.measure);
    const best = valued.reduce((one, arm) => (one === null || (least ? arm.value < one.value : arm.value > one.value) ? arm : one), null);
    const counts = [run.images === null ? null : `${run.images} ${run.rows_are}s`, run.unit === "image" || run.patients === null ? null : `${run.patients} patients`,
      run.looks === null ? null : `used ${run.looks} ${run.looks === 1 ? "time" : "times"}`].filter(Boolean).join(", ");
    return element("tr", {}, element("th", { scope: "row" }, element("a", { href: link(run.name) }, run.name)),
      element("td", {}, run.stamp ? element("span", { class: "stamp" }, run.stamp) : null, run.stamp ? " " : null, run.sentence),
      element("td", { "data-name": "Best value" }, best ? `${best.arm}: ${data.names[run.measure] || run.measure} ${within(best)}` : "n/a"),
      element("td", { "data-name": "Test part" }, counts || "n/a"), element("td", { "data-name": "State" }, run.state));
  });
  document.querySelector("#runs tbody").append(...rows);

  const measures = [...new Set(data.runs.filter((run) => run.arms.some((arm) => arm.value !== null)).map((run) => run.measure))];
  const choice = document.getElementById("measure");
  choice.append(...measures.map((name) => element("option", { value: name }, data.names[name] || name)));

  function forest() {
    const lines = data.runs.filter((run) => run.measure === choice.value)
      .flatMap((run) => run.arms.filter((arm) => arm.value !== null).map((arm) => ({ ...arm, run }))).slice(0, 400);
    const place = document.getElementById("forest");
    if (!lines.length) { place.replaceChildren(element("p", {}, "No run has been scored yet.")); return; }
    const width = Math.max(300, Math.min(900, place.clientWidth || 700)), named = Math.min(320, width * 0.45), step = 22;
    const ends = lines.flatMap((line) => [line.value, line.low ?? line.value, line.high ?? line.value]);
    const least = ["loss", "brier"].includes(choice.value) ? 0 : Math.max(0, Math.min(...ends) - 0.02), most = ["loss", "brier"].includes(choice.value) ? Math.max(...ends) : 1;
    const x = (value) => named + (width - named - 20) * (value - least) / (most - least || 1);
    const height = lines.length * step + 40;
    const drawn = lines.flatMap((line, at) => {
      const y = at * step + 14, leak = line.run.stamp.startsWith("LEAK") ? " leak" : "";
      const words = `${line.run.name} · ${line.arm}`;
      const short = words.length > named / 7.4 ? `${words.slice(0, Math.floor(named / 7.4) - 1)}…` : words;
      return [element("text", { x: 0, y: y + 4 }, short, element("title", {}, `${words}: ${within(line)}`)),
        line.low === null ? null : element("line", { class: `bar${leak}`, x1: x(line.low), x2: x(line.high), y1: y, y2: y }),
        element("circle", { class: `dot${leak}`, cx: x(line.value), cy: y, r: 4 }, element("title", {}, `${words}: ${within(line)}`))];
    }).filter(Boolean);
    const ticks = [least, (least + most) / 2, most].flatMap((value) => [
      element("line", { class: "axis", x1: x(value), x2: x(value), y1: height - 30, y2: height - 24 }),
      element("text", { x: x(value), y: height - 8, "text-anchor": "middle" }, number(value, 2))]);
    place.replaceChildren(element("svg", { width, height, role: "img", "aria-label": `${data.names[choice.value] || choice.value} of ${lines.length} arms with their intervals; the same numbers stand in the table below` },
      element("line", { class: "axis", x1: named, x2: width - 20, y1: height - 30, y2: height - 30 }), ...drawn, ...ticks));
  }
  choice.addEventListener("change", forest);
  addEventListener("resize", forest);
  forest();
})();
