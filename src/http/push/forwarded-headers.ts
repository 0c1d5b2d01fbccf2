// Which headers of a write are passed on, in both directions. Only those listed here are, so that hop-by-hop headers,
// credentials, cookies and challenges never are, whatever their names (RFC 9110, section 7.6.1; docs/design.md, rules 4
// and 6).
import type { IncomingHttpHeaders } from "node:http";
import { currentSpan } from "../../ports/tracing/span.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { tracedOn } from "../request-identity.ts";

const toUpstream = ["content-type", "content-range", "user-agent"] as const;

/** Without `location`, which is replaced by one of this mirror (upload-sessions.ts). */
const toClient = [
  "content-type",
  "docker-content-digest",
  "docker-upload-uuid",
  "oci-chunk-min-length",
  "oci-subject",
  "oci-tag",
  "range",
  "warning",
] as const;

/** The names in a Connection header, in lower case: those headers are about one connection only. */
export function namedByConnection(connection: string | undefined): ReadonlySet<string> {
  return new Set(connection?.split(",").map((name) => name.trim().toLowerCase()));
}

/**
 * The headers to send to upstream for a request with these, without those that Connection names. With `body: "none"`
 * the headers that describe a body are left out; otherwise its length is sent if the client sent one. `via`: the value
 * of Via.
 */
export function headersToUpstream(
  headers: IncomingHttpHeaders,
  { body, via }: { readonly body: "sent" | "none"; readonly via: string },
): Record<string, string> {
  const named = namedByConnection(headers.connection);
  // This mirror reads the answer, so it must not come encoded.
  const forwarded: Record<string, string> = { "accept-encoding": "identity", via };
  const traceparent = currentSpan()?.traceparent ?? tracedOn(headers.traceparent);
  if (traceparent !== undefined) forwarded.traceparent = traceparent;
  for (const name of toUpstream) {
    const value = headers[name];
    if (value === undefined || named.has(name)) continue;
    if (body === "sent" || !name.startsWith("content-")) forwarded[name] = value;
  }
  if (body === "none") return forwarded;
  const length = headers["content-length"];
  return { ...forwarded, ...(length === undefined ? {} : { "content-length": length }) };
}

/**
 * The headers of upstream's answer for the client. Throws UpstreamError protocol for a body in a coding not asked for.
 */
export function headersToClient(headers: IncomingHttpHeaders): Record<string, string> {
  if ((headers["content-encoding"] ?? "identity") !== "identity")
    throw new UpstreamError("protocol", "upstream encoded an answer that was asked for without");
  const forwarded: Record<string, string> = { "docker-distribution-api-version": "registry/2.0" };
  for (const name of toClient) {
    const value = headers[name];
    if (typeof value === "string") forwarded[name] = value;
  }
  return forwarded;
}
