
'use strict';
// Plays the events of this page: a small terminal that knows what the filter of the export lets through.
const BASE = ['#000000', '#cd3131', '#0dbc79', '#e5e510', '#2472c8', '#bc3fbc', '#11a8cd', '#d0d0d0',
  '#666666', '#f14c4c', '#23d18b', '#f5f543', '#3b8eea', '#d670d6', '#29b8db', '#ffffff'];
const LINES = { j: '┘', k: '┐', l: '┌', m: '└', n: '┼', q: '─', t: '├', u: '┤', v: '┴', w: '┬', x: '│', a: '▒', '`': '◆' };
// Characters that take two columns (East Asian Width W and F, and emoji).
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const JOINED = /\p{Mark}|\u200d|\ufe0f/u; // characters that are drawn over the one before
const PLAIN = Object.freeze({ fg: null, bg: null, bold: false, underline: false, reverse: false, stderr: false });

function palette(n) {
  if (n < 16) return BASE[n];
  if (n > 231) { const v = 8 + (n - 232) * 10; return `rgb(${v},${v},${v})`; }
  const level = (i) => (i ? 55 + i * 40 : 0);
  n -= 16;
  return `rgb(${level(Math.floor(n / 36))},${level(Math.floor(n / 6) % 6)},${level(n % 6)})`;
}

const words = (line) => line.map((cell) => cell.c).join('');

