// Runs the page of an HTML export with just enough of a document, moves to its end and prints the screen.
// usage: node player.mjs PAGE.html
import fs from 'node:fs';
import vm from 'node:vm';

const page = fs.readFileSync(process.argv[2], 'utf8');
const between = (from, to) => { const start = page.indexOf(from) + from.length; return page.slice(start, page.indexOf(to, start)); };

class Element {
  constructor(name) { this.name = name; this.children = []; this.own = ''; this.style = {}; this.listeners = {}; this.className = ''; }
  appendChild(child) { this.children.push(child); return child; }
  append(text) { this.children.push(Object.assign(new Element('#text'), { own: text })); }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  // A select has the value of the option that is selected, or of its first.
  get value() { return this.name === 'select' ? (this.children.find((it) => it.selected) ?? this.children[0]).set : this.set; }
  set value(value) { this.set = value; }
  get textContent() { return this.own + this.children.map((child) => child.textContent).join(''); }
  set textContent(text) { this.own = text; this.children = []; }
}

const root = new Element('main');
const data = (id) => ({ textContent: between(`id="${id}">`, '</script>') });
const frames = [];
vm.runInNewContext(between('<script>', '</script>'), {
  document: {
    getElementById: (id) => (id === 'player' ? root : data(id)),
    createElement: (name) => new Element(name),
    addEventListener() {},
  },
  performance: { now: () => 0 },
  requestAnimationFrame: (frame) => frames.push(frame),
});

const find = (name, from = root) => from.children.flatMap((child) => [...(child.name === name ? [child] : []), ...find(name, child)]);
const [slider, query] = find('input');
const screen = () => find('pre')[0].textContent.split('\n').map((line) => line.trimEnd()).join('\n').trimEnd();
const [play, step, back] = find('button');
if (screen() !== '') throw new Error(`something is drawn at the beginning: ${screen()}`);
step.listeners.click();
console.log(`step: ${JSON.stringify(screen())}`);
slider.value = slider.max;
slider.listeners.input();
console.log(`end: ${JSON.stringify(screen())}`);
console.log(`stderr: ${JSON.stringify(find('span').filter((span) => span.className.includes('stderr')).map((span) => span.textContent).join('').trim())}`);
console.log(`marks: ${JSON.stringify(find('li').map((mark) => mark.textContent))}`);
play.listeners.click(); // from the end: plays from the beginning
for (let now = 0; frames.length > 0; now += 20) {
  if (now > 60_000) throw new Error('it does not end');
  frames.shift()(now);
}
console.log(`played: ${JSON.stringify(screen())} ${play.textContent}`);
for (const text of ['RED', 'f', 'nowhere']) {
  query.value = text;
  query.listeners.change();
  back.listeners.click();
  const hits = find('span').filter((span) => span.className.includes('hit')).map((span) => span.textContent);
  console.log(`search ${text}: ${find('span', find('div')[0]).map((span) => span.textContent).join(', ')} ${JSON.stringify(hits)}`);
}
