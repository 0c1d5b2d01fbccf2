// The headers of a message that goes through a worker, from the client to the primary and back.
import type { OutgoingHttpHeaders } from "node:http";

/** From a list of names and values in turn: some names may come more than once. Names in lower case. */
export function passedHeaders(
  rawHeaders: readonly string[],
  isLeftOut: (name: string) => boolean,
): OutgoingHttpHeaders {
  // Without a prototype: `constructor` is a name like any other.
  const headers: Record<string, string | string[]> = Object.create(null);
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    const value = rawHeaders[i + 1] as string;
    if (isLeftOut(name)) continue;
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else headers[name] = Array.isArray(before) ? [...before, value] : [before, value];
  }
  return headers;
}
