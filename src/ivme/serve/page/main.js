// The page: what the reader does, and what follows from it.
import { applyClassification, applyEvent, endEarly, startAnalysis } from "./analysis.js";
import * as composer from "./composer.js";
import { byId, setText } from "./elements.js";
import { connectLanguage, format, onLanguage, say } from "./language.js";
import { problemTitle, showProblem } from "./problem_view.js";
import { barNames, showResult, verdictWords } from "./result_view.js";
import { connectSentences, showSentences } from "./sentences_view.js";
import { ServiceError, analyze, classify, errorFromBody, fetchInfo } from "./service.js";
import { addEntry, clearEntries, showEntries } from "./session_history.js";
import { connectTheme } from "./theme.js";

let info = null; // what the server runs; null until it has told
let analysis = null; // the one on show
let running = null; // the AbortController of the request under way
let connectProblem = null; // why the server could not tell what it runs

async function connect() {
  connectProblem = null;
  try {
    info = await fetchInfo();
    if (info.auth_required) composer.askForKey(false);
  } catch (problem) {
    connectProblem = problem;
    announce(problemTitle(problem));
  }
  showAll();
}

async function start() {
  // A model that is still being loaded may not know its labels yet: then ask again.
  if (info === null || barNames(info).length === 0) await connect();
  if (info === null) return;
  const reason = composer.reasonNotToSend(info);
  composer.showCounts(info, reason);
  if (reason !== null) {
    announce(reason);
    byId("text").focus();
    return;
  }
  running?.abort();
  running = new AbortController();
  await follow(composer.currentText(), running);
}

async function follow(text, controller) {
  analysis = startAnalysis(text, info.kind, barNames(info));
  const options = { apiKey: composer.apiKey(), signal: controller.signal };
  announce(say("announceStart", info.kind === "ensemble" ? analysis.rows.length : 1));
  showAnalysis();
  bringIntoView();
  try {
    await (info.kind === "ensemble" ? receive(text, options) : receiveAtOnce(text, options));
  } catch (problem) {
    if (!controller.signal.aborted) fail(problem);
  }
  if (running === controller) running = null;
  showAnalysis();
}

async function receive(text, options) {
  for await (const message of analyze(text, options)) {
    if (options.signal.aborted) return; // a newer request owns the page now
    if (message.event === "error") throw errorFromBody(message.data.error, { status: 500 });
    analysis = applyEvent(analysis, message);
    if (message.event === "ensemble") announceVerdict();
    showAnalysis();
  }
  if (analysis.status !== "done") {
    throw new ServiceError({ status: 0, code: "connection_lost", message: "" });
  }
  keepEntry();
}

async function receiveAtOnce(text, options) {
  const startedAt = performance.now();
  const answer = await classify(text, options);
  if (options.signal.aborted) return;
  analysis = applyClassification(analysis, answer, performance.now() - startedAt);
  announceVerdict();
  keepEntry();
}

function fail(problem) {
  analysis = endEarly(analysis, "failed", problem);
  announce(problemTitle(problem));
  if (problem.status === 401) {
    composer.askForKey(true);
    byId("key").focus();
  }
}

function stop() {
  if (running === null) return;
  running.abort();
  running = null;
  analysis = endEarly(analysis, "stopped");
  announce(say("stopped"));
  showAnalysis();
}

function clear() {
  running?.abort();
  running = null;
  analysis = null;
  composer.writeText("", info);
  announce(say("announceCleared"));
  showAnalysis();
  byId("text").focus();
}

function reopen(entry) {
  running?.abort();
  running = null;
  analysis = entry;
  composer.writeText(entry.text, info);
  announce(say("reopened", verdictWords(entry.verdict)));
  showAnalysis();
  byId("result").scrollIntoView({ block: "nearest" });
}

function trySample(text) {
  composer.writeText(text, info);
  start();
}

function announceVerdict() {
  const { verdict, rows } = analysis;
  const down = rows.filter(({ state }) => state === "down");
  const parts = [
    `${verdictWords(verdict)}. ${say("confidence")} ${format.percent(verdict.confidence)}.`,
    ...down.map(({ name }) => say("announceDown", name)),
  ];
  announce(parts.join(" ")); // at once: a second announcement would cut off the first
}

function announce(text) {
  byId("status").textContent = text;
}

function bringIntoView() {
  // On a phone the result lies below the text: without this, nothing would seem to happen.
  const { top } = byId("result").getBoundingClientRect();
  if (top > window.innerHeight * 0.7) byId("result").scrollIntoView({ block: "start" });
}

function showAnalysis() {
  showStop();
  if (info === null) return;
  showResult(analysis, info);
  showSentences(analysis, info);
  showProblem(analysis?.problem ?? null, () => retry(start));
}

function showStop() {
  const stopButton = byId("stop");
  const hadFocus = document.activeElement === stopButton;
  stopButton.hidden = analysis?.status !== "running";
  if (hadFocus && stopButton.hidden) byId("analyze").focus();
}

function retry(action) {
  byId("analyze").focus(); // the button that was pressed goes away with the problem
  action();
}

function keepEntry() {
  addEntry(analysis);
  showEntries(reopen);
}

function showAll() {
  const isClassifier = info !== null && ["ensemble", "classifier"].includes(info.kind);
  byId("desk").hidden = info !== null && !isClassifier;
  byId("history").hidden = !isClassifier;
  byId("routes").hidden = info === null || isClassifier;
  setText(byId("title"), title(isClassifier));
  document.title = info === null ? "Ivme" : `${title(isClassifier)} · Ivme`;
  setText(byId("lead"), lead());
  setText(byId("caution"), say(isDetector() ? "cautionDetector" : "cautionClassifier"));
  setText(byId("footer"), info === null ? "Ivme" : say("footer", info.version));
  composer.showCounts(info);
  composer.showSamples(trySample);
  if (isClassifier) {
    showAnalysis();
    showEntries(reopen);
  }
  if (connectProblem !== null) showProblem(connectProblem, () => retry(connect));
}

function isDetector() {
  const names = info?.labels.map(({ name }) => name) ?? [];
  return names.includes("AI") && names.includes("Human");
}

function title(isClassifier) {
  if (info === null) return "Ivme";
  if (!isClassifier) return say("otherTitle");
  return say(isDetector() ? "detectorTitle" : "classifierTitle");
}

function lead() {
  if (info === null) return connectProblem === null ? say("connecting") : "";
  if (info.kind === "ensemble") return say("ensembleLead", info.members.length);
  return info.kind === "classifier" ? say("classifierLead") : say("otherLead", info.kind);
}

connectLanguage([...document.querySelectorAll("[data-language]")]);
onLanguage(showAll);
connectTheme(byId("theme"));
connectSentences();
composer.connectComposer({
  analyze: start,
  clear,
  stop,
  typed: () => composer.showCounts(info),
});
byId("historyClear").addEventListener("click", () => {
  clearEntries();
  announce(say("historyCleared"));
  showEntries(reopen);
  byId("text").focus();
});
showAll();
connect();