class Screen {
  constructor(columns, rows, tty) {
    this.tty = tty;
    this.pen = PLAIN;
    this.columns = Math.min(1000, Math.max(1, columns));
    this.rows = Math.min(1000, Math.max(1, rows));
    this.lines = this.blank();
    this.other = null;
    this.x = 0; this.y = 0; this.saved = [0, 0, PLAIN];
    this.top = 0; this.bottom = this.rows - 1;
    this.wrap = true; this.insert = false; this.cursor = true; this.drawing = false;
    this.last = ' ';
    this.leave = null; // called with a line before the cursor leaves it, or something on it is erased
  }
  left() { if (this.leave) this.leave(this.lines[this.y]); }
  row() { return Array.from({ length: this.columns }, () => ({ c: ' ', pen: PLAIN })); }
  blank() { return Array.from({ length: this.rows }, () => this.row()); }
  resize(columns, rows) {
    this.left();
    columns = Math.min(1000, Math.max(1, columns)); rows = Math.min(1000, Math.max(1, rows));
    this.columns = columns;
    while (this.lines.length > rows && this.y < this.lines.length - 1) this.lines.pop();
    while (this.lines.length > rows) { this.lines.shift(); this.y -= 1; }
    this.rows = rows;
    for (const line of this.lines) {
      line.length = Math.min(line.length, columns);
      while (line.length < columns) line.push({ c: ' ', pen: PLAIN });
    }
    while (this.lines.length < rows) this.lines.push(this.row());
    this.top = 0; this.bottom = rows - 1; this.other = null;
    this.move(this.x, this.y);
  }
  move(x, y) {
    if (y !== this.y) this.left();
    this.x = Math.min(this.columns - 1, Math.max(0, x));
    this.y = Math.min(this.rows - 1, Math.max(0, y));
  }
  scroll(n) {
    this.left();
    for (let i = Math.min(Math.abs(n), this.rows); i > 0; i -= 1) {
      const [out, into] = n > 0 ? [this.top, this.bottom] : [this.bottom, this.top];
      this.lines.splice(out, 1);
      this.lines.splice(into, 0, this.row());
    }
  }
  down() { if (this.y === this.bottom) this.scroll(1); else this.move(this.x, this.y + 1); }
  up() { if (this.y === this.top) this.scroll(-1); else this.move(this.x, this.y - 1); }
  print(c) {
    const wide = WIDE.test(c) && this.columns > 1;
    if (this.x + (wide ? 1 : 0) >= this.columns && !JOINED.test(c)) {
      if (this.wrap) { this.x = 0; this.down(); } else this.x = this.columns - (wide ? 2 : 1);
    }
    const line = this.lines[this.y];
    const cell = { c: this.drawing && LINES[c] ? LINES[c] : c, pen: this.pen };
    if (JOINED.test(c) && this.x > 0) {
      const at = this.x > 1 && line[this.x - 1].c === '' ? this.x - 2 : this.x - 1;
      const before = line[at];
      if (before.c.length < 32) line[at] = { c: before.c + c, pen: before.pen };
      return;
    }
    this.last = c;
    const cells = wide ? [cell, { c: '', pen: this.pen }] : [cell];
    line.splice(this.x, this.insert ? 0 : cells.length, ...cells);
    line.length = this.columns;
    this.x += cells.length;
  }
  erase(line, from, to) {
    for (let x = Math.max(0, from); x < Math.min(to, this.columns); x += 1) {
      line[x] = { c: ' ', pen: this.pen.bg === null ? PLAIN : { ...PLAIN, bg: this.pen.bg } };
    }
  }
  write(text, stderr) {
    if (this.pen.stderr !== stderr) this.pen = { ...this.pen, stderr };
    const pattern = /\x1b\[([?!]?[0-9;:]*)([@-~])|\x1b([()])([0AB])|\x1b([78DEM])|([\s\S])/gu;
    for (const m of text.matchAll(pattern)) {
      if (m[2]) this.sequence(m[1], m[2]);
      else if (m[3]) { if (m[3] === '(') this.drawing = m[4] === '0'; } else if (m[5]) this.escape(m[5]);
      else this.character(m[6]);
    }
  }
  character(c) {
    if (c === '\n' || c === '\v' || c === '\f') { if (!this.tty) this.x = 0; this.down(); } else if (c === '\r') this.x = 0;
    else if (c === '\b') this.move(this.x - 1, this.y);
    else if (c === '\t') this.move((Math.floor(this.x / 8) + 1) * 8, this.y);
    else if (c >= ' ') this.print(c);
  }
  escape(c) {
    if (c === '7') this.saved = [this.x, this.y, this.pen];
    else if (c === '8') { this.move(this.saved[0], this.saved[1]); this.pen = this.saved[2]; } else if (c === 'D') this.down();
    else if (c === 'E') { this.x = 0; this.down(); } else if (c === 'M') this.up();
  }
  sequence(parameters, final) {
    if ('JKXPLM'.includes(final)) this.left();
    if (parameters.startsWith('?')) { this.mode(parameters.slice(1), final === 'h'); return; }
    if (parameters.startsWith('!')) { this.pen = PLAIN; this.wrap = true; this.insert = false; this.cursor = true; return; }
    const ns = parameters.split(';').map((p) => parseInt(p, 10) || 0);
    const n = Math.min(Math.max(1, ns[0]), 10000);
    const line = this.lines[this.y];
    const x = Math.min(this.x, this.columns - 1);
    switch (final) {
      case 'A': this.move(x, this.y - n); break;
      case 'B': case 'e': this.move(x, this.y + n); break;
      case 'C': case 'a': this.move(x + n, this.y); break;
      case 'D': this.move(x - n, this.y); break;
      case 'E': this.move(0, this.y + n); break;
      case 'F': this.move(0, this.y - n); break;
      case 'G': case '`': this.move(n - 1, this.y); break;
      case 'd': this.move(x, n - 1); break;
      case 'H': case 'f': this.move((ns[1] || 1) - 1, n - 1); break;
      case 'I': this.move((Math.floor(x / 8) + n) * 8, this.y); break;
      case 'Z': this.move((Math.ceil(x / 8) - n) * 8, this.y); break;
      case 'J':
        if (ns[0] === 0) { this.erase(line, x, this.columns); for (let y = this.y + 1; y < this.rows; y += 1) this.erase(this.lines[y], 0, this.columns); }
        else if (ns[0] === 1) { this.erase(line, 0, x + 1); for (let y = 0; y < this.y; y += 1) this.erase(this.lines[y], 0, this.columns); }
        else for (const every of this.lines) this.erase(every, 0, this.columns);
        break;
      case 'K': this.erase(line, ns[0] === 0 ? x : 0, ns[0] === 1 ? x + 1 : this.columns); break;
      case 'X': this.erase(line, x, x + n); break;
      case 'P': line.splice(x, n); while (line.length < this.columns) line.push({ c: ' ', pen: PLAIN }); break;
      case '@': for (let i = 0; i < Math.min(n, this.columns); i += 1) line.splice(x, 0, { c: ' ', pen: PLAIN }); line.length = this.columns; break;
      case 'L': case 'M': {
        if (this.y < this.top || this.y > this.bottom) break;
        const top = this.top;
        this.top = this.y; this.scroll(final === 'M' ? n : -n); this.top = top;
        break;
      }
      case 'S': this.scroll(n); break;
      case 'T': this.scroll(-n); break;
      case 'b': for (let i = 0; i < n; i += 1) this.print(this.last); break;
      case 'r': {
        const bottom = Math.min(ns[1] || this.rows, this.rows) - 1;
        if (n - 1 < bottom) { this.top = n - 1; this.bottom = bottom; this.move(0, 0); }
        break;
      }
      case 's': this.escape('7'); break;
      case 'u': this.escape('8'); break;
      case 'h': this.insert = true; break;
      case 'l': this.insert = false; break;
      case 'm': this.colour(parameters); break;
      default:
    }
  }
  mode(mode, on) {
    if (mode === '7') this.wrap = on;
    else if (mode === '25') this.cursor = on;
    else if (mode === '47' || mode === '1047' || mode === '1049') {
      if (on && !this.other) { this.other = [this.lines, this.x, this.y]; this.lines = this.blank(); }
      else if (!on && this.other) { this.lines = this.other[0]; this.move(this.other[1], this.other[2]); this.other = null; }
    }
  }
  colour(parameters) {
    const ns = parameters.split(/[;:]/).map((p) => parseInt(p, 10) || 0);
    const pen = { ...this.pen };
    for (let i = 0; i < ns.length; i += 1) {
      const n = ns[i];
      if (n === 0) Object.assign(pen, PLAIN, { stderr: this.pen.stderr });
      else if (n === 1) pen.bold = true;
      else if (n === 22) pen.bold = false;
      else if (n === 4) pen.underline = true;
      else if (n === 24) pen.underline = false;
      else if (n === 7) pen.reverse = true;
      else if (n === 27) pen.reverse = false;
      else if (n === 39) pen.fg = null;
      else if (n === 49) pen.bg = null;
      else if (n >= 30 && n <= 37) pen.fg = BASE[n - 30];
      else if (n >= 40 && n <= 47) pen.bg = BASE[n - 40];
      else if (n >= 90 && n <= 97) pen.fg = BASE[n - 82];
      else if (n >= 100 && n <= 107) pen.bg = BASE[n - 92];
      else if (n === 38 || n === 48) {
        let value = null;
        if (ns[i + 1] === 5) { value = palette(Math.min(ns[i + 2] || 0, 255)); i += 2; }
        else if (ns[i + 1] === 2) { value = `rgb(${ns[i + 2] || 0},${ns[i + 3] || 0},${ns[i + 4] || 0})`; i += 4; }
        if (n === 38) pen.fg = value; else pen.bg = value;
      }
    }
    this.pen = pen;
  }
  text() { return this.lines.map((line) => words(line).trimEnd()).join('\n').trimEnd(); }
}

function apply(screen, [, code, data]) {
  if (code === 'o' || code === 'e') screen.write(data, code === 'e');
  else if (code === 'r') { const [columns, rows] = data.split('x').map(Number); if (columns > 0 && rows > 0) screen.resize(columns, rows); }
}

// When the text came to stand on a line of the screen: the times of the events that put it there.
function search(page, events, text) {
  const screen = new Screen(page.columns, page.rows, page.tty);
  const found = [];
  let here = false;
  screen.leave = (line) => {
    const times = words(line).toLowerCase().split(text).length - 1;
    here = here || times > (line.times || 0);
    line.times = times;
  };
  for (const event of events) {
    here = false;
    apply(screen, event);
    screen.left();
    if (here) found.push(event[0]);
  }
  return found;
}

// The cells of a line that belong to a place with the text.
function hits(line, text) {
  const starts = new Map();
  let joined = '';
  line.forEach((cell, x) => { starts.set(joined.length, x); joined += cell.c.toLowerCase(); });
  const cells = new Set();
  for (let at = joined.indexOf(text); at >= 0; at = joined.indexOf(text, at + text.length)) {
    for (let i = at; i < at + text.length; i += 1) if (starts.has(i)) cells.add(starts.get(i));
  }
  return cells;
}

function start() {
  const page = JSON.parse(document.getElementById('page').textContent);
  const events = JSON.parse(document.getElementById('events').textContent);
  const end = events.length ? events[events.length - 1][0] : 0;
  const make = (name, parent, properties) => parent.appendChild(Object.assign(document.createElement(name), properties));
  const root = document.getElementById('player');
  const view = make('pre', root, { className: 'screen' });
  const bar = make('div', root, { className: 'bar' });
  const play = make('button', bar, { type: 'button', textContent: 'Play' });
  const step = make('button', bar, { type: 'button', textContent: 'Step' });
  const slider = make('input', bar, { type: 'range', min: 0, max: end, step: 'any', value: 0 });
  const clock = make('span', bar, { className: 'time' });
  const speed = make('select', bar, { title: 'Speed' });
  for (const value of [0.5, 1, 2, 4, 16]) make('option', speed, { value, textContent: `${value}×`, selected: value === 1 });
  const idle = make('select', bar, { title: 'Longest pause' });
  for (const [value, name] of [[2, 'pauses ≤ 2 s'], [10, 'pauses ≤ 10 s'], [Infinity, 'all pauses']]) make('option', idle, { value, textContent: name });
  const query = make('input', bar, { type: 'search', placeholder: 'Search', maxLength: 200 });
  const back = make('button', bar, { type: 'button', textContent: '‹', title: 'Match before' });
  const onward = make('button', bar, { type: 'button', textContent: '›', title: 'Next match (n)' });
  const count = make('span', bar, { className: 'time' });
  const marks = make('ul', root, { className: 'note' });
  let screen; let next = 0; let at = 0; let running = false; let before = 0;
  let wanted = ''; let found = [];

  const face = (t) => `${Math.floor(t / 60)}:${String(Math.floor(t % 60)).padStart(2, '0')}`;
  function draw() {
    view.textContent = '';
    screen.lines.forEach((line, y) => {
      let span = null; let pen = null; let hit = false;
      const matching = wanted ? hits(line, wanted) : null;
      line.forEach((cell, x) => {
        const here = screen.cursor && y === screen.y && x === Math.min(screen.x, screen.columns - 1);
        const matches = matching !== null && matching.has(x);
        if (span === null || cell.pen !== pen || here || matches !== hit || span.className.includes('cursor')) {
          pen = cell.pen; hit = matches;
          span = make('span', view, { className: `${pen.stderr ? 'stderr' : ''}${here ? ' cursor' : ''}${hit ? ' hit' : ''}` });
          const [fg, bg] = pen.reverse ? [pen.bg || '#000000', pen.fg || '#d0d0d0'] : [pen.fg, pen.bg];
          if (fg) span.style.color = fg;
          if (bg) span.style.backgroundColor = bg;
          if (pen.bold) span.style.fontWeight = 'bold';
          if (pen.underline) span.style.textDecoration = 'underline';
        }
        span.textContent += cell.c;
      });
      view.append('\n');
    });
    slider.value = at;
    clock.textContent = `${face(at)} / ${face(end)}`;
  }
  function advance(to) {
    while (next < events.length && events[next][0] <= to) { apply(screen, events[next]); next += 1; }
    at = Math.min(to, end);
  }
  function seek(to) {
    if (to < at || !screen) { screen = new Screen(page.columns, page.rows, page.tty); next = 0; }
    advance(to);
    draw();
  }
  function tick(now) {
    if (!running) return;
    let to = at + ((now - before) / 1000) * Number(speed.value);
    before = now;
    if (next < events.length && events[next][0] - at > Number(idle.value)) to = events[next][0] - Number(idle.value);
    advance(to);
    draw();
    if (at >= end) set(false); else requestAnimationFrame(tick);
  }
  function set(on) {
    running = on && events.length > 0;
    play.textContent = running ? 'Pause' : 'Play';
    if (running) {
      if (at >= end) { at = Infinity; seek(0); }
      before = performance.now();
      requestAnimationFrame(tick);
    }
  }
  function look() {
    const text = query.value.toLowerCase();
    if (text !== wanted) { wanted = text; found = text ? search(page, events, text) : []; }
    count.textContent = wanted ? (found.length === 1 ? '1 match' : `${found.length} matches`) : '';
  }
  function go(on) {
    look();
    const to = on ? found.find((time) => time > at) : found.findLast((time) => time < at);
    const there = to === undefined ? (on ? found[0] : found[found.length - 1]) : to;
    if (there === undefined) { draw(); return; }
    set(false); seek(there);
    count.textContent = `${found.indexOf(there) + 1} / ${found.length}`;
  }
  query.addEventListener('change', () => go(true));
  query.addEventListener('input', () => { if (!query.value) { look(); draw(); } });
  back.addEventListener('click', () => go(false));
  onward.addEventListener('click', () => go(true));
  play.addEventListener('click', () => set(!running));
  step.addEventListener('click', () => { set(false); if (next < events.length) seek(events[next][0]); });
  slider.addEventListener('input', () => seek(Number(slider.value)));
  document.addEventListener('keydown', (event) => {
    if (event.target !== document.body) return;
    if (event.key === ' ') { event.preventDefault(); set(!running); }
    else if (event.key === '.') step.click();
    else if (event.key === '/') { event.preventDefault(); query.focus(); }
    else if (event.key === 'n' || event.key === 'N') go(event.key === 'n');
    else if (event.key === 'ArrowLeft') seek(Math.max(0, at - 5));
    else if (event.key === 'ArrowRight') seek(Math.min(end, at + 5));
  });
  for (const [time, code, data] of events) {
    if (code === 'm' || code === 'x') {
      const mark = make('li', marks, {});
      const jump = make('button', mark, { type: 'button', textContent: face(time) });
      jump.addEventListener('click', () => { set(false); seek(time); });
      mark.append(` ${code === 'x' ? `exit code ${data}` : data}`);
    }
  }
  seek(0);
}

if (typeof document !== 'undefined') start();
