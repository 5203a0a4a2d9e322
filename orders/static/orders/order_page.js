// The page of one order: refreshed at each of its events, and every few seconds while there is no live connection.
import { connect } from "./live.js";
import { Fragment } from "./refresh.js";

const POLL_MS = 3_000;
const order = document.getElementById("order-state");
const connection = document.getElementById("connection");

const fragment = new Fragment(order, order.dataset.url, {
  onFresh: () => order.classList.remove("desk-stale"),
  onStale: () => order.classList.add("desk-stale"),
});

const STATE_TEXTS = { connected: "Live", lost: "Connection lost, refreshing every 3 s", ended: "Refreshing every 3 s" };

connect(order.dataset.liveEvents, {
  onEvent(message) {
    if (message.order_id === order.dataset.order) fragment.refresh();
  },
  onState(state) {
    connection.textContent = STATE_TEXTS[state];
    connection.dataset.state = state;
    if (state === "connected") fragment.stop();
    else fragment.every(POLL_MS);
  },
  onMissed: () => fragment.refresh(),
});
