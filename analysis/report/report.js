// Cells of the maps: what is said of them, their curves and trials, and links to them. The hash of
// the page names the cells that are open, so that a link opens them and the browser's back closes.
(function () {
  const { svg, html, draw } = phasecubeCurves;
  const all = JSON.parse(document.getElementById("data").textContent);
  const LISTED = 12;  // trials of a cell that are shown at once
  const NAMED = 2500;  // cells of a map that all have their names at once
  const panels = {};

  class Panel {
    constructor(root) {
      this.root = root;
      this.key = root.dataset.key;
      this.data = all.panels[this.key];
      this.words = root.querySelector(".cell");
      this.hint = this.words.textContent;
      this.box = root.querySelector(".curves");
      this.columns = this.data.sides[0].ticks.length;
      this.rows = this.data.sides[1].ticks.length;
      this.open = null;
      const values = Object.values(this.data.cells).flatMap(c => c.flatMap(m => m.slice(2).flat())).filter(v => v !== null);
      const [low, high] = values.reduce((b, v) => [Math.min(b[0], v), Math.max(b[1], v)], [Infinity, -Infinity]);
      this.state = { logStep: this.data.logStep, logY: low > 0 && high / low > 100 };
      this.places = new Map();
      this.maps = Array.from(root.querySelectorAll("svg.map"), map => {
        const cells = Array.from(map.querySelectorAll(".cells > *"));
        cells.forEach((cell, i) => {
          this.places.set(cell, i);
          if (i === 0 || cells.length <= NAMED) this.name(cell, i ? "-1" : "0");
        });
        return { map, cells };
      });
      this.listen();
    }
    // A cell is a button with a name. Of large maps only those are that were reached.
    name(cell, tabindex) {
      const place = this.places.get(cell);
      cell.classList.add("c");
      cell.dataset.row = Math.floor(place / this.columns);
      cell.dataset.column = place % this.columns;
      cell.setAttribute("role", "button");
      cell.setAttribute("tabindex", tabindex);
      cell.setAttribute("aria-label", this.facts(cell.closest("svg").dataset.map, place).map(f => f.join(": ")).join("; "));
    }
    facts(stem, place) {
      const [names, ...values] = this.data.facts[stem][place].map(i => all.words[i]);
      const at = [place % this.columns, Math.floor(place / this.columns)];
      const where = this.data.sides.map((side, i) => [side.label, side.ticks[at[i]], side.name]).filter(s => s[2]).map(s => s.slice(0, 2));
      return where.concat(values.map((value, i) => [names.split("\n")[i], value]));
    }
    at(row, column) { return row * this.columns + column; }
    title(row, column) {
      const [x, y] = this.data.sides;
      return [[x, column], [y, row]].filter(([s]) => s.name).map(([s, i]) => `${s.label} = ${s.ticks[i]}`).join(", ") || "The study";
    }
    say(cell) {
      this.words.textContent = "";
      const list = html("dl", this.words);
      for (const [name, value] of this.facts(cell.closest("svg").dataset.map, this.places.get(cell))) {
        const pair = html("div", list);
        html("dt", pair, name);
        html("dd", pair, value);
      }
    }
    marked() {
      this.words.textContent = "";
      if (!this.open) { html("p", this.words, this.hint, "hint"); return; }
      const cell = this.maps[0].cells[this.at(...this.open)];
      if (cell) this.say(cell);
    }
    show(row, column) {
      this.close();
      this.open = [row, column];
      for (const { map, cells } of this.maps) {
        const cell = cells[this.at(row, column)];
        this.name(cell, cell.getAttribute("tabindex") || "-1");
        cell.setAttribute("aria-pressed", "true");
        // On top of all cells, or its neighbours would cover half of the line.
        const box = (cell.querySelector("rect") || cell).getBBox();
        svg("rect", { class: "chosen", x: box.x, y: box.y, width: box.width, height: box.height }, map);
      }
      this.marked();
      this.box.textContent = "";
      this.box.hidden = false;
      const level = this.root.querySelector(".maps h4") ? "h5" : "h4";
      const heading = html(level, this.box, this.title(row, column) + " ");
      const link = html("a", heading, "link", "permalink");
      link.href = "#" + hashOf([this]);
      link.setAttribute("aria-label", "Link to this cell");
      draw(html("div", this.box, undefined, "lines"), this.data, `${row},${column}`, this.title(row, column), this.state, all.outcomes);
      this.list(`${row},${column}`, level);
    }
    list(at) {
      const found = this.data.trials.cells[at];
      if (!found) return;
      const more = html("details", this.box, undefined, "behind");
      const left = this.data.trials.total - this.data.trials.members.length;
      html("summary", more, `Trials of this cell (${found.length}${left ? ", the others are in the table of trials" : ""})`);
      more.open = found.length <= LISTED;
      const scroll = html("div", more, undefined, "scroll");
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", "Trials of this cell");
      const table = html("table", scroll);
      html("caption", table, "Trials of this cell", "hidden");
      const head = html("tr", html("thead", table));
      for (const name of ["trial", "outcome", "to see it"]) html("th", head, name).scope = "col";
      const body = html("tbody", table);
      for (const [member, outcome, digest] of found) {
        const row = html("tr", body);
        html("th", row, this.data.trials.members[member]).scope = "row";
        html("td", row, all.outcomes[outcome]);
        html("code", html("td", row), `phasecube show ${all.study} ${digest}`);
      }
    }
    close() {
      this.open = null;
      for (const mark of this.root.querySelectorAll(".chosen")) mark.remove();
      for (const cell of this.root.querySelectorAll("[aria-pressed=true].c")) cell.removeAttribute("aria-pressed");
      this.box.hidden = true;
      this.box.textContent = "";
      this.marked();
    }
    listen() {
      const cellOf = event => event.target.closest ? event.target.closest(".cells > *") : null;
      const place = cell => [Math.floor(this.places.get(cell) / this.columns), this.places.get(cell) % this.columns];
      this.root.addEventListener("pointerover", e => { const c = cellOf(e); if (c) this.say(c); });
      this.root.addEventListener("pointerout", e => { if (cellOf(e)) this.marked(); });
      this.root.addEventListener("focusin", e => { const c = cellOf(e); if (c) this.say(c); });
      this.root.addEventListener("click", e => { const c = cellOf(e); if (c) choose(this, ...place(c)); });
      this.root.addEventListener("keydown", e => {
        if (e.key === "Escape" && this.open) { choose(this, null); return; }
        const cell = cellOf(e);
        if (!cell) return;
        if (e.key === "Enter" || e.key === " ") { e.preventDefault(); choose(this, ...place(cell)); return; }
        let [row, column] = place(cell);
        if (e.key === "Home") column = 0;
        else if (e.key === "End") column = this.columns - 1;
        else if (e.key === "PageUp") row = this.rows - 1;
        else if (e.key === "PageDown") row = 0;
        else {
          const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[e.key];
          if (!move) return;
          row += move[0];
          column += move[1];
        }
        e.preventDefault();
        if (row < 0 || column < 0 || row >= this.rows || column >= this.columns) return;
        const next = this.maps.find(m => m.map.contains(cell)).cells[this.at(row, column)];
        cell.setAttribute("tabindex", "-1");
        this.name(next, "0");
        next.focus();
      });
    }
  }

  // A hash names cells by the values of the axes: it holds when the axes grow.
  function hashOf(open) {
    const parts = new URLSearchParams();
    for (const panel of open) {
      parts.append("cell", panel.key);
      panel.data.sides.forEach((side, i) => { if (side.name) parts.append(side.name, side.ticks[panel.open[1 - i]]); });
    }
    return parts.toString();
  }
  function read(hash) {
    const found = [];
    if (!hash.startsWith("#cell=")) return found;
    let here = null;
    for (const [name, value] of new URLSearchParams(hash.slice(1))) {
      if (name === "cell") { here = { key: value, sides: {} }; found.push(here); }
      else here.sides[name] = value;
    }
    return found;
  }
  // Opens the cells that the hash names and closes the others; a link to a section leaves all.
  function follow(first) {
    if (location.hash && !location.hash.startsWith("#cell=")) return;
    const wanted = {};
    for (const { key, sides } of read(location.hash)) {
      const panel = panels[key];
      if (!panel) continue;
      const [column, row] = panel.data.sides.map(s => s.name ? s.ticks.indexOf(sides[s.name]) : 0);
      if (row >= 0 && column >= 0) wanted[key] = [row, column];
    }
    for (const panel of Object.values(panels)) {
      const place = wanted[panel.key];
      if (!place) { if (panel.open) panel.close(); }
      else if (String(place) !== String(panel.open)) panel.show(...place);
    }
    const keys = Object.keys(wanted);
    if (first && keys.length) panels[keys[keys.length - 1]].root.scrollIntoView();
  }
  function choose(panel, row, column) {
    if (row === null) panel.close();
    else panel.show(row, column);
    const open = Object.values(panels).filter(p => p.open);
    const hash = hashOf(open);
    if (location.hash.slice(1) !== hash) history.pushState(null, "", hash ? "#" + hash : location.pathname + location.search);
  }

  // Marks the cells that hold trials of an outcome, on every map.
  const said = document.querySelector(".marked");
  function mark(button) {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const other of document.querySelectorAll("button.mark")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(on));
    const name = button.dataset.outcome;
    let n = 0, maps = 0;
    for (const panel of Object.values(panels)) {
      const ended = panel.data.trials.ended[name] || {};
      for (const { map, cells } of panel.maps) {
        map.classList.toggle("marking", on);
        maps += 1;
        cells.forEach((cell, i) => {
          const hit = on && `${Math.floor(i / panel.columns)},${i % panel.columns}` in ended;
          if (hit !== cell.classList.contains("hit")) cell.classList.toggle("hit");
          n += hit;
        });
      }
    }
    said.textContent = !on ? "" : `${n} cells of ${maps} map${maps === 1 ? "" : "s"} hold trials that are ${name}; the others are faded. `;
  }

  for (const root of document.querySelectorAll(".panel")) panels[root.dataset.key] = new Panel(root);
  const buttons = document.querySelectorAll("button.mark");
  for (const button of buttons) {
    if (Object.keys(panels).length) button.addEventListener("click", () => mark(button));
    else button.remove();
  }
  if (!Object.keys(panels).length) for (const cell of document.querySelectorAll(".act")) cell.remove();
  window.addEventListener("popstate", () => follow(false));
  follow(true);
})();
