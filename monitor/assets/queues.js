// Leads from a task that asynqmon shows to the job that it carries, or to its jobs: asynqmon
// changes the address by itself, and tells nobody.
'use strict';
(() => {
  const link = document.getElementById('oneflow');
  const home = link.getAttribute('href'), words = link.textContent;
  const follow = () => {
    const task = location.pathname.match(/\/asynqmon\/queues\/([^/]+)\/tasks\/([^/]+)\/?$/);
    const href = task ? home + 'tasks/' + task[1] + '/' + task[2] : home;
    if (link.getAttribute('href') === href) return;
    link.setAttribute('href', href);
    link.textContent = task ? '← Its jobs in OneFlow' : words;
  };
  follow();
  setInterval(follow, 500);
})();
