// How a clip was captioned, as the stage told it: a transport plan, what guided the caption, what its tokens were chosen from.

const mel = (hz) => 1127 * Math.log1p(hz / 700);
const decimals = (value) => (value === null ? "-" : value.toFixed(3)); // null: not finite
const hertz = (value) => 700 * Math.expm1(value / 1127);

function detailsOf(clip) {
  const { transport, reasons, tokens } = clip.details;
  const found = [];
  if (transport && clip.media?.spectrogram && clip.media.frame) found.push(folded("Transport: which part of the sound goes to which part of the frame", () => planOf(clip, transport)));
  if (reasons?.length) found.push(folded("What guided the caption", () => reasons.map(([what, texts]) => listOf(what, ["text", "score"], texts))));
  if (tokens?.tokens.length) found.push(folded("What each token was chosen from", () => tokensOf(tokens)));
  return found;
}

// A part that is built when it is opened first.
function folded(title, build) {
  const element = make("details", { className: "how" }, make("summary", {}, title));
  element.addEventListener("toggle", () => { if (element.open && element.children.length === 1) element.append(...build()); });
  return element;
}

function listOf(caption, headings, rows) {
  const head = make("tr", {}, ...headings.map((heading) => make("th", { scope: "col" }, heading)));
  const body = rows.map(([text, score]) => make("tr", {}, make("th", { scope: "row", dir: "auto" }, text), make("td", {}, decimals(score))));
  return make("table", { className: "small" }, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

function tokensOf({ scores, tokens }) {
  const head = make("tr", {}, ...["candidate", ...scores].map((heading) => make("th", { scope: "col" }, heading)));
  const groups = tokens.map((candidates, position) => {
    const title = make("tr", {}, make("th", { scope: "rowgroup", colSpan: scores.length + 1 }, `token ${position + 1}`));
    const rows = candidates.map(([text, values], place) => {
      const name = make(place === 0 ? "b" : "span", { dir: "auto" }, text ? JSON.stringify(text) : "(no text)");
      const cells = values.map((value) => make("td", {}, decimals(value)));
      return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
    });
    return make("tbody", {}, title, ...rows);
  });
  const caption = "The chosen token first, then others, the best first. Scores of different positions do not compare.";
  return [make("table", { className: "small" }, make("caption", {}, caption), make("thead", {}, head), ...groups)];
}

// Two pictures under grids of patches. Pointing at a patch of one lights what its mass is tied to in the other.
function planOf(clip, plan) {
  const { media } = clip;
  const from = plan.masses.map(([audio, image, mass]) => [audio, image, mass]);
  const output = make("p", { className: "note", role: "status" }, "Point at a patch, or reach a picture with Tab and move with the arrow keys.");
  const sound = panel("Spectrogram", media.spectrogram, plan.audio_grid, true);
  const frame = panel("Frame", media.frame, plan.image_grid, false);
  // the grid on the picture: it may reach beyond the sound's end, and the picture above its highest frequency
  const top = mel(media.top_hz);
  sound.layer.style.width = `${(100 * plan.seconds) / media.seconds}%`;
  sound.layer.style.bottom = `${(100 * mel(plan.hz[0])) / top}%`;
  sound.layer.style.height = `${(100 * (mel(plan.hz[1]) - mel(plan.hz[0]))) / top}%`;
  frame.image.style.objectFit = plan.padded ? "contain" : "cover";
  const [rows, columns] = plan.audio_grid;
  const step = (mel(plan.hz[1]) - mel(plan.hz[0])) / rows;
  const placeOf = (token) => {
    const [row, column] = [Math.floor(token / columns), token % columns];
    const edge = (at) => (hertz(mel(plan.hz[0]) + at * step) / 1000).toFixed(1);
    const second = (at) => ((at * plan.seconds) / columns).toFixed(2);
    return `${second(column)} to ${second(column + 1)} s, ${edge(row)} to ${edge(row + 1)} kHz`;
  };
  const patchOf = (token) => `row ${Math.floor(token / plan.image_grid[1]) + 1}, column ${(token % plan.image_grid[1]) + 1}`;
  const choose = (own, other, key, token) => {
    const masses = new Map();
    for (const entry of from) if (entry[key] === token) masses.set(entry[1 - key], (masses.get(entry[1 - key]) ?? 0) + entry[2]);
    own.light(new Map([[token, 1]]));
    other.light(masses);
    const total = [...masses.values()].reduce((sum, mass) => sum + mass, 0);
    const [best, most] = [...masses].sort((a, b) => b[1] - a[1])[0] ?? [null, 0];
    const share = total ? Math.round((100 * most) / total) : 0;
    if (best === null) output.textContent = "No mass is here.";
    else if (key === 1) output.textContent = `Frame, ${patchOf(token)}: its mass comes from ${masses.size} of ${rows * columns} patches of the sound, most (${share}%) from ${placeOf(best)}.`;
    else output.textContent = `Sound, ${placeOf(token)}: its mass goes to ${masses.size} of ${plan.image_grid[0] * plan.image_grid[1]} patches of the frame, most (${share}%) to ${patchOf(best)}.`;
  };
  sound.chosen = (token) => choose(sound, frame, 0, token);
  frame.chosen = (token) => choose(frame, sound, 1, token);
  const note = "The optimal plan between the tokens of the sound and of the middle frame, all with the same weight. It is computed for this page: whether the captioner saw the frame stands below the frame.";
  return [make("div", { className: "plan" }, sound.element, frame.element), output, make("p", { className: "note" }, note)];
}

// A picture with a grid over it; `light` dims all patches but those with mass. Rows of a sound count from below.
function panel(name, source, [rows, columns], upwards) {
  const image = make("img", { src: source, alt: "" });
  const layer = make("canvas", { width: columns, height: rows });
  const inner = make("div", { className: "grid" }, image, layer);
  const element = make("div", { className: `panel ${name.toLowerCase()}`, tabIndex: 0, role: "group", "aria-label": `${name}, ${rows} by ${columns} patches; arrow keys choose one` }, inner);
  const found = { element, image, layer, chosen: () => {} };
  const at = [Math.floor(rows / 2), Math.floor(columns / 2)]; // row from the top, column
  const pick = (row, column) => {
    at[0] = Math.min(rows - 1, Math.max(0, row));
    at[1] = Math.min(columns - 1, Math.max(0, column));
    found.chosen((upwards ? rows - 1 - at[0] : at[0]) * columns + at[1]);
  };
  found.light = (masses) => {
    const context = layer.getContext("2d");
    const most = Math.max(...masses.values(), 1e-12);
    context.clearRect(0, 0, columns, rows);
    for (let token = 0; token < rows * columns; token += 1) {
      const row = Math.floor(token / columns);
      const share = (masses.get(token) ?? 0) / most;
      context.fillStyle = share > 0 ? `rgba(255, 255, 255, ${0.35 * share})` : "rgba(0, 0, 0, 0.72)"; // seen on silence too
      context.fillRect(token % columns, upwards ? rows - 1 - row : row, 1, 1);
    }
  };
  element.addEventListener("pointermove", (event) => {
    const box = layer.getBoundingClientRect();
    pick(Math.floor((rows * (event.clientY - box.top)) / box.height), Math.floor((columns * (event.clientX - box.left)) / box.width));
  });
  element.addEventListener("focus", () => pick(...at));
  element.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    pick(at[0] + move[0], at[1] + move[1]);
  });
  return found;
}
