/** Calls of the JSON API for the account of the page. */

const TIMEOUT_MS = 10_000;

/** There was no conclusive answer: the request may or may not have taken effect. */
export class Unanswered extends Error {}

/** The answer as `{ status, body }`, for any status below 500. Throws Unanswered. */
export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = document.querySelector("[name=csrfmiddlewaretoken]").value;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    if (answer.status < 500) return { status: answer.status, body: await answer.json() };
  } catch (error) {
    throw new Unanswered("There was no answer.", { cause: error });
  }
  throw new Unanswered(`The server answered ${answer.status}.`);
}

/** The text of an API error that names no field. */
export function problemOf({ status, body }) {
  if (status === 401 || status === 403) return `${body.detail ?? "You are not signed in."} Reload the page to sign in again.`;
  return body.detail ?? `The server answered ${status}.`;
}
