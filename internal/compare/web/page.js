'use strict';
// Draws one chart for each kind of closed-loop load: the number of callers runs along x, one curve a strategy.
(() => {
  const report = JSON.parse(document.getElementById('data').textContent);
  // Colours that also differ for people who do not tell red from green.
  const colours = ['#999999', '#b07aa1', '#e15759', '#f28e2b', '#edc948', '#4e79a7', '#76b7b2', '#1b9e3e', '#9c755f', '#ff9da7', '#000000'];

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  }

  // kinds groups the closed-loop cells by what stays the same along a curve.
  const kinds = new Map();
  for (const cell of report.cells) {
    if (cell.loop !== 'closed') continue;
    const kind = `${cell.skus === 1 ? 'one SKU' : cell.skus + ' SKUs'}, ${cell.replicas === 1 ? 'one replica' : cell.replicas + ' replicas'}`;
    if (!kinds.has(kind)) kinds.set(kind, []);
    kinds.get(kind).push(cell);
  }

  function chart(target, title, cells, field, unit) {
    const callers = [...new Set(cells.map((c) => c.callers))].sort((a, b) => a - b);
    if (callers.length < 2) return; // a curve of one point says nothing that the table does not
    const data = [callers];
    const series = [{ label: 'callers' }];
    report.strategies.forEach((s, i) => {
      data.push(callers.map((n) => {
        const values = cells.filter((c) => c.strategy === s.name && c.callers === n).map((c) => c[field]);
        return values.length ? median(values) : null;
      }));
      series.push({
        label: s.name + (s.safe ? '' : ' (unsafe)'), stroke: colours[i % colours.length], width: 2,
        dash: s.safe ? undefined : [6, 4], spanGaps: true, points: { size: 6 },
        value: (_, v) => (v === null ? '' : v.toFixed(v < 10 ? 2 : 0)),
      });
    });
    const place = document.createElement('div');
    target.append(place);
    new uPlot({
      title: `${title}: ${unit}`, width: Math.max(420, Math.min(580, target.clientWidth || 580)), height: 340, series,
      scales: { x: { time: false, distr: 3, log: 2 }, y: { distr: 3 } },
      axes: [{ values: (_, ticks) => ticks.map((t) => (callers.includes(t) ? t : '')) }, { size: 70 }],
    }, data, place);
  }

  for (const [kind, cells] of kinds) {
    chart(document.getElementById('throughput'), kind, cells, 'throughput_per_s', 'reservations a second');
    chart(document.getElementById('latency'), kind, cells, 'p99_ms', 'ms');
  }
  document.body.dataset.drawn = document.querySelectorAll('.uplot').length;
})();
