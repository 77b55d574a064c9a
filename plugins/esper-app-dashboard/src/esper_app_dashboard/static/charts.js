"use strict";
// Curves with uPlot. Numbers beside them are the words that came with them, and are made nowhere else.
const STYLES = {grown: [], twin: [5, 4]};
function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim(); }
const compact = new Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 4});
function shares(_, ticks) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
  return ticks.map(tick => (tick * 100).toFixed(step < 0.01 ? 1 : 0) + " %");
}
function axis(more) {
  return {stroke: () => colour("dim"), font: "11px system-ui, sans-serif", grid: {stroke: () => colour("rule"), width: 1},
    ticks: {stroke: () => colour("rule"), width: 1, size: 4}, ...more};
}

class Chart {
  constructor(data) {
    this.element = document.createElement("figure");
    const title = document.createElement("figcaption");
    title.textContent = data.title;
    this.place = document.createElement("div");
    this.place.className = "plot";
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", data.title + " by " + data.place + "; a table has the figures");
    this.element.append(title, this.place);
    this.data = data;
    new ResizeObserver(() => this.resize()).observe(this.place);
  }
  get height() { return this.place.clientWidth < 300 ? 140 : 180; }
  get shape() { return JSON.stringify(this.data.lines.map(line => [line.title, line.style])); }
  update(data) {
    const before = this.shape;
    this.data = data;
    if (this.plot && before === this.shape) this.plot.setData(this.columns());
    else this.draw();
  }
  columns() { return [this.data.x, ...this.data.lines.map(line => line.values)]; }
  draw() {
    if (this.plot) this.plot.destroy();
    this.plot = null;
    if (!this.place.clientWidth) return;
    const series = this.data.lines.map((line, index) => ({
      label: line.title,
      stroke: () => colour(line.style),
      dash: STYLES[line.style],
      width: 2,
      value: (_, __, ___, at) => at === null || at === undefined ? this.data.lines[index].words.findLast(Boolean) || "–"
        : this.data.lines[index].words[at] || "–",
    }));
    this.plot = new uPlot({
      width: this.place.clientWidth,
      height: this.height,
      scales: {x: {time: false}},
      cursor: {drag: {x: false, y: false}, y: false},
      axes: [
        axis({incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000], size: 26, space: 32}),
        axis({size: 56, space: 24, values: this.data.share ? shares : (_, ticks) => ticks.map(tick => compact.format(tick))}),
      ],
      series: [{label: this.data.place, value: (_, value) => value === null || value === undefined ? "latest" : value}, ...series],
    }, this.columns(), this.place);
  }
  resize() {
    if (!this.place.clientWidth) return;
    if (!this.plot) this.draw();
    else if (this.plot.width !== this.place.clientWidth) this.plot.setSize({width: this.place.clientWidth, height: this.height});
  }
}

// A place for charts, which are kept from one state to the next.
class Charts {
  constructor() {
    this.element = document.createElement("div");
    this.element.className = "plots";
    this.known = new Map();
  }
  update(found) {
    const titles = new Set(found.map(data => data.title));
    for (const [title, chart] of this.known) if (!titles.has(title)) { chart.element.remove(); this.known.delete(title); }
    for (const data of found) {
      let chart = this.known.get(data.title);
      if (!chart) { chart = new Chart(data); this.known.set(data.title, chart); this.element.append(chart.element); }
      chart.update(data);
    }
  }
  redraw() { for (const chart of this.known.values()) chart.draw(); }
}
