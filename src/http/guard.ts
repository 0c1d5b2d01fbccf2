// What Node's parser lets through and this server does not: shapes that proxies and origins read differently
// (docs/design.md, rule 5).
import type { IncomingMessage } from "node:http";

/** The reason to refuse the request with 400 and to close the connection; undefined when it is sound. */
export function malformation(request: IncomingMessage): string | undefined {
  let hosts = 0;
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i];
    if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
  }
  if (hosts > 1) return "more than one Host header";
  if (hosts === 0 && request.httpVersion === "1.1") return "no Host header";
  const coding = request.headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked")
    return "a transfer coding other than chunked";
  if (coding !== undefined && request.headers["content-length"] !== undefined) return "two body lengths";
  return undefined;
}
