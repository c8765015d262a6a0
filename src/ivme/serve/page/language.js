// The page's language: its messages, its number formats, and who wants to know when it changes.
import english from "./messages_en.js";
import turkish from "./messages_tr.js";
import { remember } from "./remembered.js";

const KEY = "ivme.language";
const MESSAGES = { en: english, tr: turkish };
const listeners = [];

/** Return the language in use, "en" or "tr". first_paint.js chose the first one. */
export const language = () => document.documentElement.lang;

/** Return the message `key`, filled with `values`; formats come last. */
export function say(key, ...values) {
  const message = MESSAGES[language()][key];
  return typeof message === "function" ? message(...values, format) : message;
}

/** Return how the page shows a label of the model: translated if known, else as it is. */
export const labelName = (name) => say("labels")[name] ?? name;

/** Return how a sentence names the label: "written by AI" for a detector, else the label. */
export const labelPhrase = (name) => say("writers")[name] ?? labelName(name);

/** Numbers as readers of the language write them. */
export const format = {
  number: (value) => new Intl.NumberFormat(language()).format(value),
  percent: (share) =>
    new Intl.NumberFormat(language(), { style: "percent", maximumFractionDigits: 0 }).format(share),
  duration(ms) {
    const [value, unit] = ms < 1000 ? [ms, "millisecond"] : [ms / 1000, "second"];
    return new Intl.NumberFormat(language(), {
      style: "unit",
      unit,
      maximumSignificantDigits: value < 100 ? 2 : 3,
    }).format(value);
  },
  time: (date) =>
    new Intl.DateTimeFormat(language(), { hour: "numeric", minute: "2-digit" }).format(date),
};

/** Call `listener` after each change of the language. */
export const onLanguage = (listener) => listeners.push(listener);

/** Make the buttons, each with a data-language, choose the language. */
export function connectLanguage(buttons) {
  const show = () => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.language === language()));
    }
    translateDocument();
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      document.documentElement.lang = button.dataset.language;
      remember("localStorage", KEY, button.dataset.language);
      show();
      for (const listener of listeners) listener();
    });
  }
  show();
}

function translateDocument() {
  for (const element of document.querySelectorAll("[data-message]")) {
    element.textContent = say(element.dataset.message);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", say(element.dataset.label));
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) {
    element.setAttribute("placeholder", say(element.dataset.placeholder));
  }
}
