// How long does an order take at a steady rate? An open model: RATE orders a second arrive whether or not earlier ones are
// done, as customers do; a closed loop would slow down with the shop and hide its queue. SKUS products share the load, and
// there is stock for all, so that a refusal is a failure. k6 exits with status 99 when the latency is above P95_MS, when an order
// fails, when k6 itself could not keep up (dropped_iterations), or when the audit finds a violation.
//
//   k6 run -e RATE=50 -e DURATION=30 -e STRATEGY=group-commit loadtest/k6/steady.js
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';
import { STRATEGY, audit, judge, login, number, order, product, unique } from './shop.js';

const RATE = number('RATE', 50); // orders a second
const DURATION = number('DURATION', 30); // seconds
const SKUS = number('SKUS', 10);
const P95_MS = number('P95_MS', 1000);

const latency = new Trend('order_ms', true);
const failed = new Counter('failed_orders');
const oversold = new Counter('oversold_units');
const mismatch = new Counter('stock_mismatch');
const findings = new Counter('audit_findings'); // violations, and what does not settle, of the products and their orders
const audited = new Counter('audit_ran');

export const options = {
  scenarios: {
    steady: {
      executor: 'constant-arrival-rate', rate: RATE, timeUnit: '1s', duration: `${DURATION}s`,
      preAllocatedVUs: Math.min(2 * RATE, 500), maxVUs: Math.min(10 * RATE, 2000),
    },
  },
  setupTimeout: '120s',
  teardownTimeout: '180s',
  thresholds: {
    order_ms: [`p(95)<${P95_MS}`],
    failed_orders: ['count==0'],
    oversold_units: ['count==0'],
    stock_mismatch: ['count==0'],
    audit_findings: ['count==0'],
    audit_ran: [`count==${SKUS}`],
    dropped_iterations: ['count==0'],
  },
};

http.setResponseCallback(http.expectedStatuses(200, 201));

export function setup() {
  const admin = login('load-admin', 'admin');
  const skus = [];
  for (let i = 0; i < SKUS; i++) skus.push(product(admin, 'STEADY', RATE * DURATION + RATE));
  return { admin, skus, buyer: login('steady-buyer', 'buyer') };
}

export default function ({ buyer, skus }) {
  const sku = skus[Math.floor(Math.random() * skus.length)];
  const answer = order(buyer, unique(sku), sku);
  latency.add(answer.timings.duration);
  if (answer.status !== 201) {
    failed.add(1);
    console.error(`order: ${answer.status} ${answer.error || answer.body}`);
  }
}

export function teardown({ admin, skus }) {
  let promised = 0;
  for (const sku of skus) {
    const { entry, found: wrong } = audit(admin, sku, 60);
    const found = judge(entry);
    promised += found.promised;
    oversold.add(found.oversold);
    mismatch.add(found.mismatch);
    findings.add(wrong);
    audited.add(1);
  }
  console.log(`${STRATEGY || 'the configured strategy'}: ${promised} units promised at ${RATE} orders a second over ${SKUS} products`);
}
