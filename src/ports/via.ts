// The name under which this mirror passes requests on, so that it knows one that comes back to it (http/loop.ts).
import { randomBytes } from "node:crypto";

/** A pseudonym for Via (RFC 9110, section 7.6.3): every mirror of a chain has one of its own. */
export function makePseudonym(): string {
  return `entrepot-${randomBytes(4).toString("hex")}`;
}

/** The value of Via: `before`, the members of those a request came through, and this mirror's own. */
export function viaOf(pseudonym: string, before?: string): string {
  return before === undefined ? `1.1 ${pseudonym}` : `${before}, 1.1 ${pseudonym}`;
}
