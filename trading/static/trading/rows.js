/** The rows of the page's table; `trading/rows.py` writes the same words when the server renders the page. */

const TONES = {
  pending: "waiting",
  filled: "done",
  canceled: "stopped",
  expired: "stopped",
  failed: "trouble",
  error: "trouble",
  rejected: "trouble",
};
const NOTHING_TO_CANCEL = new Set(["canceled", "filled", "rejected", "expired"]);

export function termsOf(order) {
  const side = order.side[0].toUpperCase() + order.side.slice(1);
  return `${side} ${order.quantity} ${order.instrument}${order.limit_price === null ? "" : ` at ${order.limit_price}`}`;
}

export function stateOf(order) {
  return order.execution_status ?? order.status;
}

function filledOf(order) {
  if (order.status !== "completed") return "";
  const text = `${order.filled_quantity} of ${order.quantity}`;
  // At least two decimals, as in a price, and no zeros after those.
  return order.average_price === null ? text : `${text} at ${order.average_price.replace(/(\.\d\d\d*?)0+$/, "$1")}`;
}

export function newRow() {
  return document.getElementById("order-row").content.firstElementChild.cloneNode(true);
}

/** Show `order`, as the API describes it, in a row of the table. */
export function fillRow(row, order) {
  const state = stateOf(order);
  // An order that limits refused was never accepted.
  const isOver = NOTHING_TO_CANCEL.has(state) || (state === "failed" && order.error_code === "refused_by_limits");
  const isCanceling = order.cancel_requested_at !== null && !isOver;
  const shown = {
    terms: termsOf(order),
    which: ` ${termsOf(order)}`,
    created: order.created_at.slice(0, 19).replace("T", " "),
    state: isCanceling ? "cancel requested" : state.replaceAll("_", " "),
    problem: order.error_message ?? "",
    filled: filledOf(order),
  };
  for (const place of row.querySelectorAll("[data-show]")) {
    // Write only what changed, so that neither a selection nor a screen reader's position is lost.
    if (place.textContent !== shown[place.dataset.show]) place.textContent = shown[place.dataset.show];
  }
  row.dataset.id = order.id;
  row.querySelector("time").dateTime = order.created_at;
  row.querySelector("[data-show=state]").dataset.tone = TONES[state] ?? "working";
  Object.assign(row.querySelector("progress"), { max: order.quantity, value: order.filled_quantity });
  const cancel = row.querySelector("form.cancel");
  cancel.action = `/cancel/${order.id}`;
  cancel.hidden = isCanceling || isOver;
}
