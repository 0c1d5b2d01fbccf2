// Second line of defence for free text in logs. What is logged carries no secret to begin with; this catches the
// library message or hostile request target that does.

/** Longest input that is searched, so that no text is expensive. */
const maxInput = 4096;

const userInfo = /:\/\/[^\s/?#@]*@/g;
const credentials = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+/gi;
/** The query of a presigned URL is its key. */
const urlQuery = /(:\/\/[^\s?]*)\?[^\s"']*/g;

/** Removes credentials from URLs and header values, and queries from URLs; cuts the rest to `maxLength`. */
export function scrub(text: string, maxLength: number): string {
  return text
    .slice(0, maxInput)
    .replace(userInfo, "://[redacted]@")
    .replace(credentials, "$1 [redacted]")
    .replace(urlQuery, "$1?[redacted]")
    .slice(0, maxLength);
}
