"use strict";
// Everything on the page that moves. The tables, static pictures and texts are there without it.
const began = performance.now();

const embedded = id => {
  const found = document.getElementById(id);
  return found ? JSON.parse(found.textContent) : null;
};

const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const SVG = "http://www.w3.org/2000/svg";
const draw = (parent, name, attributes, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
};

const short = x => x === null ? "–" : x === 0 ? "0" :
  Math.abs(x) >= 1e-3 && Math.abs(x) < 1e4 ? String(Number(x.toPrecision(3))) : x.toExponential(2);
const raised = n => "10" + [...String(n)].map(c => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
const rerun = id => `scoreproof report --row ${id} --rerun`;

// --- plots: two logarithmic axes -----------------------------------------------------------------

const LOOKS = Array.from({length: 24}, (_, i) => ({
  colour: `var(--c${i % 6})`, dash: ["", "6 3", "2 2", "8 2 2 2"][Math.floor(i / 6)]
}));

function ticks(low, high) {
  const found = [];
  const wide = Math.log10(high / low) > 1.6;
  const step = Math.max(1, Math.ceil(Math.log10(high / low) / 7));
  for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++) {
    if (wide && k % step) continue;
    for (const m of wide ? [1] : [1, 2, 5]) {
      const x = m * 10 ** k;
      if (x >= low && x <= high) found.push([x, wide ? raised(k) : short(x)]);
    }
  }
  return found;
}

