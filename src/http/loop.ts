// Loops of mirrors that fetch from each other. Every request lists in Via the mirrors it has come through (RFC 9110,
// section 7.6.3), so the first mirror that finds itself in the list ends the loop.

/**
 * Most proxies and mirrors a request may have come through. A chain of three mirrors with a load balancer before each
 * has six. In a loop of mirrors with many nodes behind one name, no node finds itself soon: this bound ends it.
 */
export const mostMembers = 16;

/** One member: `[name/]version`, the receiver (at most as long as a host name), and perhaps a comment. */
const member = /^([\w.+/-]{1,32})[ \t]+([\w!#$%&'*+.^`|~:[\]-]{1,255})(?=[ \t]|$)/;

export type Passage =
  /** `via`: the members that go before our own in requests to upstream; undefined: none. */
  | { readonly kind: "passes"; readonly via: string | undefined }
  /** The request has been here before. `names`: the mirrors it has come through since, this one first. */
  | { readonly kind: "circle"; readonly names: readonly string[] }
  | { readonly kind: "too_far" };

const straight: Passage = { kind: "passes", via: undefined };

/**
 * What the Via header of a request (several lines joined by commas) says to the mirror of this pseudonym. Comments, and
 * members that break the grammar, are not passed on.
 */
export function passage(via: string | undefined, pseudonym: string): Passage {
  if (via === undefined) return straight;
  const members: string[] = [];
  const names: string[] = [];
  for (const text of via.split(",")) {
    const [, protocol, name] = member.exec(text.trim()) ?? [];
    if (protocol === undefined || name === undefined) continue;
    members.push(`${protocol} ${name}`);
    names.push(name);
  }
  const own = names.findIndex((name) => name.toLowerCase() === pseudonym.toLowerCase());
  if (own >= 0) return { kind: "circle", names: names.slice(own, own + mostMembers) };
  if (members.length > mostMembers) return { kind: "too_far" };
  return members.length === 0 ? straight : { kind: "passes", via: members.join(", ") };
}
