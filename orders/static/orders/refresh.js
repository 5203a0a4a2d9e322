/**
 * A part of a page that the server renders again on request.
 *
 *     import { Fragment } from "./refresh.js";
 *
 *     const fragment = new Fragment(element, url, { onFresh() {}, onStale() {} });
 *     fragment.refresh();         // now; calls during a running refresh become one more
 *     fragment.every(3000);       // and that long after each answer, except while the page is hidden
 *     fragment.stop();            // ends `every`
 */

const ANSWER_MS = 10_000;
const ignore = () => {};

export class Fragment {
  #element;
  #url;
  #onFresh;
  #onStale;
  #underWay = false;
  #wantedAgain = false;
  #everyMs = null;
  #timer = null;

  constructor(element, url, { onFresh = ignore, onStale = ignore } = {}) {
    this.#element = element;
    this.#url = url;
    this.#onFresh = onFresh;
    this.#onStale = onStale;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#everyMs !== null) this.refresh();
    });
  }

  every(ms) {
    this.#everyMs = ms;
    this.#schedule();
  }

  stop() {
    this.#everyMs = null;
    clearTimeout(this.#timer);
  }

  async refresh() {
    if (this.#underWay) {
      this.#wantedAgain = true;
      return;
    }
    this.#underWay = true;
    try {
      do {
        this.#wantedAgain = false;
        await this.#load();
      } while (this.#wantedAgain);
    } finally {
      this.#underWay = false;
      this.#schedule();
    }
  }

  async #load() {
    try {
      const answer = await fetch(this.#url, { redirect: "manual", signal: AbortSignal.timeout(ANSWER_MS) });
      // The session has ended or permissions have changed: reload, and the page says so.
      if (answer.type === "opaqueredirect" || answer.status === 403) return location.reload();
      if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
      this.#replace(await answer.text());
      this.#onFresh();
    } catch (error) {
      this.#onStale(error);
    }
  }

  /** Replace the content, and keep the keyboard focus on the same link or button. */
  #replace(html) {
    const key = focusKey(this.#element.contains(document.activeElement) ? document.activeElement : null);
    this.#element.innerHTML = html;
    if (key === null) return;
    const same = [...this.#element.querySelectorAll("a[href], button")].find((candidate) => focusKey(candidate) === key);
    same?.focus({ preventScroll: true });
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (this.#everyMs === null) return;
    this.#timer = setTimeout(() => (document.hidden ? this.#schedule() : this.refresh()), this.#everyMs);
  }
}

function focusKey(element) {
  return element && (element.getAttribute("href") ?? element.form?.getAttribute("action") ?? null);
}
