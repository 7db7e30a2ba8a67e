// The console's one script: it keeps the inbox live, says when a question has changed, and starts the player.
// Without it every page works; one reloads by hand.
'use strict';

/** Replaces the live part of the page by what the server says now; nothing of it is put together here. */
async function refresh(live) {
  const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
  if (answer.status === 401) return location.reload();
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('live');
  if (!fresh) return;
  const focused = document.activeElement?.getAttribute?.('href');
  live.replaceChildren(...fresh.childNodes);
  if (focused) [...live.querySelectorAll('a')].find((link) => link.getAttribute('href') === focused)?.focus();
}

/** Follows the news of approvals. */
function follow(element, told) {
  const source = new EventSource(element.dataset.events);
  const title = document.title;
  source.addEventListener('approvals', (event) => {
    const { waiting, state } = JSON.parse(event.data);
    document.title = waiting ? `(${waiting}) ${title}` : title;
    told(state);
  });
  // Whoever is logged out gets no news, and sees the way in; when too many follow, this page tries again.
  source.addEventListener('error', async () => {
    if (source.readyState !== EventSource.CLOSED) return;
    const answer = await fetch(location.href).catch(() => undefined);
    if (answer?.status === 401) return location.reload();
    document.title = title;
    setTimeout(() => follow(element, told), 30_000);
  });
}

const live = document.getElementById('live');
if (live) follow(live, () => refresh(live));

const watched = document.querySelector('[data-watch]');
if (watched?.dataset.events) {
  const known = watched.dataset.watch;
  let open = false;
  follow(watched, (state) => {
    const now = state.split(',').find((each) => each.startsWith(`${watched.dataset.id}:`));
    if (now === known) open = true;
    else if (now || open) document.getElementById('changed').hidden = false;
  });
}

/** Reads a recording for the player. Without a terminal nobody had turned line feeds into new lines. */
function reader(tty) {
  return async (answer) => {
    const [head, ...lines] = (await answer.text()).split('\n');
    const header = JSON.parse(head);
    let time = 0;
    const events = lines.flatMap((line) => {
      try {
        const [at, code, data] = JSON.parse(line);
        time = header.version === 3 ? time + at : at;
        return [[time, code, code === 'o' && !tty ? data.replace(/\r?\n/g, '\r\n') : data]];
      } catch {
        return []; // the last line of a recording that is cut off
      }
    });
    return { cols: header.term?.cols ?? header.width, rows: header.term?.rows ?? header.height, events };
  };
}

// The player's own script comes after this one.
document.addEventListener('DOMContentLoaded', () => {
  const screen = document.getElementById('player');
  if (!screen || !globalThis.AsciinemaPlayer) return;
  const { cast, live: stream, tty } = screen.dataset;
  const source = stream ? { driver: 'eventsource', url: stream } : { url: cast, parser: reader(tty === 'true') };
  AsciinemaPlayer.create(source, screen, { fit: 'width', autoPlay: Boolean(stream), idleTimeLimit: 2 });
});
