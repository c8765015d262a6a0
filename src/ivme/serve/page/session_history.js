// What was analyzed in this tab: kept in sessionStorage, listed, opened again, forgotten.
import { byId, element } from "./elements.js";
import { format, language, say } from "./language.js";
import { recall, remember } from "./remembered.js";
import { verdictWords } from "./result_view.js";

const KEY = "ivme.history";
const MOST = 20;
const EXCERPT = 240; // characters; CSS cuts at the width
let entries = JSON.parse(recall("sessionStorage", KEY) ?? "[]");

/** Put a finished analysis on top of the list. */
export function addEntry(analysis) {
  entries = [analysis, ...entries.filter(({ text }) => text !== analysis.text)].slice(0, MOST);
  // Long texts can fill the storage: what is oldest goes first.
  while (!remember("sessionStorage", KEY, JSON.stringify(entries)) && entries.length > 1) {
    entries = entries.slice(0, -1);
  }
}

/** Forget every entry. */
export function clearEntries() {
  entries = [];
  remember("sessionStorage", KEY, null);
}

/** Show the list; pressing an entry calls `open` with its analysis. */
export function showEntries(open) {
  byId("historyClear").hidden = entries.length === 0;
  byId("historyNote").textContent = say(entries.length === 0 ? "historyEmpty" : "historyNote");
  byId("entries").replaceChildren(...entries.map((analysis) => item(analysis, open)));
}

function item(analysis, open) {
  const time = format.time(new Date(analysis.startedAt));
  const button = element(
    "button",
    { type: "button" },
    element("span", { class: "said" }, `${verdictWords(analysis.verdict)} `),
    element("span", { class: "share" }, `${format.percent(analysis.verdict.confidence)} `),
    element("span", { class: "excerpt", dir: "auto" }, `${analysis.text.slice(0, EXCERPT)} `),
    element("time", { lang: language() }, time),
  );
  button.addEventListener("click", () => open(analysis));
  return element("li", {}, button);
}
