// What both k6 scripts know of the shop: its address, its tokens, a fresh product, and its audit.
import http from 'k6/http';
import exec from 'k6/execution';
import { sleep } from 'k6';
import { findings, judge } from './verdict.js';

export { judge };

export const URL = (__ENV.URL || 'http://127.0.0.1:8080') + '/v1';

// STRATEGY names how the orders' stock is guarded (X-Stock-Strategy, lab mode); without it the service's own is used.
export const STRATEGY = __ENV.STRATEGY || '';

// number reads a setting. k6 would take NaN for "no limit", so a typing error must stop the test.
export function number(name, fallback) {
  const value = Number(__ENV[name] || fallback);
  if (!Number.isInteger(value) || value < 1) {
    throw new Error(`${name} is a whole number of at least 1, not ${__ENV[name]}`);
  }
  return value;
}

function json(token, more) {
  const headers = { 'Content-Type': 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  return { headers: Object.assign(headers, more || {}) };
}

// must returns the answer's body. Where a test cannot go on without it, an exception is right: k6 exits with status 107.
function must(response, ...statuses) {
  if (!statuses.includes(response.status)) {
    throw new Error(`${response.request.method} ${response.url}: ${response.status} ${response.error || response.body}`);
  }
  return response.json();
}

export function login(user, role) {
  return must(http.post(`${URL}/login`, JSON.stringify({ user, role }), json()), 200).token;
}

// product makes a new SKU with units in stock. It is marked for the lab: strategies that oversell work on nothing else.
export function product(admin, prefix, units) {
  const sku = `${prefix}-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6)}`.toUpperCase();
  const made = { sku, title: 'Load test', price_cents: 100, lab: true };
  must(http.post(`${URL}/admin/products`, JSON.stringify(made), json(admin)), 201);
  must(http.put(`${URL}/admin/products/${sku}/layout`, JSON.stringify({ layout: layout(admin) }), json(admin)), 200);
  const inbound = { quantity: units, reference: `load-${sku}`, reason: 'load test' };
  must(http.post(`${URL}/admin/products/${sku}/inbound`, JSON.stringify(inbound), json(admin)), 200);
  return sku;
}

// layout is how stock has to be stored for the strategy that will sell it.
function layout(admin) {
  const known = must(http.get(`${URL}/admin/strategies`, json(admin)), 200);
  const found = known.strategies.find((s) => s.name === (STRATEGY || known.default));
  if (!found) exec.test.abort(`there is no strategy ${STRATEGY}; there are: ${known.strategies.map((s) => s.name).join(' ')}`);
  return found.layout;
}

// order sends one order of one unit once. The same key may be sent again: nothing is bought twice.
export function order(token, key, sku) {
  const headers = { 'Idempotency-Key': key };
  if (STRATEGY) headers['X-Stock-Strategy'] = STRATEGY;
  return http.post(`${URL}/orders`, JSON.stringify({ items: [{ sku, quantity: 1 }] }), Object.assign(json(token, headers), { timeout: '60s' }));
}

// buy asks until there is a decision, as a good client does: the same key again after an error, a look at the order after
// a 202, and a new order when the shop has given this one up (too busy: nobody knew in time what became of it). It returns
// 'placed', 'sold_out', 'refused', or 'undecided' after the patience is over.
export function buy(token, key, sku, seconds) {
  const end = Date.now() + seconds * 1000;
  let answer;
  let orders = 1;
  do {
    answer = order(token, `${key}-${orders}`, sku);
    const outcome = answer.status === 202 ? follow(token, answer.json('order_no'), end) : decided(answer);
    if (outcome === 'ended') {
      orders += 1;
      sleep(1); // its unit is on its way back
    } else if (outcome) {
      return outcome;
    }
    sleep(answer.status === 429 ? retryAfter(answer) : 0.05 + Math.random() * 0.2);
  } while (Date.now() < end);
  console.error(`undecided: ${answer.status} ${answer.error || answer.body}`);
  return 'undecided';
}

// retryAfter is how long a refused buyer waits, in seconds: what the shop asks for, spread so that the refused do not
// come back together.
function retryAfter(answer) {
  return (Number(answer.headers['Retry-After']) || 1) * (0.75 + Math.random() * 0.5);
}

// decided returns what an answer means, or nothing when the same key has to be sent again.
function decided(answer) {
  if (answer.status === 201) return 'placed';
  const code = answer.status === 409 ? answer.json('code') : '';
  if (code === 'out_of_stock') return 'sold_out';
  if (code === 'order_ended') return 'ended';
  if (answer.status === 0 || answer.status >= 500 || [408, 409, 429].includes(answer.status)) return '';
  console.error(`refused: ${answer.status} ${answer.body}`);
  return 'refused';
}

function follow(token, orderNo, end) {
  while (Date.now() < end) {
    sleep(0.2);
    const answer = http.get(`${URL}/orders/${orderNo}`, json(token));
    const status = answer.status === 200 ? answer.json('status') : 'PENDING';
    if (status === 'PLACED') return 'placed';
    if (status === 'REJECTED' && answer.json('reason') === 'out_of_stock') return 'sold_out';
    if (status !== 'PENDING') return 'ended';
  }
  return 'undecided';
}

// audit returns the ledger entry of one SKU, what is found about it and its orders, and what Redis has lost for redis-lua:
// once nothing of it is in flight or a violation is found, or after a while as it then is. What is still in flight then is a
// finding. Waiting does not end a violation.
export function audit(admin, sku, seconds) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = http.get(`${URL}/admin/audit`, Object.assign(json(admin), { timeout: '60s' }));
    if (answer.status === 504 && answer.json('code') === 'audit_running' && Date.now() < end) continue; // a long history is being proven
    const report = must(answer, 200);
    const entry = report.skus.find((s) => s.sku === sku);
    if (!entry) throw new Error(`the audit knows nothing of ${sku}`);
    const { violations, unsettled } = findings(report, sku);
    const rest = unsettled.length === 0 && report.unsent === 0;
    if (rest || violations.length > 0 || Date.now() > end) {
      for (const f of violations.concat(unsettled).slice(0, 10)) console.error(`invariant ${f.invariant}: ${f.subject}: ${f.text}`);
      return { entry, found: violations.length + unsettled.length, losses: report.losses || [], lost: (report.lost || []).length };
    }
    sleep(0.5);
  }
}

// unique is different for every virtual user, iteration and run.
export function unique(sku) {
  return `${sku}-${exec.vu.idInTest}-${exec.scenario.iterationInTest}`;
}
