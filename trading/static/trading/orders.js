/** The account's orders: read from the API, and kept up to date by its live events. */

import { call, problemOf, Unanswered } from "./api.js";
import { fillRow, newRow } from "./rows.js";

const READ_AGAIN_MS = 2_000;
const MAX_ROWS = 500;
// What these events say of a cancel that is under way is not in the order that they carry.
const CANCEL_EVENTS = { cancel_requested: true, pending_cancel: true, cancel_rejected: false, canceled: false };

export class OrderList {
  #orders = new Map();
  #rows = new Map();
  #body = document.getElementById("orders");
  #older = document.getElementById("older");
  #problem = document.getElementById("orders-problem");
  #reading = null;
  /** Events that came while the list was being read, which the answer may not contain yet. */
  #waiting = [];

  constructor() {
    this.#body.addEventListener("submit", (event) => this.#cancel(event));
    this.#older.addEventListener("click", (event) => this.#readOlder(event));
  }

  /** Read the newest orders, however often it takes, and show them instead of what is there. */
  async read() {
    const reading = Symbol("reading");
    this.#reading = reading;
    let answer = null;
    while (answer === null) {
      // Whatever happened before a request is in its answer.
      this.#waiting = [];
      answer = await this.#ask("/orders");
      if (this.#reading !== reading) return;
      if (answer === null) await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS));
    }
    this.#reading = null;
    this.#orders.clear();
    this.#rows.clear();
    const focused = this.#body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.id : null;
    this.#body.replaceChildren();
    document.getElementById("newest")?.remove();
    this.#append(answer);
    this.#rows.get(focused)?.querySelector("button").focus();
    for (const message of this.#waiting.splice(0)) this.apply(message);
  }

  /** Show what an event says. */
  apply(message) {
    if (this.#reading !== null) {
      this.#waiting.push(message);
      return;
    }
    const known = this.#orders.get(message.order_id);
    if (known === undefined) {
      // Any other unknown order is older than what is shown.
      if (message.type === "accepted") this.add(orderOf(message));
      return;
    }
    Object.assign(known, message.order);
    if (message.type in CANCEL_EVENTS) known.cancel_requested_at = CANCEL_EVENTS[message.type] ? message.occurred_at : null;
    this.#show(known);
  }

  /** Show a new order on top, unless it is there: then its events know better. */
  add(order) {
    if (this.#orders.has(order.id)) return;
    const row = newRow();
    // Ids grow with time (UUIDv7), and events of different orders may come in any order.
    const next = [...this.#body.rows].find((other) => other.dataset.id < order.id) ?? null;
    this.#body.insertBefore(row, next);
    this.#know(order, row);
    // Begin with one page again, rather than grow with every order as long as the page is open.
    if (this.#orders.size > MAX_ROWS) this.read();
  }

  find(clientOrderId) {
    return [...this.#orders.values()].find((order) => order.client_order_id === clientOrderId);
  }

  #append({ results, next }) {
    for (const order of results) {
      if (!this.#orders.has(order.id)) this.#know(order, this.#body.appendChild(newRow()));
    }
    this.#older.hidden = next === null;
    // Without the host, which a proxy may know under another name.
    if (next !== null) this.#older.dataset.next = next.slice(new URL(next).origin.length);
    document.getElementById("no-orders").hidden = this.#orders.size > 0;
  }

  #know(order, row) {
    this.#orders.set(order.id, order);
    this.#rows.set(order.id, row);
    fillRow(row, order);
    document.getElementById("no-orders").hidden = true;
  }

  #show(order) {
    const row = this.#rows.get(order.id);
    const hadFocus = row.contains(document.activeElement);
    fillRow(row, order);
    // The button that was about to be pressed is gone; the focus must not start again at the top of the page.
    if (hadFocus && !row.querySelector("form").checkVisibility()) document.getElementById("orders-title").focus();
  }

  async #readOlder(event) {
    if (this.#older.dataset.next === undefined) return; // A plain link as long as the list was never read.
    event.preventDefault();
    const last = this.#body.lastElementChild;
    const answer = await this.#ask(this.#older.dataset.next);
    if (answer === null || this.#reading !== null) return;
    this.#append(answer);
    if (this.#older.hidden) last.nextElementSibling?.querySelector("button").focus();
  }

  async #cancel(event) {
    event.preventDefault();
    const id = event.target.closest("tr").dataset.id;
    const button = event.target.querySelector("button");
    if (button.ariaDisabled) return;
    // Not `disabled`, which would take the focus away.
    button.ariaDisabled = "true";
    try {
      const answer = await call("POST", `/orders/${id}/cancel`);
      this.#tell(answer.status < 300 ? "" : problemOf(answer));
      const order = this.#orders.get(id);
      if (answer.status < 300 && order !== undefined) {
        // All else may be known better from events that were faster than this answer.
        if (answer.body.status === "canceled") order.status = "canceled";
        order.cancel_requested_at = answer.body.cancel_requested_at;
        this.#show(order);
      }
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      this.#tell(`${error.message} The order may be canceled or not: cancel it again, which does no harm.`);
    }
    button.ariaDisabled = null;
  }

  /** The body of a list's answer, or null when there is none; then the page says why. */
  async #ask(path) {
    try {
      const answer = await call("GET", path);
      this.#tell(answer.status === 200 ? "" : problemOf(answer));
      return answer.status === 200 ? answer.body : null;
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      this.#tell(`${error.message} The orders cannot be read at the moment.`);
      return null;
    }
  }

  #tell(problem) {
    this.#problem.textContent = problem;
    this.#problem.hidden = problem === "";
  }
}

/** The order that an `accepted` event tells of, as the API describes it. */
function orderOf(message) {
  return {
    id: message.order_id,
    client_order_id: message.client_order_id,
    created_at: message.occurred_at,
    cancel_requested_at: null,
    ...message.order,
  };
}
