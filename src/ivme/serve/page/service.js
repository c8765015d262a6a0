// The server's routes as functions. Addresses are relative: the app may live below a prefix.
import { readEvents } from "./event_stream.js";

/** What went wrong, in the server's terms. `status` is 0 when no answer came. */
export class ServiceError extends Error {
  constructor({ status, code, message, retryAfterSeconds = null }) {
    super(message);
    Object.assign(this, { name: "ServiceError", status, code, retryAfterSeconds, failedAt: Date.now() });
  }
}

/** Return what this server serves: kind, labels, members, bounds. */
export async function fetchInfo() {
  return (await request("v1/info")).json();
}

/** Yield the events of one analysis, as each member answers. */
export async function* analyze(text, { apiKey, signal }) {
  const response = await post("v1/analyze", { text, sentences: true }, { apiKey, signal });
  try {
    yield* readEvents(response);
  } catch (error) {
    throw signal.aborted ? error : connectionLost(error);
  }
}

/** Return the answer of a single classifier to `text`. */
export async function classify(text, { apiKey, signal }) {
  return (await post("v1/classify", { text }, { apiKey, signal })).json();
}

/** Return the error that the body of a failed answer, or of an `error` event, tells of. */
export function errorFromBody(body, { status, retryAfterSeconds = null }) {
  const message = typeof body?.error === "string" ? body.error : "";
  return new ServiceError({ status, code: body?.code ?? "", message, retryAfterSeconds });
}

function connectionLost(error) {
  return new ServiceError({ status: 0, code: "connection_lost", message: String(error.message) });
}

function post(path, body, { apiKey, signal }) {
  const headers = { "Content-Type": "application/json" };
  if (apiKey) headers.Authorization = `Bearer ${apiKey}`;
  return request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw options.signal?.aborted ? error : connectionLost(error);
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null); // a proxy may answer with HTML
  throw errorFromBody(body, {
    status: response.status,
    retryAfterSeconds: retryAfter(response.headers.get("Retry-After")),
  });
}

function retryAfter(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null;
}
