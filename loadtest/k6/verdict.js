// How a load test judges the audit's report. It uses nothing of k6, so that it can be tested without it.

// concerning returns the findings about a SKU: about its stock, about an order or a reservation of it, and about what may be
// anything's. Those of other SKUs do not count: a run with a strategy that oversells must not spoil the next one.
function concerning(findings, sku) {
  return (findings || []).filter((f) => !f.skus || f.skus.length === 0 || f.skus.includes(sku));
}

// findings returns what is wrong about a SKU, and what work in flight still explains.
export function findings(report, sku) {
  return { violations: concerning(report.violations, sku), unsettled: concerning(report.unsettled, sku) };
}

// judge turns a ledger entry into the three figures that must be zero.
export function judge(entry) {
  const promised = entry.lines_reserved + entry.lines_confirmed;
  return {
    promised,
    oversold: Math.max(0, promised - entry.inbound),
    // The counters and the lines are written by different statements: a lost update shows as a difference.
    mismatch: Math.abs(entry.inbound - entry.available - entry.reserved - entry.sold)
      + Math.abs(entry.reserved - entry.lines_reserved) + Math.abs(entry.sold - entry.lines_confirmed),
  };
}
