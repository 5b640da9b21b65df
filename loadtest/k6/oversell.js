// Does the shop oversell? BUYERS people ask at once for one unit each of a fresh product with STOCK units; then both
// ledgers are audited. k6 exits with status 99 when an invariant is violated, when the audit did not run, or when a buyer got no answer.
//
//   k6 run -e BUYERS=300 -e STOCK=100 -e STRATEGY=for-update loadtest/k6/oversell.js
//
// The variables have names of their own on purpose: k6 itself reads K6_VUS and its like, and then forgets the scenario.
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { STRATEGY, audit, buy, judge, login, number, product, unique } from './shop.js';

const BUYERS = number('BUYERS', 300);
const STOCK = number('STOCK', 100);
const PATIENCE = number('PATIENCE', 120); // seconds until a buyer, or the audit, gives up

const placed = new Counter('placed');
const soldOut = new Counter('sold_out');
const undecided = new Counter('undecided');
const oversold = new Counter('oversold_units');
const undersold = new Counter('undersold_units');
const mismatch = new Counter('stock_mismatch');
const findings = new Counter('audit_findings'); // violations, and what does not settle, of the product and its orders
const audited = new Counter('audit_ran');

export const options = {
  scenarios: {
    buyers: { executor: 'per-vu-iterations', vus: BUYERS, iterations: 1, maxDuration: `${PATIENCE + 30}s` },
  },
  setupTimeout: '60s',
  teardownTimeout: `${PATIENCE + 60}s`,
  thresholds: {
    oversold_units: ['count==0'],
    undersold_units: ['count==0'],
    stock_mismatch: ['count==0'],
    undecided: ['count==0'],
    audit_findings: ['count==0'],
    audit_ran: ['count==1'], // a threshold on a metric that nobody wrote passes: this one does not
    dropped_iterations: ['count==0'],
    iterations: [`count==${BUYERS}`], // every buyer was there
  },
};

// "Sold out" is an answer, and so is "ask again": not what http_req_failed is for.
http.setResponseCallback(http.expectedStatuses(200, 201, 202, 409, 429, 503));

export function setup() {
  const admin = login('load-admin', 'admin');
  return { admin, sku: product(admin, 'LOAD', STOCK) };
}

export default function ({ sku }) {
  const key = unique(sku);
  const outcome = buy(login(`buyer-${key}`.slice(0, 64), 'buyer'), key, sku, PATIENCE);
  if (outcome === 'placed') placed.add(1);
  else if (outcome === 'sold_out') soldOut.add(1);
  else undecided.add(1);
}

export function teardown({ admin, sku }) {
  const { entry, found: wrong, losses, lost } = audit(admin, sku, PATIENCE);
  const found = judge(entry);
  // Nobody gave anything back, so with more buyers than units every unit must be gone.
  const left = Math.max(0, Math.min(BUYERS, STOCK) - found.promised);
  oversold.add(found.oversold);
  undersold.add(left);
  mismatch.add(found.mismatch);
  findings.add(wrong);
  audited.add(1);
  console.log(`${STRATEGY || 'the configured strategy'}: ${BUYERS} buyers, ${STOCK} units of ${sku}: `
    + `${found.promised} promised, ${found.oversold} oversold, ${left} undersold, counters off by ${found.mismatch}`);
  for (const loss of losses) {
    console.log(`Redis lost ${loss.operations} operations (${loss.units} units) of which MySQL had not heard: ${loss.reason}`);
  }
  if (lost > 0) console.log(`${lost} orders are without stock since then; whoever pays for one is owed a refund`);
}
