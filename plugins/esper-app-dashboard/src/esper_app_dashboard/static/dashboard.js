"use strict";
// Every text that comes from a run becomes a text node. No markup is made of texts: the page's policy would refuse it.
const SVG = "http://www.w3.org/2000/svg";
const ELEMENTS = new Set(("p div span b small h4 ul li dl dt dd details summary figure figcaption table caption thead tbody tr th td "
  + "svg g path rect line text title").split(" "));
const ATTRIBUTES = /^(class|d|x|y|x1|x2|y1|y2|width|height|rx|viewBox|transform|role|tabindex|scope|hidden|aria-[a-z]+|data-[a-z]+)$/;
const MOST_CHOSEN = 8, PAUSE = 1000, PAUSE_OF_LIST = 3000;

function built(nodes, inSvg = false) {
  const all = document.createDocumentFragment();
  for (const node of nodes) {
    if (typeof node === "string") { all.append(document.createTextNode(node)); continue; }
    const [name, attributes, children] = node;
    if (!ELEMENTS.has(name)) throw new Error("unexpected element " + name);
    const svg = inSvg || name === "svg";
    const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (!ATTRIBUTES.test(key)) throw new Error("unexpected attribute " + key);
      element.setAttribute(key, value);
    }
    element.append(built(children, svg));
    all.append(element);
  }
  return all;
}
function made(name, style, words) {
  const element = document.createElement(name);
  if (style) element.className = style;
  if (words !== undefined) element.textContent = words;
  return element;
}

const page = Object.fromEntries(["state", "count", "where", "find", "runs", "chosen", "picker", "services"].map(id => [id, document.getElementById(id)]));
const FOCUSABLE = "summary, [tabindex], a, button, input";

