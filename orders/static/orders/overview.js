// The landing page of the order desk: refreshed every few seconds; screen readers announce a change of the exchange's state.
import { Fragment } from "./refresh.js";

const EVERY_MS = 3_000;
const overview = document.getElementById("overview");
const news = document.getElementById("overview-news");

const verdict = () => overview.querySelector("[data-verdict]").dataset.verdict;
let known = verdict();

const fragment = new Fragment(overview, overview.dataset.url, {
  onFresh() {
    overview.classList.remove("desk-stale");
    if (verdict() === known) return;
    known = verdict();
    news.textContent = known;
  },
  onStale() {
    if (!overview.classList.contains("desk-stale")) news.textContent = "This page cannot be refreshed right now.";
    overview.classList.add("desk-stale");
  },
});
fragment.every(EVERY_MS);
