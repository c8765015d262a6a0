// Telling kindly what went wrong, and when another try makes sense.
import { byId, element, setText } from "./elements.js";
import { say } from "./language.js";

const MESSAGES = {
  connection_lost: "problemLost",
  unauthorized: "problemKey",
  text_too_long: "problemLong",
  body_too_large: "problemLong",
  queue_full: "problemBusy",
  stopping: "problemDown",
  starting: "problemDown",
  model_down: "problemDown",
  timeout: "problemSlow",
  body_timeout: "problemSlow",
  // Without a code, from a proxy for one, the status has to do.
  400: "problemText",
  401: "problemKey",
  408: "problemSlow",
  413: "problemLong",
  422: "problemText",
  429: "problemBusy",
  502: "problemDown",
  503: "problemDown",
  504: "problemSlow",
};
let countdown = null;

/** Return the title of a problem in the page's language. */
export const problemTitle = (problem) => say(messageKey(problem));

/** Show `problem`, a ServiceError, with a button that calls `retry`; null hides the last one. */
export function showProblem(problem, retry) {
  const place = byId("problem");
  clearInterval(countdown);
  place.hidden = problem === null;
  if (problem === null) return place.replaceChildren();
  const wait = element("p", { class: "wait" });
  const button = element("button", { type: "button" }, say("retry"));
  button.addEventListener("click", retry);
  place.replaceChildren(...explanation(problem), wait, button);
  countDown(wait, problem);
}

function explanation(problem) {
  const parts = [
    element("h3", {}, problemTitle(problem)),
    element("p", {}, say(`${messageKey(problem)}Help`)),
  ];
  // The server's own sentence is more exact than ours; it speaks English.
  if (problem.status !== 0 && problem.message !== "") {
    const quote = element("q", { lang: "en" }, problem.message);
    parts.push(element("p", { class: "server" }, `${say("serverSays")} `, quote));
  }
  return parts;
}

function countDown(place, problem) {
  if (problem.retryAfterSeconds === null) return;
  const end = problem.failedAt + problem.retryAfterSeconds * 1000;
  const tell = () => {
    const seconds = Math.ceil((end - Date.now()) / 1000);
    if (seconds > 0) return setText(place, say("retryIn", seconds));
    clearInterval(countdown);
    return setText(place, say("retryNow"));
  };
  tell();
  countdown = setInterval(tell, 1000);
}

function messageKey({ code, status }) {
  return MESSAGES[code] ?? MESSAGES[status] ?? "problemOther";
}
