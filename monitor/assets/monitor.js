// Keeps the page up to date: the monitor sends an event when something has changed, and
// this fetches the page anew and carries what has changed over into the one that is shown,
// so that nothing jumps, and focus and selection stay. Where there is no stream of events
// it asks every two seconds. Without it the page reloads itself.
'use strict';
(() => {
  const every = 2000, timeout = 20000, events = document.currentScript.dataset.events;
  const live = document.getElementById('live');
  const word = live.querySelector('.word');

  // say shows how it stands; the words change only when the state does or for the clock.
  const say = (state, text) => {
    live.dataset.state = state;
    if (word.textContent !== text) word.textContent = text;
  };

  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName;

  // carry makes old look like fresh with as few changes as it can.
  const carry = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const news = [...fresh.childNodes];
    const olds = [...old.childNodes].filter(node => !node.classList?.contains('plot')); // drawn by charts.js
    news.forEach((node, i) => {
      const there = olds[i];
      if (!there) old.append(document.importNode(node, true));
      else if (alike(there, node)) carry(there, node);
      else there.replaceWith(document.importNode(node, true));
    });
    olds.slice(news.length).forEach(node => node.remove());
  };

  // busy: somebody marks text on the page, to copy it, or fills in a form.
  const busy = () => {
    const main = document.getElementById('main');
    const s = document.getSelection();
    const at = document.activeElement;
    return s && !s.isCollapsed && main.contains(s.anchorNode) || main.contains(at) && at.matches('input, select, textarea');
  };

  let asking = false;
  const refresh = async () => {
    if (document.hidden || asking || busy()) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(timeout) });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const main = page.getElementById('main');
      if (!answer.ok || !main) {
        say('lost', answer.status === 503 ? 'the database does not answer' : 'no answer (' + answer.status + ')');
      } else if (!busy()) {
        carry(document.getElementById('main'), main);
        document.dispatchEvent(new Event('carried'));
        document.title = page.title;
        say('live', page.querySelector('#live .word').textContent);
      }
    } catch {
      say('lost', 'the monitor does not answer');
    } finally {
      asking = false;
    }
  };

  // A page that nobody sees has no stream: a browser has few connections to a host.
  let stream;
  const listen = () => {
    if (document.hidden) {
      stream?.close();
      stream = undefined;
    } else if (!stream || stream.readyState === EventSource.CLOSED) {
      stream = new EventSource(events);
      stream.addEventListener('change', refresh);
    }
  };
  document.addEventListener('visibilitychange', () => { listen(); refresh(); });
  addEventListener('pagehide', () => stream?.close());
  listen();
  let since = 0;
  setInterval(() => {
    if (stream?.readyState === EventSource.OPEN) return;
    refresh();
    if (++since % 10 === 0) listen();
  }, every);
})();
