// The table of clips: filter, search, sort, and the distribution of the chosen score.

const PAGE = 30; // rows at once
const FEW = 20;
const state = { filter: "random", search: "", sort: null, descending: true, score: 0, shown: PAGE, columns: [] };
state.columns = DATA.columns.map((column, index) => (column.shown ? index : -1)).filter((index) => index >= 0);
const byId = (id) => document.getElementById(id);
const haystacks = DATA.clips.map((clip) => [clip.id, ...clip.captions, ...clip.references, ...clip.labels].join("\n").toLowerCase());

function ranked(column, descending) {
  const scored = DATA.clips.map((_, index) => index).filter((index) => DATA.clips[index].scores[column] !== null);
  const sign = descending ? -1 : 1;
  return scored.sort((a, b) => sign * (DATA.clips[a].scores[column] - DATA.clips[b].scores[column]) || a - b);
}

const lowIsGood = () => DATA.columns[state.score]?.low_is_good ?? false;
const [WORST, BEST] = DATA.systems.length > 1 ? ["lowest", "highest"] : ["worst", "best"];
const FILTERS = {
  random: { title: `${Math.min(FEW, DATA.random.length)} at random`, clips: () => DATA.random },
  worst: { title: `${WORST} ${FEW}`, clips: () => ranked(state.score, lowIsGood()).slice(0, FEW) },
  best: { title: `${BEST} ${FEW}`, clips: () => ranked(state.score, !lowIsGood()).slice(0, FEW) },
  all: { title: `all ${DATA.clips.length}`, clips: () => DATA.clips.map((_, index) => index) },
};

function selected() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = FILTERS[state.filter].clips().filter((index) => words.every((word) => haystacks[index].includes(word)));
  if (state.sort === null) return found;
  const value = (index) => DATA.clips[index].scores[state.sort];
  const sign = state.descending ? -1 : 1;
  return [...found].sort((a, b) => (value(a) === null) - (value(b) === null) || sign * (value(a) - value(b)) || a - b);
}

function show() {
  const found = selected();
  const rows = found.slice(0, state.shown).map((index) => rowOf(DATA.clips[index], state.columns));
  byId("rows").replaceChildren(...rows);
  const sorted = state.sort === null ? "" : `, by ${DATA.columns[state.sort].title}, ${state.descending ? "highest" : "lowest"} first`;
  byId("status").textContent = `${found.length} of ${DATA.clips.length} clips${sorted}`;
  byId("more").hidden = found.length <= state.shown;
  byId("more").textContent = `Show more (${found.length - state.shown} left)`;
}

// Names of runs are long: a line may end after an underscore.
const breakable = (text) => text.replaceAll("_", "_\u200b");

function showHead() {
  const heads = [make("th", { role: "columnheader", scope: "col", className: "clip" }, "Clip"), make("th", { role: "columnheader", scope: "col" }, "Caption and references")];
  for (const column of state.columns) {
    const direction = state.sort !== column ? "none" : state.descending ? "descending" : "ascending";
    const button = make("button", { type: "button" }, breakable(DATA.columns[column].title));
    button.addEventListener("click", () => {
      state.descending = state.sort === column ? !state.descending : true;
      state.sort = column;
      refresh();
      byId("head").querySelector(`[data-column="${column}"] button`).focus();
    });
    heads.push(make("th", { role: "columnheader", scope: "col", className: "score", "aria-sort": direction, "data-column": column }, button));
  }
  byId("head").replaceChildren(...heads);
}

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function showDistribution() {
  const title = DATA.columns[state.score].title;
  const values = ranked(state.score, false).map((index) => DATA.clips[index].scores[state.score]);
  if (!values.length) { byId("histogram").replaceChildren(); byId("quartiles").textContent = `No clip has ${title}.`; return; }
  const [low, high] = [Math.min(0, values[0]), Math.max(values[values.length - 1], 1e-9)];
  const bins = new Array(30).fill(0);
  for (const value of values) bins[Math.min(29, Math.floor((30 * (value - low)) / (high - low)))] += 1;
  const most = Math.max(...bins);
  const bars = bins.map((count, bin) => svg("rect", { x: bin * 20 + 1, width: 18, y: 72 - (70 * count) / most, height: (70 * count) / most },
    svg("title", {}, `${count} clips from ${(low + (bin * (high - low)) / 30).toFixed(2)} to ${(low + ((bin + 1) * (high - low)) / 30).toFixed(2)}`)));
  const at = (share) => values[Math.round(share * (values.length - 1))].toFixed(2);
  const text = `${title} of ${values.length} clips: half of them between ${at(0.25)} and ${at(0.75)}, median ${at(0.5)}, highest ${at(1)}.`;
  const ends = make("div", { className: "ends", "aria-hidden": "true" }, make("span", {}, low.toFixed(2)), make("span", {}, high.toFixed(2)));
  byId("histogram").replaceChildren(svg("svg", { viewBox: "0 0 600 73", preserveAspectRatio: "none", role: "img", "aria-label": `Histogram. ${text}` }, ...bars), ends);
  byId("quartiles").textContent = text;
}

function refresh() {
  state.shown = PAGE;
  showHead();
  show();
}

function start() {
  for (const [name, filter] of Object.entries(FILTERS)) {
    if (!DATA.columns.length && (name === "worst" || name === "best")) continue;
    const radio = make("input", { type: "radio", name: "filter", value: name, checked: name === state.filter });
    radio.addEventListener("change", () => {
      state.filter = name;
      state.sort = name === "worst" || name === "best" ? state.score : state.sort;
      if (name === "worst" || name === "best") state.descending = (name === "best") !== lowIsGood();
      if (state.sort !== null && !state.columns.includes(state.sort)) byId("columns").querySelectorAll("input")[state.sort].click();
      refresh();
    });
    byId("filters").append(make("label", {}, radio, filter.title));
  }
  DATA.columns.forEach((column, index) => {
    byId("score").append(make("option", { value: String(index) }, column.title));
    const box = make("input", { type: "checkbox", checked: column.shown });
    box.addEventListener("change", () => {
      state.columns = state.columns.filter((each) => each !== index).concat(box.checked ? [index] : []).sort((a, b) => a - b);
      refresh();
    });
    byId("columns").append(make("label", {}, box, column.title));
  });
  byId("score").addEventListener("change", () => {
    state.score = Number(byId("score").value);
    showDistribution();
    if (state.filter === "worst" || state.filter === "best") {
      state.sort = state.score;
      state.descending = (state.filter === "best") !== lowIsGood();
      if (!state.columns.includes(state.sort)) byId("columns").querySelectorAll("input")[state.sort].click();
    }
    refresh();
  });
  byId("search").addEventListener("input", () => { state.search = byId("search").value; refresh(); });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    const first = state.shown;
    state.shown += 3 * PAGE;
    show();
    byId("rows").rows[first]?.querySelector("audio, summary")?.focus();
  });
  if (DATA.systems.length > 1) byId("head").closest("table").classList.add("wide");
  byId("explorer").hidden = false;
  if (DATA.columns.length) showDistribution();
  else byId("score").closest(".distribution").hidden = true; // nothing to rank by
  refresh();
}

start();
