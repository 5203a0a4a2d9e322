/**
 * The order ticket. It keeps one client_order_id from the first attempt to the answer, so that neither an impatient click
 * nor a repeat after a lost answer places a second order.
 */

import { call, problemOf, Unanswered } from "./api.js";
import { termsOf } from "./rows.js";

const CHOICES = ["side", "type"];
const TEXTS = ["instrument", "quantity", "limit_price"];
const UNKNOWN_OUTCOME = "The order may or may not have been accepted. Send it again: it will be placed only once.";

export class Ticket {
  #orders;
  #form = document.getElementById("ticket");
  #terms = document.getElementById("ticket-terms");
  #place = document.getElementById("place");
  #sendAgain = document.getElementById("send-again");
  #problem = document.getElementById("ticket-problem");
  #result = document.getElementById("ticket-result");
  /** The order that was sent and is not answered yet. */
  #unanswered = null;
  #isSending = false;

  constructor(orders) {
    this.#orders = orders;
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#sendAgain.addEventListener("click", () => this.#send());
    for (const example of document.querySelectorAll("form.example")) {
      example.addEventListener("submit", (event) => this.#placeExample(event));
    }
    document.addEventListener("click", preventSecondClick, true);
    document.addEventListener("keydown", preventRepeatedEnter, true);
  }

  /** An event told of an order: it may be the one whose answer is missing. */
  recognise(clientOrderId) {
    if (!this.#isSending && this.#unanswered?.client_order_id === clientOrderId) this.#finish(this.#unanswered);
  }

  #submit(event) {
    event.preventDefault();
    if (this.#unanswered === null) this.#begin(new FormData(this.#form));
  }

  #placeExample(event) {
    event.preventDefault();
    if (this.#unanswered !== null) {
      this.#sendAgain.focus();
      return;
    }
    const example = new FormData(event.target);
    for (const name of [...CHOICES, ...TEXTS]) this.#form.elements[name].value = example.get(name);
    this.#begin(example);
  }

  #begin(form) {
    this.#unanswered = orderFrom(form);
    this.#send();
  }

  async #send() {
    if (this.#isSending) return;
    this.#isSending = true;
    this.#place.setAttribute("aria-disabled", "true");
    this.#showErrors({});
    try {
      this.#take(await call("POST", "/orders", this.#unanswered));
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      this.#hold(error.message);
    } finally {
      this.#isSending = false;
      this.#place.removeAttribute("aria-disabled");
    }
  }

  #take(answer) {
    if (answer.status < 300) {
      this.#orders.add(answer.body);
      this.#finish(answer.body);
      return;
    }
    this.#unanswered = null;
    this.#release();
    if (answer.status === 400 || answer.status === 422) this.#showErrors(errorsIn(answer.body));
    else this.#showErrors({ client_order_id: answer.body.client_order_id ?? [problemOf(answer)] });
  }

  /** The outcome is unknown, so lock the ticket until it is known. */
  #hold(reason) {
    if (this.#orders.find(this.#unanswered.client_order_id) !== undefined) {
      this.#finish(this.#unanswered);
      return;
    }
    this.#terms.disabled = true;
    this.#place.hidden = true;
    this.#sendAgain.hidden = false;
    this.#showErrors({ client_order_id: [`${reason} ${UNKNOWN_OUTCOME}`] });
    this.#sendAgain.focus();
  }

  #finish(order) {
    const losesFocus = document.activeElement === this.#sendAgain;
    this.#unanswered = null;
    this.#release();
    this.#form.reset();
    this.#showErrors({});
    this.#result.textContent = `Accepted: ${termsOf({ limit_price: null, ...order })}.`;
    if (losesFocus) this.#form.elements.instrument.focus();
  }

  /** Make the ticket ready for another order. */
  #release() {
    this.#terms.disabled = false;
    this.#place.hidden = false;
    this.#sendAgain.hidden = true;
  }

  /** Show the API's errors at their fields, and focus the first such field. */
  #showErrors(errors) {
    this.#result.textContent = "";
    let first = null;
    for (const name of TEXTS) {
      const [error = ""] = errors[name] ?? [];
      document.getElementById(`${name}-error`).textContent = error;
      const field = this.#form.elements[name];
      if (error) field.setAttribute("aria-invalid", "true");
      else field.removeAttribute("aria-invalid");
      if (error) first ??= field;
    }
    const others = Object.keys(errors).filter((name) => !TEXTS.includes(name));
    this.#problem.textContent = others.flatMap((name) => errors[name]).join(" ");
    this.#problem.hidden = others.length === 0;
    first?.focus();
  }
}

/** The errors by field. A refusal by a halt or a limit also has values for programs, and may concern no field. */
function errorsIn({ code, halted_since, confirmed_at, detail, ...fields }) {
  return detail === undefined ? fields : { ...fields, client_order_id: [detail] };
}

/** The order that the API expects: without empty fields, with the quantity as a number, and with a new id. */
function orderFrom(form) {
  const order = { client_order_id: newId() };
  for (const name of [...CHOICES, ...TEXTS]) if (form.get(name)) order[name] = form.get(name);
  // The page hides the limit price while the type is `market`, so a price left in the field is dropped.
  if (order.type === "market") delete order.limit_price;
  // Anything else, or a number too large to be exact, is sent as typed, and the API refuses it with a reason.
  if (/^[0-9]{1,15}$/.test(order.quantity)) order.quantity = Number(order.quantity);
  return order;
}

/** Random hex, since crypto.randomUUID is missing from pages that another machine serves over plain HTTP. */
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The second click of a double click must not place a second order, however fast the first was answered. */
function preventSecondClick(event) {
  if (event.detail > 1 && event.target.closest("form.example, #place")) event.preventDefault();
}

/** Nor must an Enter key that is held down. */
function preventRepeatedEnter(event) {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
}
