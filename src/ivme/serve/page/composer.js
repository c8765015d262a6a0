// Where the text is written: counter, hint, samples, key, shortcuts.
import { byId, element, setText } from "./elements.js";
import { language, say } from "./language.js";
import { recall, remember } from "./remembered.js";
import { SAMPLES } from "./samples.js";
import { countCharacters, countWords } from "./words.js";

const KEY = "ivme.key";
const NEAR_LIMIT = 0.9; // from here on, characters are shown beside words

/** Return the API key that the reader gave, or "". */
export const apiKey = () => byId("key").value.trim();

/** Return the text as it stands. */
export const currentText = () => byId("text").value;

/** Put `text` where the reader would have typed it. */
export function writeText(text, info) {
  byId("text").value = text;
  showCounts(info);
}

/** Show the field for the key; `isWrong` marks what is in it. */
export function askForKey(isWrong) {
  byId("keyField").hidden = false;
  byId("key").setAttribute("aria-invalid", String(isWrong));
}

/** Return why the text cannot be sent, in words, or null when it can. */
export function reasonNotToSend(info) {
  const text = currentText();
  if (text.trim() === "") return say("empty");
  const over = countCharacters(text) - (info?.max_characters ?? Infinity);
  return over > 0 ? say("tooLong", over) : null;
}

/** Show the number of words, and a friendly word about too few or too many. */
export function showCounts(info, problem = null) {
  const text = currentText();
  const words = countWords(text);
  const characters = countCharacters(text);
  const limit = info?.max_characters ?? Infinity;
  const isNear = characters > limit * NEAR_LIMIT;
  setText(byId("count"), isNear ? say("characters", characters, limit) : say("words", words));
  byId("text").setAttribute("aria-invalid", String(characters > limit || problem !== null));
  byId("hint").dataset.tone = characters > limit || problem !== null ? "bad" : "friendly";
  setText(byId("hint"), problem ?? hint(words, characters, info));
}

function hint(words, characters, info) {
  if (info === null) return "";
  if (characters > info.max_characters) return say("tooLong", characters - info.max_characters);
  if (words === 0) return "";
  return words < (info.least_words ?? 0) ? say("fewWords", words, info.least_words) : "";
}

/** Connect the form. `actions` are {analyze(), clear(), stop(), typed()}. Called once. */
export function connectComposer(actions) {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    actions.analyze();
  });
  byId("clear").addEventListener("click", actions.clear);
  byId("stop").addEventListener("click", actions.stop);
  byId("text").addEventListener("input", actions.typed);
  document.addEventListener("keydown", (event) => takeShortcut(event, actions));
  connectKey();
  showShortcuts();
}

function takeShortcut(event, { analyze, clear }) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.isComposing) {
    return;
  }
  const action = { enter: analyze, k: clear }[event.key.toLowerCase()];
  if (action === undefined) return;
  event.preventDefault(); // Ctrl+K is the browser's search otherwise
  if (!event.repeat) action();
}

function connectKey() {
  const field = byId("key");
  field.value = recall("sessionStorage", KEY) ?? "";
  field.addEventListener("change", () => {
    remember("sessionStorage", KEY, field.value || null);
    field.setAttribute("aria-invalid", "false");
  });
}

function showShortcuts() {
  const isApple = /Mac|iPhone|iPad/.test(navigator.platform);
  for (const key of document.querySelectorAll("[data-shortcut]")) {
    const name = key.dataset.shortcut;
    key.textContent = isApple ? `⌘${name === "Enter" ? "↩" : name}` : `Ctrl ${name}`;
  }
}

/** Show a button for each sample, those in the page's language first. */
export function showSamples(choose) {
  const own = SAMPLES.filter((sample) => sample.language === language());
  const others = SAMPLES.filter((sample) => sample.language !== language());
  byId("samples").replaceChildren(
    ...[...own, ...others].map((sample) => {
      const button = element("button", { type: "button", lang: sample.language }, sample.name);
      button.addEventListener("click", () => choose(sample.text));
      return button;
    }),
  );
}
