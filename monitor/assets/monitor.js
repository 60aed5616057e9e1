// Keeps the page up to date: fetches it anew every two seconds and carries what
// has changed over into the one that is shown, so that nothing jumps, and focus
// and selection stay. Without it the page reloads itself.
'use strict';
(() => {
  const every = 2000, patience = 20000;
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
    news.forEach((node, i) => {
      const there = old.childNodes[i];
      if (!there) old.append(document.importNode(node, true));
      else if (alike(there, node)) carry(there, node);
      else there.replaceWith(document.importNode(node, true));
    });
    while (old.childNodes.length > news.length) old.lastChild.remove();
  };

  // selecting: somebody marks text on the page, to copy it.
  const selecting = () => {
    const s = document.getSelection();
    return s && !s.isCollapsed && document.getElementById('main').contains(s.anchorNode);
  };

  const refresh = async () => {
    if (document.hidden || selecting()) return;
    try {
      const answer = await fetch(location.href, { cache: 'no-store', signal: AbortSignal.timeout(patience) });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const main = page.getElementById('main');
      if (!answer.ok || !main) {
        say('lost', answer.status === 503 ? 'the database does not answer' : 'no answer (' + answer.status + ')');
        return;
      }
      if (selecting()) return;
      carry(document.getElementById('main'), main);
      document.title = page.title;
      say('live', page.querySelector('#live .word').textContent);
    } catch {
      say('lost', 'the monitor does not answer');
    }
  };

  const loop = async () => {
    await refresh();
    setTimeout(loop, every);
  };
  document.addEventListener('visibilitychange', refresh);
  setTimeout(loop, every);
})();
