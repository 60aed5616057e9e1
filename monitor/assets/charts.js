// Draws the charts of a page with uPlot, in place of the pictures that the server has drawn of the
// same figures: with a cursor, which arrow keys move, and a zoom, which a double click ends.
'use strict';
(() => {
  const height = 150;
  const number = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });
  const money = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD', maximumSignificantDigits: 4 });
  const words = {
    jobs: v => number.format(v),
    usd: v => money.format(v),
    ms: v => v < 1000 ? number.format(v) + ' ms' : number.format(v / 1000) + ' s',
  };
  const utc = { timeZone: 'UTC' };
  const clock = step => new Intl.DateTimeFormat('en-GB', step >= 86400 ? { dateStyle: 'medium', ...utc } : step >= 3600 ? { dateStyle: 'medium', timeStyle: 'short', ...utc } : { timeStyle: 'short', ...utc });

  const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', ...utc }), time = clock(60);

  const drawn = new Map(); // by figure

  const figures = plot => {
    const times = plot.lines[0].values.map((_, i) => plot.from + i * plot.step);
    return [times, ...plot.lines.map(line => line.values)];
  };

  // make draws a figure for the first time, or in other colours.
  const make = (figure, plot) => {
    const style = getComputedStyle(figure), colour = name => style.getPropertyValue('--' + name).trim();
    const say = v => v == null ? '–' : words[plot.unit](v), when = clock(plot.step);
    const axis = { stroke: colour('soft'), font: '11px ' + style.fontFamily, grid: { stroke: colour('line'), width: 1 }, ticks: { show: false } };
    const place = document.createElement('div');
    place.className = 'plot';
    place.setAttribute('aria-hidden', 'true'); // the picture below it says the same
    figure.append(place);
    return new uPlot({
      width: Math.max(figure.clientWidth - 28, 200), height,
      tzDate: at => uPlot.tzDate(new Date(at * 1e3), 'Etc/UTC'),
      cursor: { y: false, points: { size: 7 } },
      scales: { y: { range: (_, min, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [{ ...axis, size: 28, values: (_, list) => list.map(at => (at % 86400 ? time : day).format(new Date(at * 1e3))) }, { ...axis, size: 62, space: 34, values: (_, list) => list.map(say) }],
      series: [
        { label: 'UTC', value: (_, at) => at == null ? '' : when.format(new Date(at * 1e3)) },
        ...plot.lines.map(line => ({
          label: line.name, stroke: colour(line.class), width: 1.5, value: (_, v) => say(v), points: plot.unit === 'ms' ? { show: true, size: 4 } : { show: plot.bars ? false : undefined },
          fill: plot.bars ? colour(line.class) : undefined, paths: plot.bars ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
        })),
      ],
    }, figures(plot), place);
  };

  const draw = figure => {
    const text = figure.dataset.plot, known = drawn.get(figure);
    if (known?.text === text) return;
    const plot = JSON.parse(text);
    if (!plot.lines?.length) return;
    const shape = plot.lines.map(line => line.name).join();
    if (known?.shape === shape) {
      const { min, max } = known.u.scales.x, times = known.u.data[0];
      known.text = text;
      known.u.setData(figures(plot), min <= times[0] && max >= times.at(-1)); // a zoom stays
      return;
    }
    known?.u.root.parentNode.remove();
    known?.u.destroy();
    drawn.set(figure, { text, shape, u: make(figure, plot) });
  };

  const all = () => {
    for (const [figure, { u }] of drawn) if (!figure.isConnected) { u.destroy(); drawn.delete(figure); }
    document.querySelectorAll('figure[data-plot]').forEach(draw);
  };
  const anew = () => {
    for (const { u } of drawn.values()) { u.root.parentNode.remove(); u.destroy(); }
    drawn.clear();
    all();
  };
  document.addEventListener('carried', all);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', anew);
  addEventListener('resize', () => {
    for (const [figure, { u }] of drawn) u.setSize({ width: Math.max(figure.clientWidth - 28, 200), height });
  });
  document.addEventListener('keydown', e => {
    const u = drawn.get(e.target)?.u, step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!u || !step) return;
    e.preventDefault();
    const last = u.data[0].length - 1, at = Math.min(Math.max((u.cursor.idx ?? (step < 0 ? last + 1 : -1)) + step, 0), last);
    u.setCursor({ left: u.valToPos(u.data[0][at], 'x'), top: 0 });
  });
  all();
})();
