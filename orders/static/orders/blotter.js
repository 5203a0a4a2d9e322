/** The blotter: all orders as they move, in a table that stays small and is drawn at most once a frame. */

import { connect } from "./live.js";

const ROWS = 500;
const ORDERS = 5_000;
const READ_AGAIN_MS = 2_000;
// More rows change at once only in a burst, when highlights could not be followed.
const LIT_ROWS = 20;

const root = document.getElementById("blotter");
const find = (id) => document.getElementById(id);

/** The last event of each order, newest order last; at most ORDERS of them. */
const events = new Map();
/** Orders whose rows are out of date. */
const changed = new Set();
/** The rows that are shown, by order. */
const rows = new Map();
let isPaused = false;
let isDrawing = false;
let waiting = 0;
let pace = 0;
let movedWhileReading = null;

function take(event) {
  events.set(event.order_id, event);
  changed.add(event.order_id);
  if (events.size > ORDERS) {
    const [oldest] = events.keys();
    events.delete(oldest);
    changed.delete(oldest);
  }
}

function onEvent(event) {
  take(event);
  movedWhileReading?.add(event.order_id);
  pace += 1;
  if (isPaused) waiting += 1;
  draw();
}

/** Read what happened before the first event. Events that arrive meanwhile are newer. */
async function readLatest() {
  const moved = new Set();
  movedWhileReading = moved;
  try {
    const answer = await fetch(root.dataset.latestUrl, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new TypeError(`The server answered ${answer.status}.`);
    const latest = await answer.json();
    if (movedWhileReading !== moved) return;
    const live = [...moved].map((id) => events.get(id)).filter(Boolean);
    for (const event of latest) take(event);
    // Take the live events again, so that they stay the newest.
    for (const event of live) {
      events.delete(event.order_id);
      take(event);
    }
    movedWhileReading = null;
    drawAll();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    setTimeout(() => movedWhileReading === moved && readLatest(), READ_AGAIN_MS);
  }
}

const stateOf = ({ order }) => order.execution_status ?? order.status;

function termsOf({ order }) {
  const price = order.limit_price === null ? "" : ` at ${order.limit_price}`;
  return `${order.side} ${order.quantity} ${order.instrument}${price}`;
}

function filledOf({ order }) {
  if (order.average_price === null) return "";
  return `${order.filled_quantity} of ${order.quantity} at ${order.average_price.replace(/(\.\d\d\d*?)0+$/, "$1")}`;
}

function matcher() {
  const { text, state, side, instrument, account } = Object.fromEntries(
    [...new FormData(find("filter"))].map(([name, value]) => [name, value.trim().toLowerCase()]),
  );
  return (event) =>
    (!state || stateOf(event) === state) &&
    (!side || event.order.side === side) &&
    event.order.instrument.toLowerCase().startsWith(instrument) &&
    event.account.toLowerCase().startsWith(account) &&
    (!text || textOf(event).includes(text));
}

function textOf(event) {
  const words = [event.order_id, event.client_order_id, event.account, termsOf(event), event.order.error_message ?? ""];
  return words.join(" ").toLowerCase();
}

/** Draw all changes in the next frame. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (!isPaused) drawChanged();
    tell();
  });
}

function drawChanged() {
  const matches = matcher();
  const added = [];
  const isCalm = changed.size <= LIT_ROWS;
  for (const id of changed) {
    const event = events.get(id);
    const row = rows.get(id);
    if (!matches(event)) remove(id);
    else if (row === undefined) added.push(event);
    else {
      fill(row, event);
      if (isCalm) light(row);
    }
  }
  changed.clear();
  // Of a burst, add only the rows that the newer ones do not push out at once.
  root.querySelector("tbody").prepend(...added.slice(-ROWS).reverse().map(newRow));
  for (const id of [...rows.keys()].slice(0, Math.max(0, rows.size - ROWS))) remove(id);
}

/** Redraw the whole table, for another filter for example; also while paused. */
function drawAll() {
  waiting = 0;
  changed.clear();
  rows.clear();
  const newest = [...events.values()].filter(matcher()).slice(-ROWS);
  root.querySelector("tbody").replaceChildren();
  root.querySelector("tbody").prepend(...newest.map(newRow).reverse());
  tell();
}

/** A new row for the top of the table; `rows` keeps insertion order, the lowest row first. */
function newRow(event) {
  const row = root.querySelector("template").content.firstElementChild.cloneNode(true);
  rows.set(event.order_id, row);
  row.querySelector("a").href = root.dataset.orderUrl.replace("00000000-0000-0000-0000-000000000000", event.order_id);
  fill(row, event);
  return row;
}

function remove(id) {
  rows.get(id)?.remove();
  rows.delete(id);
}

function fill(row, event) {
  const shown = {
    moved: event.occurred_at.slice(11, 23),
    account: event.account,
    terms: termsOf(event),
    state: stateOf(event).replaceAll("_", " "),
    filled: filledOf(event),
    event: [event.type.replaceAll("_", " "), event.order.error_message ?? []].flat().join(": "),
  };
  for (const place of row.querySelectorAll("[data-show]")) place.textContent = shown[place.dataset.show];
  // The text may be longer than its column.
  row.lastElementChild.title = shown.event;
  row.querySelector("[data-show=state]").className = `badge badge-${stateOf(event)}`;
  row.dataset.side = event.order.side;
}

function light(row) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
row.animate([{ backgroundColor: "color-mix(in oklch, currentcolor 18%, transparent)" }, {}], 700);
}

function tell() {
  find("waiting").textContent = isPaused ? `Paused; ${waiting} events are waiting.` : "";
  find("shown").textContent = `${rows.size} of the newest ${events.size} orders,`;
}

find("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  waiting = 0;
  find("pause").setAttribute("aria-pressed", isPaused);
  if (!isPaused) drawChanged();
  tell();
});
find("filter").addEventListener("input", drawAll);
find("filter").addEventListener("submit", (event) => event.preventDefault());
// The fields are empty only after this event.
find("filter").addEventListener("reset", () => setTimeout(drawAll));
setInterval(() => {
  find("pace").textContent = pace === 1 ? "1 event a second." : `${pace} events a second.`;
  pace = 0;
}, 1_000);

connect(root.dataset.liveEventsUrl, {
  onEvent,
  onState(state, reason) {
    const texts = { connected: "Live", lost: "Connection lost, connecting again", ended: `No longer live: ${reason}` };
    find("connection").textContent = texts[state];
    find("connection").dataset.state = state;
  },
  onMissed: readLatest,
});
