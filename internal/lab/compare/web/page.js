'use strict';
// Draws one chart for each kind of closed-loop load, one curve for each strategy. The x axis shows callers, or units per order.
(() => {
  const report = JSON.parse(document.getElementById('data').textContent);
  // Colours that are also distinct with red-green blindness.
  const colours = ['#999999', '#b07aa1', '#e15759', '#f28e2b', '#edc948', '#4e79a7', '#76b7b2', '#1b9e3e', '#9c755f', '#ff9da7', '#000000'];

  function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  }

  const units = (cell) => cell.units || 1;
  const goods = (cell) => `${cell.skus === 1 ? 'one SKU' : cell.skus + ' SKUs'}, ${cell.replicas === 1 ? 'one replica' : cell.replicas + ' replicas'}`;

  // groupBy groups the closed-loop cells that belong to one curve.
  function groupBy(name) {
    const groups = new Map();
    for (const cell of report.cells) {
      const group = cell.loop === 'closed' ? name(cell) : null;
      if (group === null) continue;
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(cell);
    }
    return groups;
  }

  function chart(target, title, cells, x, along, field, unit) {
    const ticksAt = [...new Set(cells.map(x))].sort((a, b) => a - b);
    if (ticksAt.length < 2) return; // the table already shows a single point
    const data = [ticksAt];
    const series = [{ label: along }];
    report.strategies.forEach((s, i) => {
      data.push(ticksAt.map((n) => {
        const values = cells.filter((c) => c.strategy === s.name && x(c) === n).map((c) => c[field]);
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
      axes: [{ values: (_, ticks) => ticks.map((t) => (ticksAt.includes(t) ? t : '')) }, { size: 70 }],
    }, data, place);
  }

  const throughput = document.getElementById('throughput');
  for (const [kind, cells] of groupBy((c) => (units(c) === 1 ? goods(c) : null))) {
    chart(throughput, kind, cells, (c) => c.callers, 'callers', 'throughput_per_s', 'reservations per second');
    chart(document.getElementById('latency'), kind, cells, (c) => c.callers, 'callers', 'p99_ms', 'ms');
  }
  for (const [kind, cells] of groupBy((c) => `${goods(c)}, ${c.callers} callers, units per order`)) {
    chart(throughput, kind, cells, units, 'units per order', 'throughput_per_s', 'reservations per second');
  }
  document.body.dataset.drawn = document.querySelectorAll('.uplot').length;
})();
