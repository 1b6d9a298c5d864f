"use strict";
// Pointing at a cell shows its values, clicking it its curves. Nothing is fetched; text enters
// the page as text only.
(function () {
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = ["#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7"];
  const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2"];
  const all = JSON.parse(document.getElementById("curves").textContent);

  function svg(name, attributes, parent, text) {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }
  function html(name, parent, text, cls) {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    if (parent) parent.appendChild(node);
    return node;
  }
  function short(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) return value.toExponential(0).replace("e+", "e");
    return String(Number(value.toPrecision(3)));
  }
  function niceTicks(low, high, log) {
    const ticks = [];
    if (log) {
      const decades = Math.log10(high / low);
      const every = Math.max(1, Math.ceil(decades / 6));
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += every)
        for (const m of decades > 2 ? [1] : [1, 2, 5]) {
          const value = m * Math.pow(10, e);
          if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
        }
      return ticks;
    }
    const raw = (high - low) / 5 || 1;
    const base = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 5, 10].map(m => m * base).find(s => s >= raw);
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(k * step);
    return ticks;
  }
  // A log axis that begins at step 0 puts it one narrow strip before the first later step.
  function axis(low, high, from, to, log, firstPositive) {
    if (!log) return v => from + (to - from) * (v - low) / (high - low || 1);
    const start = low > 0 ? low : firstPositive;
    const strip = low > 0 ? 0 : (to - from) * 0.05;
    const span = Math.log(high / start) || 1;
    return v => v <= 0 ? from : from + strip + (to - from - strip) * Math.log(v / start) / span;
  }

  function draw(box, data, cell, title, state) {
    box.textContent = "";
    box.hidden = false;
    const members = data.cells[cell];
    html("h4", box, title);
    if (!members) {
      html("p", box, "No trial of this cell has recorded anything yet.", "note");
      return;
    }
    const W = 720, H = 300, L = 58, R = 12, T = 10, B = 40;
    const picture = svg("svg", { width: W, height: H, viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Learning curves of " + title });
    const values = members.flatMap(m => m.values.flat()).filter(v => v !== null);
    const positive = values.filter(v => v > 0);
    const canLog = positive.length === values.length && values.length > 0;
    const logY = state.logY && canLog;
    let low = Math.min(...values), high = Math.max(...values);
    if (!logY && low >= 0 && high <= 1.02 && high > 0.2) { low = 0; high = Math.max(1, high); }
    if (low === high) { low = logY ? low / 2 : low - 0.5; high = logY ? high * 2 : high + 0.5; }
    const steps = data.steps;
    const x = axis(steps[0], steps[steps.length - 1], L, W - R, state.logStep, steps.find(s => s > 0) || 1);
    const y = axis(low, high, H - B, T, logY, low);
    for (const tick of niceTicks(low, high, logY)) {
      svg("line", { class: "grid", x1: L, x2: W - R, y1: y(tick), y2: y(tick) }, picture);
      svg("text", { x: L - 6, y: y(tick) + 4, "text-anchor": "end" }, picture, short(tick));
    }
    const firstStep = steps.find(s => s > 0) || 1;
    const stepTicks = niceTicks(state.logStep ? firstStep : steps[0], steps[steps.length - 1], state.logStep);
    for (const tick of state.logStep && steps[0] === 0 ? [0, ...stepTicks] : stepTicks) {
      svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: T, y2: H - B }, picture);
      svg("text", { x: x(tick), y: H - B + 15, "text-anchor": "middle" }, picture, short(tick));
    }
    for (const level of data.thresholds) if (level >= low && level <= high)
      svg("line", { class: "level", x1: L, x2: W - R, y1: y(level), y2: y(level) }, picture);
    svg("text", { class: "label", x: (L + W - R) / 2, y: H - 6, "text-anchor": "middle" }, picture, "step" + (state.logStep ? ", log scale" : ""));
    data.measures.forEach((name, m) => members.forEach(member => {
      const points = [];
      member.values[m].forEach((v, i) => { if (v !== null) points.push([x(steps[i]), y(v)]); });
      const path = points.map((p, i) => (i ? "L" : "M") + p[0].toFixed(1) + " " + p[1].toFixed(1)).join("");
      const line = svg("path", { class: "line", d: path, stroke: COLOURS[m % 5], "stroke-dasharray": DASHES[m % 5], "stroke-opacity": members.length > 4 ? 0.6 : 0.85, "data-measure": data.names[m], "data-member": member.member }, picture);
      svg("title", {}, line, `${name}, ${member.member}, ${member.outcome}`);
    }));
    box.appendChild(picture);
    const legend = html("ul", box, undefined, "legend");
    data.measures.forEach((name, m) => {
      const item = html("li", legend);
      const key = svg("svg", { width: 28, height: 10 }, item);
      svg("line", { x1: 0, x2: 28, y1: 5, y2: 5, stroke: COLOURS[m % 5], "stroke-width": 2, "stroke-dasharray": DASHES[m % 5] }, key);
      item.appendChild(document.createTextNode(name));
    });
    const [shown, total] = data.members;
    const endings = {};
    members.forEach(m => { endings[m.outcome] = (endings[m.outcome] || 0) + 1; });
    const said = Object.entries(endings).map(([k, n]) => `${n} ${k}`).join(", ");
    html("p", box, `One line per measure and trial: ${said}.` + (shown < total ? ` The first ${shown} of ${total} trials of each cell travel in this page.` : "") + (data.thresholds.length ? " Dashed grey: thresholds." : ""), "note");
    const bar = html("p", box);
    for (const [key, label, usable] of [["logStep", "log step", true], ["logY", "log value", canLog]]) {
      if (!usable) continue;
      const button = html("button", bar, label);
      button.type = "button";
      button.setAttribute("aria-pressed", String(state[key]));
      button.addEventListener("click", () => {
        state[key] = !state[key];
        draw(box, data, cell, title, state);
        box.querySelectorAll("button").forEach(b => { if (b.textContent === label) b.focus(); });
      });
    }
  }

  for (const panel of document.querySelectorAll(".panel")) {
    const data = all[panel.dataset.key];
    const box = panel.querySelector(".curves"), words = panel.querySelector(".cell");
    const spread = Object.values(data.cells).flatMap(c => c.flatMap(m => m.values.flat())).filter(v => v !== null);
    const bounds = spread.reduce((b, v) => [Math.min(b[0], v), Math.max(b[1], v)], [Infinity, -Infinity]);
    const state = { logStep: data.logStep, logY: bounds[0] > 0 && bounds[1] / bounds[0] > 100 };
    let chosen = null;

    function say(cell) {
      words.textContent = "";
      const list = html("dl", words);
      for (const [name, value] of JSON.parse(cell.dataset.facts)) {
        const pair = html("div", list);
        html("dt", pair, name);
        html("dd", pair, value);
      }
    }
    function choose(cell) {
      chosen = cell;
      const at = `${cell.dataset.row},${cell.dataset.column}`;
      for (const mark of panel.querySelectorAll(".chosen")) mark.remove();
      for (const map of panel.querySelectorAll("svg.map")) {
        // On top of all cells, or its neighbours would cover half of the line.
        const mark = map.querySelector(`.c[data-row="${cell.dataset.row}"][data-column="${cell.dataset.column}"] rect`).cloneNode();
        mark.setAttribute("class", "chosen");
        mark.setAttribute("fill", "none");
        map.appendChild(mark);
      }
      say(cell);
      const place = JSON.parse(cell.dataset.facts).slice(0, Number(panel.dataset.sides)).map(f => f.join(" = ")).join(", ");
      draw(box, data, at, place || "The study", state);
    }
    function cellOf(event) { return event.target.closest ? event.target.closest(".c") : null; }

    panel.addEventListener("pointerover", e => { const c = cellOf(e); if (c) say(c); });
    panel.addEventListener("pointerout", e => { if (cellOf(e) && chosen) say(chosen); });
    panel.addEventListener("focusin", e => { const c = cellOf(e); if (c) say(c); });
    panel.addEventListener("click", e => { const c = cellOf(e); if (c) choose(c); });
    panel.addEventListener("keydown", e => {
      const cell = cellOf(e);
      if (!cell) return;
      if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(cell); return; }
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[e.key];
      if (!move) return;
      e.preventDefault();
      const row = Number(cell.dataset.row) + move[0], column = Number(cell.dataset.column) + move[1];
      const next = cell.closest("svg").querySelector(`.c[data-row="${row}"][data-column="${column}"]`);
      if (next) { cell.setAttribute("tabindex", "-1"); next.setAttribute("tabindex", "0"); next.focus(); }
    });
  }
})();
