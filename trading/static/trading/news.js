/** Announces the outcome of orders to screen readers: politely, and a burst in one sentence. */

import { stateOf, termsOf } from "./rows.js";

const COLLECT_MS = 1_500;
const ANNOUNCED = new Set(["filled", "failed", "error", "canceled", "rejected", "expired"]);

export class News {
  #place = document.getElementById("news");
  #collected = new Map();
  #timer = null;

  add(message) {
    if (!ANNOUNCED.has(message.type)) return;
    this.#collected.set(message.order_id, message.order);
    this.#timer ??= setTimeout(() => this.#tell(), COLLECT_MS);
  }

  #tell() {
    const orders = [...this.#collected.values()];
    this.#collected.clear();
    this.#timer = null;
    this.#place.textContent = orders.length === 1 ? `${termsOf(orders[0])}: ${stateOf(orders[0])}.` : summaryOf(orders);
  }
}

function summaryOf(orders) {
  const counts = new Map();
  for (const order of orders) counts.set(stateOf(order), (counts.get(stateOf(order)) ?? 0) + 1);
  const parts = [...counts].map(([state, count]) => `${count} ${state.replaceAll("_", " ")}`);
  return `Orders: ${parts.join(", ")}.`;
}
