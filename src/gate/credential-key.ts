// A key for what is remembered of credentials, from which nobody can tell them.
import { hash, randomBytes } from "node:crypto";

/** SHA-256 takes blocks of so many bytes. */
const block = 64;
const digest = 32;
/** Texts up to this many bytes need no memory of their own. */
const usual = 4096;
/** UTF-8 takes no more for a UTF-16 unit. */
const mostBytes = 3;

/**
 * Gives the same key for the same text, as long as this process runs; in no other process. HMAC-SHA-256 in base64, as RFC 2104
 * defines it over two hashes: Node's own makes an object at every call, which costs several times as much.
 */
export function createCredentialKey(secret: Buffer = randomBytes(block)): (credentials: string) => string {
  const inner = Buffer.alloc(block + usual);
  const outer = Buffer.alloc(block + digest);
  for (let at = 0; at < block; at++) {
    const byte = secret[at] ?? 0;
    inner[at] = byte ^ 0x36;
    outer[at] = byte ^ 0x5c;
  }
  return (credentials) => {
    const most = credentials.length * mostBytes;
    const text = most <= usual ? inner : Buffer.concat([inner.subarray(0, block)], block + most);
    const length = block + text.write(credentials, block, "utf8");
    outer.write(hash("sha256", text.subarray(0, length), "binary"), block, "latin1");
    return hash("sha256", outer, "base64");
  };
}
