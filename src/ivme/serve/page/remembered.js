// What outlives a reload. A browser may forbid storage or have none left: then the page works
// all the same and forgets.

/** Return the string that `storage` holds under `key`, or null. */
export function recall(storage, key) {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

/** Keep `value` under `key`; null removes it. Return whether that was possible. */
export function remember(storage, key, value) {
  try {
    if (value === null) window[storage].removeItem(key);
    else window[storage].setItem(key, value);
    return true;
  } catch {
    return false;
  }
}
