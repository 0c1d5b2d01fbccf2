// Values in Redis that are not ours, or not whole: not there, as far as anybody is concerned, and told.
import type { Notice } from "../../ports/event.ts";

/** What stands where another type of value should. */
export const wrongType = Symbol("wrong type");

/** The reply; undefined for none, and `wrongType` where the key holds another type of value. */
export async function valueAt<T>(reply: Promise<T | null>): Promise<T | undefined | typeof wrongType> {
  try {
    return (await reply) ?? undefined;
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("WRONGTYPE")) return wrongType;
    throw error;
  }
}

/** `op` as in `redis.tags.get`. */
export function garbageNotice(op: string, key: string): Notice {
  const message = `${key} in redis holds something else than was written there; it is ignored and will be replaced`;
  return { kind: "store_error", op, code: "io", message };
}
