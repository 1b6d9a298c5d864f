"use strict";
// Learning curves of one cell. Nothing is fetched; text enters the page as text only.
const phasecubeCurves = (function () {
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = ["#000000", "#B34A00", "#0072B2", "#007A59", "#A8497F"];
  const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2"];

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

  // Draws the curves of a cell into a box; `state` holds the scales and outlives a redraw.
  function draw(box, data, cell, title, state, outcomes) {
    box.textContent = "";
    const members = (data.cells[cell] || []).map(([member, outcome, ...values]) => ({ member: data.names_of_members[member], outcome: outcomes[outcome], values }));
    if (!members.length) {
      html("p", box, data.every > 1 ? `The curves of one cell in ${data.every} travel in this page, and this is none of them.` : "No trial of this cell has recorded anything yet.", "note");
      return;
    }
    const W = Math.max(320, Math.min(720, box.clientWidth || 720)), H = 300, L = 58, R = 12, T = 10, B = 40;
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
      const key = svg("svg", { width: 28, height: 10, "aria-hidden": "true" }, item);
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
        draw(box, data, cell, title, state, outcomes);
        box.querySelectorAll("button").forEach(b => { if (b.textContent === label) b.focus(); });
      });
    }
  }

  return { svg, html, draw };
})();
