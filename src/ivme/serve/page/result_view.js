// Showing one analysis: the verdict, a bar for each member or label, what went well or wrong.
import { certainty, countAnswered } from "./analysis.js";
import { byId, element, setText } from "./elements.js";
import { format, labelName, labelPhrase, say } from "./language.js";

/** Return what the verdict says in words: "Very likely written by AI". */
export const verdictWords = ({ confidence, label }) =>
  say(certainty(confidence), labelPhrase(label));

/** Return the place of a label among `labels`; it decides the color. Unknown ones count as last. */
export function labelIndex(labels, label, name) {
  const index = labels.findIndex((one) => one.label === label || one.name === name);
  return index === -1 ? labels.length : index;
}

/** Show `analysis`, or what awaits one when it is null. */
export function showResult(analysis, info) {
  setText(byId("progress"), analysis === null ? "" : progress(analysis));
  showVerdict(analysis, info);
  showBars(analysis, info);
  byId("result").setAttribute("aria-busy", String(analysis?.status === "running"));
}

function progress(analysis) {
  if (analysis.status === "running") {
    return say("running", countAnswered(analysis), analysis.rows.length);
  }
  if (analysis.status === "stopped") return say("stopped");
  if (analysis.status === "failed") return "";
  return say("finished", format.duration(analysis.durationMs));
}

function showVerdict(analysis, info) {
  const place = byId("verdict");
  const verdict = analysis?.verdict ?? null;
  place.hidden = verdict === null && analysis?.problem != null; // the problem takes its place
  place.classList.toggle("awaited", verdict === null);
  if (verdict === null) {
    delete place.dataset.color;
    place.replaceChildren(element("p", {}, say(awaited(analysis))));
    return;
  }
  place.dataset.color = labelIndex(info.labels, verdict.prediction, verdict.label);
  place.replaceChildren(
    element("p", { class: "words" }, verdictWords(verdict)),
    element("p", { class: "facts" }, ...facts(verdict)),
    ...probabilityStrip(verdict, info),
  );
}

function awaited(analysis) {
  if (analysis === null) return "waiting";
  return analysis.status === "running" ? "reading" : "noVerdict";
}

function facts(verdict) {
  const share = element("strong", {}, format.percent(verdict.confidence));
  const parts = [element("span", {}, `${say("confidence")} `, share)];
  if (verdict.votes !== null) {
    parts.push(element("span", {}, say("votes", verdict.votes, verdict.voters)));
  }
  if (verdict.isCached) parts.push(element("span", {}, say("fromCache")));
  if (verdict.leastWords !== null) {
    parts.push(element("span", { class: "warning" }, say("tooShort", verdict.leastWords)));
  }
  return parts;
}

function probabilityStrip({ probability, isCalibrated }, info) {
  if (probability === null) return [];
  const strip = element("div", { class: "strip", "aria-hidden": "true" });
  const key = element("ul", { class: "stripKey", role: "list" });
  info.labels.forEach(({ label, name }, index) => {
    const share = probability[label] ?? 0;
    const part = element("span", { "data-color": index });
    part.style.flexGrow = share; // by the object model: the policy forbids style attributes
    strip.append(part);
    key.append(
      element("li", { "data-color": index }, `${labelName(name)} `, format.percent(share)),
    );
  });
  const title = say(isCalibrated ? "calibrated" : "mean");
  return [element("p", { class: "stripTitle" }, title), strip, key];
}

function showBars(analysis, info) {
  const place = byId("bars");
  const rows = analysis?.rows ?? idleRows(info);
  const names = rows.map((row) => row.name);
  const shown = [...place.children].map((item) => item.dataset.name);
  // Rows stay while the names stay, so that a bar grows instead of being replaced.
  if (JSON.stringify(names) !== JSON.stringify(shown)) {
    place.replaceChildren(...names.map(newBar));
  }
  rows.forEach((row, index) => fillBar(place.children[index], row, info));
}

/** Return a row for each bar that an analysis would fill. */
export const idleRows = (info) => barNames(info).map((name) => ({ name, state: "idle" }));

/** Return the names of the bars: members of an ensemble, labels of a single classifier. */
export const barNames = (info) =>
  info.kind === "ensemble" ? info.members : info.labels.map(({ name }) => name);

function newBar(name) {
  return element(
    "li",
    { "data-name": name },
    element("span", { class: "name" }),
    element("span", { class: "answer" }),
    element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill" })),
    element("span", { class: "aside" }),
  );
}

const NO_ANSWER = { waiting: "memberWaiting", down: "memberDown", none: "memberNone" };

function fillBar(item, row, info) {
  const [name, answer, track, aside] = item.children;
  const isAnswered = row.state === "answered";
  item.dataset.state = row.state;
  setText(name, info.kind === "ensemble" ? row.name : labelName(row.name));
  setText(answer, answerText(row, info));
  setText(aside, row.durationMs != null ? format.duration(row.durationMs) : (row.reason ?? ""));
  item.dataset.color = isAnswered ? labelIndex(info.labels, row.prediction, row.label) : "";
  track.firstElementChild.style.transform = `scaleX(${isAnswered ? row.share : 0})`;
}

function answerText(row, info) {
  if (row.state === "idle") return "";
  if (row.state !== "answered") return say(NO_ANSWER[row.state]);
  const share = format.percent(row.share);
  return info.kind === "ensemble" ? `${labelName(row.label)} ${share}` : share;
}
