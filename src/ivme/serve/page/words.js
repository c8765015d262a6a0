// Counting a text the way the server does.

/** Return the number of words: runs of anything but white space. */
export function countWords(text) {
  return text.match(/\S+/gu)?.length ?? 0;
}

/** Return the number of Unicode characters, which the server's limit counts; not code units. */
export function countCharacters(text) {
  let count = text.length;
  for (let i = 0; i < text.length - 1; i += 1) {
    if (text.codePointAt(i) > 0xffff) {
      count -= 1;
      i += 1;
    }
  }
  return count;
}
