// Making elements. Text goes in as text: nothing on this page is HTML made from a string.

/** Return a new element; null attributes are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Return the element of that id, which index.html holds. */
export const byId = (id) => document.getElementById(id);

/** Set the text only if it differs, so that screen readers are not told the same twice. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