// One part of a run: rebuilt only if it has changed, and then as open, and as far scrolled, as it was.
class Section {
  constructor(data) {
    this.element = made("section", "part");
    this.element.dataset.part = data.key;
    if (data.title) this.element.append(made("h3", "", data.title));
    this.charts = new Charts();
    this.body = made("div");
    this.element.append(this.charts.element, this.body);
    this.state = "";
  }
  update(data) {
    this.charts.update(data.charts);
    this.charts.element.hidden = !data.charts.length;
    const state = JSON.stringify(data.nodes);
    if (state === this.state) return;
    this.state = state;
    const open = new Set([...this.body.querySelectorAll("details[open]")].map(it => it.dataset.key));
    const scrolled = [...this.body.querySelectorAll(".scroll")].map(it => it.scrollLeft);
    const focused = [...this.body.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    this.body.replaceChildren(built(data.nodes));
    for (const it of this.body.querySelectorAll("details")) if (open.has(it.dataset.key)) it.open = true;
    [...this.body.querySelectorAll(".scroll")].forEach((it, index) => { it.scrollLeft = scrolled[index] || 0; });
    if (focused >= 0) this.body.querySelectorAll(FOCUSABLE)[focused]?.focus({preventScroll: true});
  }
}

class Run {
  constructor(id) {
    this.id = id;
    this.element = made("article", "run");
    this.element.dataset.run = id;
    this.heading = made("h2", "", "…");
    this.away = made("button", "away", "×");
    this.away.type = "button";
    this.away.addEventListener("click", () => choose(chosen().filter(it => it !== id)));
    const header = made("header");
    header.append(this.heading, this.away);
    this.element.append(header);
    this.sections = new Map();
    this.tag = this.told = "";
    this.busy = this.again = false;
  }
  async fetch() {
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    try {
      const answer = await fetch("/api/runs/" + encodeURIComponent(this.id), {headers: this.tag ? {"If-None-Match": this.tag} : {}});
      if (answer.status === 200) {
        this.tag = answer.headers.get("ETag");
        this.show(await answer.json());
      } else if (answer.status !== 304) this.problem((await answer.text()).trim());
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;  // the server is away: the stream says so
    } finally {
      await new Promise(resolve => setTimeout(resolve, PAUSE));
      this.busy = false;
      // A long run is read now and then only: what was told of may have to be asked for again.
      if (this.again || (this.told && this.tag && this.tag !== '"' + this.told + '"' && shown.get(this.id) === this)) { this.again = false; this.fetch(); }
    }
  }
  problem(words) {
    for (const section of this.sections.values()) section.element.remove();
    this.sections.clear();
    this.show({name: this.id, ended: "", outcome: "damaged", sections: [{key: "summary", title: "", charts: [], nodes: [words]}]});
  }
  show(data) {
    this.data = data;
    this.heading.replaceChildren(data.name + " ", made("small", "", data.ended));
    this.away.setAttribute("aria-label", "take " + data.name + " away");
    this.element.className = "run " + data.outcome;
    const keys = new Set(data.sections.map(it => it.key));
    for (const [key, section] of this.sections) if (!keys.has(key)) { section.element.remove(); this.sections.delete(key); }
    for (const it of data.sections) {
      let section = this.sections.get(it.key);
      if (!section) { section = new Section(it); this.sections.set(it.key, section); this.element.append(section.element); }
      section.update(it);
    }
    this.element.dataset.version = data.version || "";
    compare();
  }
}

// Chosen runs beside each other, in one chart.
const compared = {element: made("section", "compared"), charts: new Charts()};
compared.element.append(made("h2", "", "Compared"), compared.charts.element);
function compare() {
  const runs = chosen().map(id => shown.get(id)).filter(run => run && run.data);
  const found = [];
  for (const ending of ["validation accuracy", "validation loss, nats"]) {
    const lines = [];
    for (const run of runs) {
      const curves = run.data.sections.find(it => it.key === "curves");
      for (const chart of curves ? curves.charts : []) {
        if (chart.title === ending || chart.title.endsWith(": " + ending)) {
          const whose = run.data.name + (chart.title === ending ? "" : "/" + chart.lines[0].title);
          lines.push({...chart.lines[0], title: whose, x: chart.x, share: chart.share});
        }
      }
    }
    if (lines.length < 2) continue;
    const x = [...new Set(lines.flatMap(line => line.x))].sort((a, b) => a - b);
    const spread = (line, key, none) => { const at = new Map(line.x.map((it, index) => [it, line[key][index]])); return x.map(it => at.get(it) ?? none); };
    found.push({title: ending, share: lines[0].share, place: "epoch", x, lines: lines.slice(0, 7).map((line, index) => (
      {title: line.title, style: index ? "term" + (index - 1) : "grown", values: spread(line, "values", null), words: spread(line, "words", "")}))});
  }
  if (found.length && runs.length > 1) {
    compared.charts.update(found);
    if (!compared.element.isConnected) page.chosen.prepend(compared.element);
  } else compared.element.remove();
}

const shown = new Map();
function chosen() { return location.hash.slice(1).split(",").filter(it => /^[0-9a-f]{16}$/.test(it)).slice(0, MOST_CHOSEN); }
function choose(ids) { history.replaceState(null, "", "#" + ids.slice(0, MOST_CHOSEN).join(",")); arrange(); }
function arrange() {
  const ids = chosen();
  for (const [id, run] of shown) if (!ids.includes(id)) { run.element.remove(); shown.delete(id); }
  for (const id of ids) {
    if (!shown.has(id)) { const run = new Run(id); shown.set(id, run); page.chosen.append(run.element); run.fetch(); }
  }
  hint.remove();
  if (!ids.length) page.chosen.prepend(hint);
  for (const [id, row] of rows) row.box.checked = ids.includes(id);
  compare();
  connect();
}
const hint = made("p", "note hint", "Choose runs in the list: one, or several to see them side by side.");

// The list of runs.
const rows = new Map();
let listing = false, listAgain = false;
async function list() {
  if (listing) { listAgain = true; return; }
  listing = true;
  try {
    const answer = await fetch("/api/runs");
    if (answer.ok) showList(await answer.json());
    else say((await answer.text()).trim(), true);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  } finally {
    await new Promise(resolve => setTimeout(resolve, PAUSE_OF_LIST));
    listing = false;
    if (listAgain) { listAgain = false; list(); }
  }
}
function showList(data) {
  page.where.textContent = data.problem || data.where;
  const ids = data.runs.map(run => run.id);
  for (const [id, row] of rows) if (!ids.includes(id)) { row.element.remove(); rows.delete(id); }
  data.runs.forEach((run, index) => {
    let row = rows.get(run.id);
    if (!row) { row = newRow(run.id); rows.set(run.id, row); }
    if (row.state !== JSON.stringify(run)) fillRow(row, run);
    if (page.runs.children[index] !== row.element) page.runs.insertBefore(row.element, page.runs.children[index] || null);
  });
  filter();
  if (!begun && ids.length) {
    begun = true;
    if (!location.hash) choose(data.where ? ids.slice(0, 1) : ids);
  }
  if (!ids.length) hint.textContent = "There are no runs here. Begin one: esper run digits";
}
let begun = false;
function newRow(id) {
  const row = {element: made("li"), box: made("input"), label: made("label"), state: ""};
  row.box.type = "checkbox";
  row.box.value = id;
  row.box.checked = chosen().includes(id);
  row.box.addEventListener("change", () => choose(row.box.checked ? [...chosen(), id] : chosen().filter(it => it !== id)));
  row.label.append(row.box);
  row.element.append(row.label);
  return row;
}
function fillRow(row, run) {
  row.state = JSON.stringify(run);
  row.words = [run.name, run.task, run.policy, run.outcome].join(" ").toLowerCase();
  row.element.className = run.outcome;
  const about = made("span", "about");
  about.append(made("span", "outcome", run.outcome), ", " + run.epochs + " epochs, " + [run.task, run.policy].filter(Boolean).join(", "));
  const figures = made("span", "about", run.grown === "-" ? "" : "grown " + run.grown + (run.twin === "-" ? "" : ", twin " + run.twin + " (" + run.difference + ")") + (run.means && ", " + run.means));
  row.label.replaceChildren(row.box, made("span", "name", run.name + (run.last ? " (last)" : "")), about, figures);
}
function filter() {
  const wanted = page.find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows.values()) {
    row.element.hidden = !wanted.every(word => row.words.includes(word));
    count += !row.element.hidden;
  }
  page.count.textContent = count === rows.size ? "(" + rows.size + ")" : "(" + count + " of " + rows.size + ")";
}
page.find.addEventListener("input", filter);

