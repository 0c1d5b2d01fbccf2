// The two steps of a reload, so that several parts, and later several processes, change all together or not at all.

/** What has been made ready for a change. One of the two is called, once. */
export interface Prepared {
  /** The change counts from now on. Cannot fail. */
  apply(): void;
  /** The change does not happen: closes what was made for it. */
  discard(): void;
}

/** Makes all of them ready, in turn. When one throws, those before it are discarded. */
export function prepareAll(...steps: readonly (() => Prepared)[]): Prepared {
  const ready: Prepared[] = [];
  const discard = (): void => {
    for (const each of ready) each.discard();
  };
  try {
    for (const step of steps) ready.push(step());
  } catch (error) {
    discard();
    throw error;
  }
  return {
    apply() {
      for (const each of ready) each.apply();
    },
    discard,
  };
}
