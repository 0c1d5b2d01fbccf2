// Paths in messages.
import { quote } from "./problem.ts";

const looksLikeAPath = /^\.{0,2}\/[^\r\n]*$|^[\w./-]+\.(?:pem|crt|cer|key)$/;

/** What looks like a path can be shown; anything else may be the secret itself, put into the wrong setting. */
export function describePath(text: string): string {
  return looksLikeAPath.test(text) ? quote(text) : "a name (not shown: it may be the secret itself)";
}
