// A key for what is remembered of credentials, from which nobody can tell them.
import { createHmac, generateKeySync } from "node:crypto";

/** Gives the same key for the same text, as long as this process runs; in no other process. HMAC-SHA-256 in base64. */
export function createCredentialKey(): (credentials: string) => string {
  // As a key object: of bytes Node makes one at every call, which costs several times what the HMAC does.
  const secret = generateKeySync("hmac", { length: 256 });
  return (credentials) => createHmac("sha256", secret).update(credentials).digest("base64");
}
