// Rows of the table of clips. All text goes in as text nodes: nothing of the data is ever read as HTML.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COMMON = new Set("a an the and or of in on at is are was with to by as while then it its".split(" "));
const WORD = /[\p{L}\p{N}_]+(?:['’-][\p{L}\p{N}_]+)*/gu;
const REDUCED = matchMedia("(prefers-reduced-motion: reduce)").matches;

// An element with properties and children; strings become text.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function wordsOf(text) {
  return (text.toLowerCase().match(WORD) ?? []).filter((word) => !COMMON.has(word));
}

// The text with each word that is in `shared` marked.
function marked(text, shared) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    if (!shared.has(match[0].toLowerCase())) continue;
    parts.push(text.slice(end, match.index), make("mark", {}, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function soundOf(clip) {
  const media = clip.media;
  const audio = make("audio", { controls: true, preload: "metadata", src: media.audio, "aria-label": `Sound of ${clip.id}` });
  const playhead = make("div", { className: "playhead" });
  const seconds = () => (Number.isFinite(audio.duration) ? audio.duration : media.seconds) || 1;
  const move = () => { playhead.style.left = `${Math.min(100, (100 * audio.currentTime) / seconds())}%`; };
  const follow = () => { move(); if (!audio.paused && !REDUCED) requestAnimationFrame(follow); };
  audio.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    follow();
  });
  for (const event of ["timeupdate", "seeked", "pause"]) audio.addEventListener(event, move);
  const alt = `Spectrogram of ${clip.id}, ${media.seconds.toFixed(1)} seconds`;
  const picture = media.spectrogram
    ? make("div", { className: "picture" }, make("img", { src: media.spectrogram, alt }), playhead)
    : null;
  picture?.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    audio.currentTime = (seconds() * (event.clientX - box.left)) / box.width;
  });
  const note = picture ? `${media.seconds.toFixed(1)} s, 0 to ${+(media.top_hz / 1000).toFixed(1)} kHz (mel)` : null;
  return make("figure", { className: "sound" }, picture, make("figcaption", {}, note ?? ""), audio);
}

function mediaOf(clip) {
  const media = clip.media;
  if (!media) return make("p", { className: "silent" }, "sound not in this file");
  const frame = media.frame
    ? make("figure", { className: "frame" },
        make("img", { src: media.frame, alt: `Frame of ${clip.id}`, loading: "lazy" }),
        make("figcaption", {}, DATA.frame_note))
    : null;
  return make("div", { className: `media${frame && media.audio ? "" : " alone"}` }, media.audio ? soundOf(clip) : null, frame);
}

function textOf(clip) {
  const said = clip.references.map((reference) => new Set(wordsOf(reference)));
  const inReferences = new Set(said.flatMap((words) => [...words]));
  const inCaptions = new Set(clip.captions.flatMap(wordsOf));
  const cell = make("td", { role: "cell", className: "text" });
  clip.captions.forEach((caption, index) => {
    const own = DATA.columns.findIndex((column) => column.system === index);
    const score = own < 0 ? "" : ` · ${DATA.columns[own].title.split(":")[0]} ${shownNumber(clip.scores[own])}`;
    const name = DATA.systems.length > 1 ? make("span", { className: "system" }, DATA.systems[index] + score) : null;
    cell.append(make("p", { className: "caption", dir: "auto" }, name, ...marked(caption || "(no words)", inReferences)));
  });
  const items = [...new Set(clip.references)].map((reference) => {
    const times = clip.references.filter((other) => other === reference).length;
    return make("li", { dir: "auto" }, ...marked(reference, inCaptions), times > 1 ? ` (${times} times)` : null);
  });
  if (items.length) cell.append(make("ul", { className: "references", "aria-label": "References" }, ...items));
  if (clip.labels.length) cell.append(make("p", { className: "labels" }, `Labels: ${clip.labels.join(", ")}`));
  cell.append(...detailsOf(clip));
  return cell;
}

function shownNumber(score) {
  return score === null ? "–" : score.toFixed(Number.isInteger(score) && Math.abs(score) >= 10 ? 0 : 2);
}

function rowOf(clip, columns) {
  const row = make("tr", { role: "row" });
  const head = make("th", { role: "rowheader", scope: "row", className: "clip" }, make("span", { className: "id" }, clip.id), mediaOf(clip));
  const scores = columns.map((column) =>
    make("td", { role: "cell", className: "score", "data-title": DATA.columns[column].title }, shownNumber(clip.scores[column])));
  row.append(head, textOf(clip), ...scores);
  return row;
}
