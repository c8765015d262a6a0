// Counting a text the way the server does: ivme.ensemble.words says why, and is followed here.

const IDEOGRAPHS =
  "\\u3005-\\u3007\\u3041-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const UNSPACED =
  "\\u0e01-\\u0e30\\u0e32\\u0e33\\u0e40-\\u0e46\\u0e81-\\u0eb0\\u0ec0-\\u0ec6\\u1000-\\u102a\\u1780-\\u17b3";
const MARKS = "\\u0300-\\u036f\\u0483-\\u0489\\u0591-\\u05c7\\u0610-\\u061a\\u064b-\\u065f\\u0900-\\u0dff";
const NO_SPACES = new RegExp(`[${IDEOGRAPHS}${UNSPACED}]`, "gu");
const IDEOGRAPH = new RegExp(`[${IDEOGRAPHS}]`, "gu");
const WORD = new RegExp(
  `[\\p{L}\\p{N}](?:[\\p{L}\\p{N}_${MARKS}]|['\\u2019\\u2010\\-](?=[\\p{L}\\p{N}]))*`,
  "gu",
);
const IDEOGRAPHS_PER_WORD = 2;
const OTHERS_PER_WORD = 4;

/** Return the number of words: runs of letters and digits; fewer than letters without spaces. */
export function countWords(text) {
  const ideographs = count(text, IDEOGRAPH);
  const others = count(text, NO_SPACES) - ideographs;
  return (
    count(text.replace(NO_SPACES, " "), WORD) +
    Math.ceil(ideographs / IDEOGRAPHS_PER_WORD) +
    Math.ceil(others / OTHERS_PER_WORD)
  );
}

const count = (text, pattern) => text.match(pattern)?.length ?? 0;

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
