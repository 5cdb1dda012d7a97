"use strict";
// The curves of a run as they grow: asked for every second while it runs.
(() => {
  const { element, run, saved } = page;
  const pick = (name) => document.getElementById(name);
  let data = page.data, plots = [], shape = "";
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const time = (seconds) => (seconds >= 5400 ? `${(seconds / 3600).toFixed(1)} h` : seconds >= 90 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds)} s`);

  function draw() {
    const what = pick("what").value;
    const left = data.trainings.filter((one) => one.seconds_left !== null).map((one) => one.seconds_left);
    const done = data.trainings.filter((one) => one.done).length;
    pick("state").textContent = `${data.state[0].toUpperCase()}${data.state.slice(1)}: ${done} of ${data.trainings.length} trainings begun are done` +
      (data.state === "running" && left.length ? `; the present one needs ${time(left[left.length - 1])} more at most` : "") + ".";
    pick("log").textContent = data.log.join("\n");
    const wanted = JSON.stringify([what, data.trainings.map((one) => one.name), pick("curves").clientWidth]);
    if (wanted !== shape) {
      shape = wanted;
      plots.forEach((plot) => plot.destroy());
      const width = Math.min(560, pick("curves").clientWidth - 8);
      const axis = { stroke: colour("--ink"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
      const figures = data.trainings.map((one) => element("section", {}, element("h2", {}, one.name), element("p", { class: "soft" }), element("div")));
      pick("curves").replaceChildren(...figures);
      plots = figures.map((figure) => new uPlot({ width, height: 240, scales: { x: { time: false } }, axes: [{ ...axis, label: "epoch", incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }, axis],
        series: [{ label: "epoch" }, { label: "training", stroke: colour("--accent"), width: 2 }, { label: "validation", stroke: colour("--hot"), width: 2, dash: [6, 4] }] },
      [[], [], []], figure.lastChild));
    }
    data.trainings.forEach((one, k) => {
      const own = one.curves[what], val = one.curves[`val_${what}`];
      plots[k].setData([own.map((_, epoch) => epoch + 1), own, val]);
      const best = one.curves.val_loss.indexOf(Math.min(...one.curves.val_loss)) + 1;
      pick("curves").children[k].children[1].textContent = own.length ? `Epoch ${own.length}${one.done ? "" : ` of ${one.epochs} at most`}: ${what} ${own[own.length - 1].toFixed(4)}, validation ${val[val.length - 1].toFixed(4)}; lowest validation loss in epoch ${best}.` : "No epoch yet.";
    });
  }
  async function again() {
    if (!document.hidden) {
      try { data = await page.ask(`/api/runs/${run}/live`); draw(); page.tell(""); } catch { page.tell("The server does not answer; trying again."); }
    }
    if (data.state !== "finished") setTimeout(again, 1000);
  }
  pick("what").addEventListener("change", draw);
  addEventListener("resize", draw);
  draw();
  if (!saved && data.state !== "finished") setTimeout(again, 1000);
})();
