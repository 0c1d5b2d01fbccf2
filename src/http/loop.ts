// Mirrors that fetch from each other would ask each other without end. Every request says in Via which ones it has
// come through (RFC 9110, section 7.6.3), so the first mirror that meets itself there ends it.

/**
 * Proxies and mirrors a request may have come through. A chain of three mirrors with a balancer before each is six;
 * a circle whose mirrors are many nodes behind one name, none of which meets itself at once, ends here.
 */
export const mostMembers = 16;

/** One member: `[name/]version`, who received it, and perhaps a comment. Longer names than hosts may have are none. */
const member = /^([\w.+/-]{1,32})[ \t]+([\w!#$%&'*+.^`|~:[\]-]{1,255})(?=[ \t]|$)/;

export type Passage =
  /** `via`: the members to send before our own to whoever is asked for this request; undefined: none. */
  | { readonly kind: "passes"; readonly via: string | undefined }
  /** The request has been here. `names`: who it came through since, this mirror first. */
  | { readonly kind: "circle"; readonly names: readonly string[] }
  | { readonly kind: "too_far" };

const straight: Passage = { kind: "passes", via: undefined };

/**
 * Where a request with this Via header (several lines joined by commas) has been, for the mirror of this pseudonym.
 * Comments, and what is no member, are not passed on.
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
