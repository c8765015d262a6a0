// The text again, each sentence tinted and underlined by what the quick members make of it.
import { byId, element } from "./elements.js";
import { format, labelName, say } from "./language.js";

const LEAST_LEAN = 0.6; // below, a sentence is left plain: it decides nothing
let shown = null; // the sentences on show, to leave the document alone when nothing changed

/** Show the sentences of `analysis`; none hides the section. */
export function showSentences(analysis, info) {
  const sentences = analysis?.sentences ?? [];
  byId("sentences").hidden = sentences.length === 0;
  byId("legend").replaceChildren(...legend(info));
  if (shown === sentences) return relabel(sentences, info);
  shown = sentences;
  hideTooltip();
  byId("marked").replaceChildren(...mark(analysis?.text ?? "", sentences));
  return relabel(sentences, info);
}

function mark(text, sentences) {
  const parts = [];
  let end = 0;
  for (const sentence of sentences) {
    parts.push(text.slice(end, sentence.start)); // offsets count UTF-16 units, as slice does
    parts.push(element("span", { role: "button", tabindex: "-1" }, text.slice(sentence.start, sentence.end)));
    end = sentence.end;
  }
  return [...parts, text.slice(end)];
}

function relabel(sentences, info) {
  const spans = byId("marked").children;
  sentences.forEach((sentence, index) => {
    const { color, share } = lean(sentence, info);
    spans[index].dataset.color = share < LEAST_LEAN ? "none" : color;
    spans[index].dataset.strength = strength(share);
    spans[index].setAttribute("aria-description", describe(sentence, info));
  });
  if (spans.length > 0 && byId("marked").querySelector("[tabindex='0']") === null) {
    spans[0].tabIndex = 0;
  }
}

function lean({ probability }, info) {
  const shares = info.labels.map(({ label }) => probability[label] ?? 0);
  const share = Math.max(...shares);
  return { color: shares.indexOf(share), share };
}

function strength(share) {
  if (share >= 0.9) return 3;
  return share >= 0.75 ? 2 : 1;
}

function describe({ probability }, info) {
  return info.labels
    .map(({ label, name }) => `${labelName(name)} ${format.percent(probability[label] ?? 0)}`)
    .join(" · ");
}

function legend(info) {
  const items = info.labels.map(({ name }, index) => {
    const sample = element("span", { class: "sample", "data-color": index, "data-strength": "2" }, labelName(name));
    return element("li", {}, sample);
  });
  const scale = [1, 2, 3].map((step) =>
    element("span", { class: "step", "data-color": "0", "data-strength": step, "aria-hidden": "true" }),
  );
  return [
    ...items,
    element("li", {}, element("span", { class: "sample", "data-color": "none" }, say("noLean"))),
    element("li", { class: "scale" }, ...scale, say("strength")),
  ];
}

/** Make sentences answer to the pointer and the keyboard. Called once. */
export function connectSentences() {
  const marked = byId("marked");
  marked.addEventListener("focusin", ({ target }) => showTooltip(target));
  marked.addEventListener("focusout", hideTooltip);
  marked.addEventListener("keydown", moveFocus);
  marked.addEventListener("click", ({ target }) => {
    if (target.role === "button") focusSentence(target);
  });
  const reading = marked.parentElement;
  reading.addEventListener("pointerover", ({ target }) => {
    if (target.parentElement === marked) showTooltip(target);
    else if (target !== byId("tooltip")) restTooltip(); // the tooltip itself may be pointed at
  });
  reading.addEventListener("pointerleave", restTooltip);
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") hideTooltip();
  });
}

function moveFocus(event) {
  const spans = [...event.currentTarget.children];
  const here = spans.indexOf(event.target);
  const steps = {
    ArrowRight: here + 1,
    ArrowDown: here + 1,
    ArrowLeft: here - 1,
    ArrowUp: here - 1,
    Home: 0,
    End: spans.length - 1,
  };
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return byId("tooltip").hidden ? showTooltip(event.target) : hideTooltip();
  }
  if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return undefined;
  event.preventDefault();
  return focusSentence(spans[Math.min(Math.max(steps[event.key], 0), spans.length - 1)]);
}

function focusSentence(span) {
  // One tab stop for all sentences, wherever the reader left them.
  for (const other of span.parentElement.children) other.tabIndex = other === span ? 0 : -1;
  span.focus();
}

function showTooltip(span) {
  const tooltip = byId("tooltip");
  tooltip.replaceChildren(span.getAttribute("aria-description"));
  tooltip.hidden = false;
  placeTooltip(tooltip, span);
}

function placeTooltip(tooltip, span) {
  const reading = span.closest(".reading").getBoundingClientRect();
  const lines = span.getClientRects();
  const [first, last] = [lines[0], lines[lines.length - 1]];
  const isRoomAbove = first.top > tooltip.offsetHeight;
  const line = isRoomAbove ? first : last;
  const most = reading.width - tooltip.offsetWidth;
  tooltip.style.left = `${Math.max(0, Math.min(line.left - reading.left, most))}px`;
  tooltip.style.top = `${(isRoomAbove ? line.top - tooltip.offsetHeight : line.bottom) - reading.top}px`;
}

function restTooltip() {
  // The pointer points at nothing now; a sentence that has the focus keeps its tooltip.
  const focused = byId("marked").querySelector(":focus");
  if (focused === null) hideTooltip();
  else showTooltip(focused);
}

function hideTooltip() {
  byId("tooltip").hidden = true;
}
