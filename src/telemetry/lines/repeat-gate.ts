// Lets one of many equal messages through per window, and counts the others.

/** Keys remembered at a time; the one first seen is forgotten for a new one. */
const maxKeys = 1024;

/**
 * Returns a function that says whether a message of `key` may pass now: the number of messages held back since
 * the last one passed, or undefined to hold this one back as well. `windowMs` and `now` in milliseconds.
 */
export function createRepeatGate(windowMs: number, now: () => number): (key: string) => number | undefined {
  const passed = new Map<string, { at: number; heldBack: number }>();
  return (key) => {
    const at = now();
    const last = passed.get(key);
    if (last === undefined) {
      const [oldest] = passed.keys();
      if (oldest !== undefined && passed.size >= maxKeys) passed.delete(oldest);
      passed.set(key, { at, heldBack: 0 });
      return 0;
    }
    if (at - last.at < windowMs) {
      last.heldBack++;
      return undefined;
    }
    const heldBack = last.heldBack;
    last.at = at;
    last.heldBack = 0;
    return heldBack;
  };
}
