// The name and the password in an Authorization header (RFC 7617).
import { longestName } from "./caller.ts";

export interface Credentials {
  readonly name: string;
  /** As the client has encoded it. */
  readonly password: Buffer;
}

/** Longest header that is read, in characters. */
const longest = 8192;
/** RFC 9110, section 11.2: token68, which base64 is a part of. */
const grammar = /^basic +([A-Za-z0-9+/]+={0,2})[ \t]*$/i;

/** The credentials as they are encoded; undefined for none, and for another scheme. */
export function basicToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length > longest) return undefined;
  return grammar.exec(authorization)?.[1];
}

/** Undefined without a colon or a name, and for a control character in either (RFC 7617, section 2). */
export function readBasic(token: string): Credentials | undefined {
  const bytes = Buffer.from(token, "base64");
  const colon = bytes.indexOf(0x3a);
  if (colon < 1 || colon > longestName) return undefined;
  if (bytes.some((byte) => byte < 0x20 || byte === 0x7f)) return undefined;
  return { name: bytes.toString("utf8", 0, colon), password: bytes.subarray(colon + 1) };
}
