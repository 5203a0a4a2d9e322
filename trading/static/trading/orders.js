/** The account's orders: read from the API, and kept up to date by its live events. */

import { call, problemOf, Unanswered } from "./api.js";
import { fillRow, newRow } from "./rows.js";

const READ_AGAIN_MS = 2_000;
const MAX_ROWS = 500;
// The order in these events does not say whether a cancel is under way; their type does.
const CANCEL_EVENTS = { cancel_requested: true, pending_cancel: true, cancel_rejected: false, canceled: false };

export class OrderList {
  #orders = new Map();
  #rows = new Map();
  #body = document.getElementById("orders");
  #older = document.getElementById("older");
  #problem = document.getElementById("orders-problem");
  #reading = null;
  /** Events that arrived while the list was being read, which the answer may not contain yet. */
  #waiting = [];

  constructor() {
    this.#body.addEventListener("submit", (event) => this.#cancel(event));
    this.#older.addEventListener("click", (event) => this.#readOlder(event));
  }

  /** Read the newest orders, retrying until it succeeds, and replace the rows with them. */
  async read() {
    const reading = Symbol("reading");
    this.#reading = reading;
    let answer = null;
    while (answer === null) {
      // The answer contains everything that happened before its request.
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

  /** Apply an event. */
  apply(message) {
    if (this.#reading !== null) {
      this.#waiting.push(message);
      return;
    }
    const known = this.#orders.get(message.order_id);
    if (known === undefined) {
      // Any other unknown order is older than the rows shown.
      if (message.type === "accepted") this.add(orderOf(message));
      return;
    }
    Object.assign(known, message.order);
    if (message.type in CANCEL_EVENTS) known.cancel_requested_at = CANCEL_EVENTS[message.type] ? message.occurred_at : null;
    this.#show(known);
  }

  /** Show a new order on top, unless it is there already: then its events are newer. */
  add(order) {
    if (this.#orders.has(order.id)) return;
    const row = newRow();
    // Ids grow with time (UUIDv7), and events of different orders may come in any order.
    const next = [...this.#body.rows].find((other) => other.dataset.id < order.id) ?? null;
    this.#body.insertBefore(row, next);
    this.#know(order, row);
    // Start again with one page, so that the list does not grow for as long as the page is open.
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
    // Without the host: a proxy may use another name for it.
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
    // The focused button is hidden now; without this the focus would return to the top of the page.
    if (hadFocus && !row.querySelector("form").checkVisibility()) document.getElementById("orders-title").focus();
  }

  async #readOlder(event) {
    if (this.#older.dataset.next === undefined) return; // A plain link until the list has been read once.
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
        // For everything else, events that overtook this answer may be newer.
        if (answer.body.status === "canceled") order.status = "canceled";
        order.cancel_requested_at = answer.body.cancel_requested_at;
        this.#show(order);
      }
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      this.#tell(`${error.message} The order may or may not be canceled. It is safe to cancel it again.`);
    }
    button.ariaDisabled = null;
  }

  /** The body of a list's answer. Null if it fails; then the page shows why. */
  async #ask(path) {
    try {
      const answer = await call("GET", path);
      this.#tell(answer.status === 200 ? "" : problemOf(answer));
      return answer.status === 200 ? answer.body : null;
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      this.#tell(`${error.message} The orders cannot be loaded right now.`);
      return null;
    }
  }

  #tell(problem) {
    this.#problem.textContent = problem;
    this.#problem.hidden = problem === "";
  }
}

/** The order of an `accepted` event, in the API's form. */
function orderOf(message) {
  return {
    id: message.order_id,
    client_order_id: message.client_order_id,
    created_at: message.occurred_at,
    cancel_requested_at: null,
    ...message.order,
  };
}
