/**
 * Live order events over the notification service's WebSocket, for as long as the page is open.
 *
 *     import { connect } from "./live.js";
 *
 *     connect("ws://localhost:8001/ws/orders", {
 *       onEvent(message) {},        // one event, as in docs/notifications.md; each event_id once
 *       onState(state, reason) {},  // "connected"; "lost": it keeps trying; "ended": it gave up, and `reason` says why
 *       onMissed(hello) {},         // events may have been missed: read the current state now
 *     });
 *
 * All callbacks are optional. `onMissed` is called when the first connection is made: no event tells what happened between
 * the rendering of the page and that moment. A lost connection is made again after a growing random pause, and resumed
 * after the last event, so that nothing is missed. If the service cannot resume from there, `onMissed` is called again.
 */

const PAUSE_BASE_MS = 500;
const PAUSE_CAP_MS = 30_000;
const GREETING_MS = 10_000;
const SILENT_HEARTBEATS = 3;
const REMEMBERED_EVENTS = 1_000;
// Trying again would not help: a page of another origin, an ended session, a wrong address.
const FINAL_CODES = new Set([4400, 4401, 4403]);
// The service cannot send the events since `after`.
const CANNOT_RESUME_CODES = new Set([4404, 4409]);

const ignore = () => {};

export function connect(url, { onEvent = ignore, onState = ignore, onMissed = ignore } = {}) {
  new Connection(url, { onEvent, onState, onMissed });
}

class Connection {
  #url;
  #callbacks;
  #after = null;
  #socket = null;
  #state = null;
  #failures = 0;
  #seen = new Set();
  #silence = null;
  #silenceMs = GREETING_MS;
  #pause = null;
  #retryNow = () => this.#pause !== null && !document.hidden && this.#open();

  constructor(url, callbacks) {
    this.#url = url;
    this.#callbacks = callbacks;
    // Do not wait for the end of the pause when the page is shown again or the network is back.
    window.addEventListener("online", this.#retryNow);
    document.addEventListener("visibilitychange", this.#retryNow);
    this.#open();
  }

  #open() {
    clearTimeout(this.#pause);
    this.#pause = null;
    const url = new URL(this.#url, location.href);
    if (this.#after !== null) url.searchParams.set("after", this.#after);
    const socket = new WebSocket(url);
    this.#socket = socket;
    const whileItIsOurs = (handle) => (event) => this.#socket === socket && handle(event);
    socket.onmessage = whileItIsOurs(({ data }) => this.#receive(JSON.parse(data)));
    socket.onclose = whileItIsOurs(({ code, reason }) => this.#lose(code, reason));
    this.#expectWithin(GREETING_MS);
  }

  #receive(message) {
    if (message.type === "hello") this.#silenceMs = message.heartbeat_s * 1000 * SILENT_HEARTBEATS;
    this.#expectWithin(this.#silenceMs);
    if (message.type === "hello") {
      this.#greet(message);
    } else if (message.event_id !== undefined) {
      this.#after = message.event_id;
      if (this.#isNew(message.event_id)) this.#callbacks.onEvent(message);
    }
  }

  #greet(hello) {
    const missed = this.#after === null;
    this.#failures = 0;
    this.#after ??= hello.after;
    this.#report("connected");
    if (missed) this.#callbacks.onMissed(hello);
  }

  #isNew(eventId) {
    if (this.#seen.has(eventId)) return false;
    this.#seen.add(eventId);
    if (this.#seen.size > REMEMBERED_EVENTS) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }

  #lose(code, reason) {
    this.#drop();
    if (FINAL_CODES.has(code)) {
      this.#report("ended", reason);
      return;
    }
    if (CANNOT_RESUME_CODES.has(code)) this.#after = null;
    this.#report("lost", reason);
    const ceilingMs = Math.min(PAUSE_CAP_MS, PAUSE_BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    // Never at once, and with jitter, so that not all pages return at the same moment after a restart of the service.
    this.#pause = setTimeout(() => this.#open(), ceilingMs * (0.5 + Math.random() / 2));
  }

  /** A connection can break unnoticed: a laptop that slept, a cable that was pulled. */
  #expectWithin(ms) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lose(1006, "no message was received for too long"), ms);
  }

  #drop() {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #report(state, reason = "") {
    if (state === this.#state) return;
    this.#state = state;
    this.#callbacks.onState(state, reason);
  }
}