// The services of the machine, asked for every few seconds while somebody looks.
let serving = false, served = "";
async function services() {
  if (serving || document.hidden) return;
  serving = true;
  try {
    const answer = await fetch("/api/services"), words = await answer.text();
    if (answer.ok && words !== served) {
      served = words;
      const {nodes} = JSON.parse(words), body = page.services.lastElementChild;
      const scrolled = body.querySelector(".scroll")?.scrollLeft || 0;
      body.replaceChildren(built(nodes));
      if (body.querySelector(".scroll")) body.querySelector(".scroll").scrollLeft = scrolled;
      page.services.hidden = !nodes.length;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;  // the server is away: the stream says so
  } finally { serving = false; }
}
setInterval(services, PAUSE_OF_LIST);

// What has changed is told by the server; it is fetched from here.
let stream = null, streamed = "";
function say(words, lost) { page.state.textContent = words; page.state.className = lost ? "lost" : ""; }
function connect() {
  const wanted = chosen().join(",");
  if (document.hidden || (stream && streamed === wanted)) return;
  disconnect();
  streamed = wanted;
  stream = new EventSource("/api/stream?runs=" + encodeURIComponent(wanted));
  stream.addEventListener("open", () => say("live", false));
  stream.addEventListener("error", () => say("the dashboard has no connection; it tries again", true));
  stream.addEventListener("runs", list);
  stream.addEventListener("run", event => {
    const {id, version} = JSON.parse(event.data), run = shown.get(id);
    if (run) { run.told = version; run.fetch(); }
  });
}
function disconnect() { if (stream) stream.close(); stream = null; }
// A page that nobody sees takes none of the few connections that a browser has.
document.addEventListener("visibilitychange", () => { if (document.hidden) { disconnect(); say("paused", false); } else { connect(); services(); } });
addEventListener("hashchange", arrange);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const run of shown.values()) for (const section of run.sections.values()) section.charts.redraw();
  compared.charts.redraw();
});
if (matchMedia("(max-width: 760px)").matches) page.picker.open = false;
list();
arrange();
services();
