// A mirror that is, over however many others, its own upstream would ask itself without end.

/**
 * Whether a request with this Via header (RFC 9110, section 7.6.3; several lines joined by commas) was sent by the
 * mirror of this pseudonym: such a request is to be answered 508, which no mirror takes for an answer.
 */
export function loopsBack(via: string | undefined, pseudonym: string): boolean {
  if (via === undefined) return false;
  const own = pseudonym.toLowerCase();
  // Each member: [name "/"] version, who received it, and perhaps a comment.
  return via.split(",").some((member) => member.trim().split(/\s+/, 2)[1]?.toLowerCase() === own);
}