// lines: {name, points: [[x, y, title]], colour, dash, faint, plain}
function chart(host, lines, across, down, described) {
  const points = lines.flatMap(line => line.points).filter(p => p[0] > 0 && p[1] > 0);
  host.replaceChildren();
  if (!points.length) return host.append("Nothing to draw.");
  const width = Math.max(300, Math.min(720, host.clientWidth || 640));
  const height = Math.round(Math.max(260, width * 0.58));
  const edge = {left: 62, right: 14, top: 10, bottom: 44};
  const range = i => {
    const values = points.map(p => Math.log10(p[i]));
    const low = Math.min(...values), high = Math.max(...values);
    const room = 0.04 * (high - low) || 0.2;
    return [low - room, high + room];
  };
  const [x0, x1] = range(0), [y0, y1] = range(1);
  const X = x => edge.left + (Math.log10(x) - x0) / (x1 - x0) * (width - edge.left - edge.right);
  const Y = y => height - edge.bottom
    - (Math.log10(y) - y0) / (y1 - y0) * (height - edge.top - edge.bottom);
  const svg = draw(host, "svg",
    {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": described, class: "chart"});
  for (const [x, label] of ticks(10 ** x0, 10 ** x1)) {
    draw(svg, "line",
      {x1: X(x), x2: X(x), y1: edge.top, y2: height - edge.bottom, class: "grid"});
    draw(svg, "text", {x: X(x), y: height - edge.bottom + 17, "text-anchor": "middle"}, label);
  }
  for (const [y, label] of ticks(10 ** y0, 10 ** y1)) {
    draw(svg, "line", {x1: edge.left, x2: width - edge.right, y1: Y(y), y2: Y(y), class: "grid"});
    draw(svg, "text", {x: edge.left - 6, y: Y(y) + 4, "text-anchor": "end"}, label);
  }
  const middle = (edge.left + width - edge.right) / 2;
  draw(svg, "text", {x: middle, y: height - 6, "text-anchor": "middle"}, across);
  draw(svg, "text",
    {transform: `translate(13 ${height / 2}) rotate(-90)`, "text-anchor": "middle"}, down);
  for (const line of lines) {
    const shown = line.points.filter(p => p[0] > 0 && p[1] > 0);
    draw(svg, "polyline", {
      points: shown.map(p => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join(" "),
      fill: "none", stroke: line.colour || "currentColor", "stroke-dasharray": line.dash || "",
      "stroke-width": line.faint ? 0.7 : line.plain ? 1 : 1.8, opacity: line.faint ? 0.22 : 1,
    });
    if (line.faint || line.plain) continue;
    for (const p of shown) {
      const dot = draw(svg, "circle", {cx: X(p[0]), cy: Y(p[1]), r: 3.4, fill: line.colour});
      draw(dot, "title", {}, p[2] || `${line.name}: ${short(p[0])}, ${short(p[1])}`);
    }
  }
}

function key(lines) {
  const list = make("ul", {class: "key"});
  for (const line of lines) {
    const sample = draw(make("span"), "svg", {viewBox: "0 0 26 8", width: 26, height: 8});
    draw(sample, "line", {x1: 0, x2: 26, y1: 4, y2: 4, stroke: line.colour || "currentColor",
      "stroke-width": 2.4, "stroke-dasharray": line.dash || ""});
    list.append(make("li", {}, sample, ` ${line.name}`));
  }
  return list;
}

// A line of the slope p through the last point, over the curve's range.
function sloped(points, p, name, look) {
  const [h, e] = points[points.length - 1];
  return {name, plain: true, ...look, points: points.map(([x]) => [x, e * (x / h) ** p])};
}

// --- the table of solvers ------------------------------------------------------------------------

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (body, i) => body.rows[0].cells[i].dataset.key;
  const number = text => text === "" ? -Infinity : Number(text);
  heads.forEach((cell, i) => cell.querySelector("button").addEventListener("click", () => {
    const down = cell.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sorted = [...table.tBodies].sort((a, b) => i
      ? number(value(a, i)) - number(value(b, i)) : value(a, i).localeCompare(value(b, i)));
    table.append(...(down ? sorted.reverse() : sorted));
  }));
}

for (const form of document.querySelectorAll("form.filter")) {
  const bodies = [...document.getElementById(form.dataset.table).tBodies];
  const count = form.querySelector("output");
  const filter = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const family = form.elements.family.value, only = form.elements.short.checked;
    for (const body of bodies) {
      const text = body.dataset.text;
      body.hidden = !words.every(word => text.includes(word))
        || (only && !("short" in body.dataset))
        || (family !== "" && body.dataset.family !== family);
    }
    count.textContent = `${bodies.filter(body => !body.hidden).length} of ${bodies.length}`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  filter();
}

const orders = embedded("data-orders") || {};
const KINDS = {exact: "exact start", plain: "usual warm-up", irregular: "steps 1 : 2",
  float64: "float64", weak: "weak"};

function converging(host, row) {
  const lines = Object.entries(row.curves).map(([kind, points], i) =>
    ({name: KINDS[kind], points, ...LOOKS[i]}));
  const guide = [sloped(row.curves.exact, row.proved, `slope ${row.proved}, proved`, {dash: "1 3"})];
  if (row.claimed !== null && row.claimed !== row.proved) {
    guide.push(sloped(row.curves.exact, row.claimed, `slope ${row.claimed}, claimed`,
      {colour: "var(--bad)", dash: "5 3"}));
  }
  chart(host, [...guide, ...lines], `largest step h, form ${row.form}`, "RMS error at the end",
    `Error against step, ${row.name}`);
  host.append(key([...lines, ...guide]));
}

for (const details of document.querySelectorAll("tr.more details")) {
  details.addEventListener("toggle", () => {
    const host = details.querySelector("[data-row]");
    if (details.open && host && !host.childElementCount) {
      converging(host, orders[host.dataset.row]);
    }
  });
}

// --- error against work --------------------------------------------------------------------------

const work = embedded("data-work");
const bench = document.getElementById("bench");
if (work && bench) {
  const grid = bench.querySelector("select"), boxes = bench.querySelector(".boxes");
  const search = bench.querySelector("input[type=search]");
  const host = bench.querySelector(".host"), list = bench.querySelector("tbody");
  const chosen = new Set(work.first);
  const redraw = () => {
    const rows = work.rows.filter(row => row[1] === work.grids.indexOf(grid.value));
    const point = ([name, , calls, error, id]) =>
      [calls, error, `${work.names[name]}, ${calls} calls: ${short(error)} (${id})`];
    const curves = work.names.map((name, i) =>
      ({name, points: rows.filter(row => row[0] === i).map(point)}));
    const picked = curves.filter(curve => chosen.has(curve.name));
    const lines = picked.map((curve, i) => ({...curve, ...LOOKS[i % LOOKS.length]}));
    chart(host, [...curves.map(curve => ({...curve, faint: true})), ...lines],
      "model calls + directional derivatives", "RMS error of a pixel",
      `Error against work on the grid ${grid.value}`);
    host.append(key(lines));
    list.replaceChildren(...rows.filter(row => chosen.has(work.names[row[0]])).map(row => {
      const [name, , calls, error, id] = row;
      return make("tr", {id}, make("td", {}, work.names[name]),
        make("td", {class: "n"}, String(calls)), make("td", {class: "n"}, short(error)),
        make("td", {}, make("code", {}, rerun(id))));
    }));
  };
  for (const name of work.names) {
    const box = make("input", {type: "checkbox"});
    box.checked = chosen.has(name);
    box.addEventListener("change", () => {
      chosen[box.checked ? "add" : "delete"](name);
      redraw();
    });
    boxes.append(make("label", {}, box, ` ${name}`));
  }
  search.addEventListener("input", () => {
    for (const label of boxes.children) {
      label.hidden = !label.textContent.toLowerCase().includes(search.value.toLowerCase());
    }
  });
  bench.querySelector("button").addEventListener("click", () => {
    chosen.clear();
    for (const box of boxes.querySelectorAll("input")) box.checked = false;
    redraw();
  });
  grid.addEventListener("change", redraw);
  bench.hidden = false;
  redraw();
}

// --- the map -------------------------------------------------------------------------------------

const map = embedded("data-map");
const grid = document.getElementById("map-grid");
if (map && grid) {
  const panel = document.getElementById("map-panel");
  const rows = [...grid.querySelectorAll("tr")].map(row => [...row.querySelectorAll("button")])
    .filter(row => row.length);
  const buttons = rows.flat();
  let open = null;
  const fact = (list, name, ...value) => list.append(make("dt", {}, name), make("dd", {}, ...value));

  function show(button) {
    const cell = map.cells[Number(button.dataset.cell)], scheme = map.schemes[cell.scheme];
    const list = make("dl");
    fact(list, "order", `${cell.order} proved; ${cell.any_grid} on any step ratios, `
      + `${cell.plain_start} with warm-up; slope ${short(cell.measured)} measured`);
    fact(list, "leading error", cell.leading_error);
    fact(list, "formula", make("code", {}, scheme.formula));
    fact(list, "names", cell.said);
    if (cell.cite.length) fact(list, "source", cell.cite.map(k => map.sources[k] || k).join("; "));
    fact(list, "certificate", cell.certificate);
    fact(list, "again", make("code", {}, rerun(cell.id)));
    const plot = make("div", {class: "host"});
    panel.replaceChildren(make("h3", {}, `${cell.scheme} in ${cell.form}`),
      make("div", {class: "two"}, list, plot));
    panel.hidden = false;
    if (open === button) {
      converge(plot, cell);
      button.scrollIntoView({block: "nearest", inline: "nearest"});
    } else plot.append(make("p", {class: "soft"}, "Click or Enter: its convergence."));
  }

  function converge(host, cell) {
    const line = {name: "float64, exact start", points: cell.curve, ...LOOKS[0]};
    const lines = [sloped(cell.curve, cell.order, `slope ${cell.order}`, {dash: "1 3"}), line];
    chart(host, lines, "largest step h", "RMS error at the end",
      `Error against step, ${cell.scheme} in ${cell.form}`);
    host.append(key([line, lines[0]]));
  }

  // A cell that is held stays in the panel while the mouse goes elsewhere.
  function hold(button) {
    open?.removeAttribute("aria-pressed");
    button?.setAttribute("aria-pressed", "true");
    open = button;
  }

  const seen = button => !grid.classList.contains(`no-${button.classList[1]}`);
  const focus = button => {
    for (const other of buttons) other.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  };
  buttons.forEach((button, i) => {
    button.tabIndex = i ? -1 : 0;
    button.addEventListener("mouseenter", () => open || show(button));
    button.addEventListener("focus", () => {
      if (open !== button) hold(null);
      show(button);
    });
    button.addEventListener("click", () => {
      hold(open === button ? null : button);
      show(button);
    });
  });
  grid.addEventListener("keydown", event => {
    const row = rows.findIndex(line => line.includes(document.activeElement));
    if (row < 0) return;
    const column = rows[row].indexOf(document.activeElement);
    const ways = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};
    const move = ways[event.key];
    if (move) {
      let r = row, c = column, next;
      do next = rows[r += move[0]]?.[c += move[1]]; while (next && !seen(next));
      if (next) focus(next);
      event.preventDefault();
    }
  });
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    hold(null);
    panel.hidden = true;
  });
  for (const box of document.querySelectorAll("#map-states input")) {
    box.addEventListener("change", () => {
      grid.classList.toggle(`no-${box.value}`, !box.checked);
      const stop = buttons.find(b => b.tabIndex === 0 && seen(b)) || buttons.find(seen);
      for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
    });
  }
  document.getElementById("map-states").hidden = false;
}

// --- a row that is linked to stands open -----------------------------------------------------------

const reveal = () => {
  const row = document.getElementById(location.hash.slice(1));
  if (!row) return;
  for (let at = row; at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
    if (at.tagName === "TBODY") at.hidden = false;  // whatever the filter says
  }
  for (const details of row.querySelectorAll("tr.more details")) details.open = true;
  row.scrollIntoView({block: "center"});
};
addEventListener("hashchange", reveal);
addEventListener("click", event => {  // the same link again changes no address
  if (event.target.closest?.('a[href^="#"]')?.hash === location.hash) reveal();
});
if (location.hash) reveal();

// Milliseconds that the page took to be usable.
document.documentElement.dataset.ready = String(Math.ceil(performance.now() - began));
