// Which headers pass, either way. Lists of what may, so that nothing hop-by-hop, no credential, no cookie and no
// challenge ever does, whatever it is called (RFC 9110 section 7.6.1; docs/design.md, rules 4 and 6).
import type { IncomingHttpHeaders } from "node:http";
import { UpstreamError } from "../../ports/upstream.ts";
import { tracedOn } from "../request-identity.ts";

const toUpstream = ["content-type", "content-range", "user-agent"] as const;

/** `location` is not among them: it is made anew (upload-sessions.ts). */
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

/**
 * The client's headers that go on. The length of the body goes with it as it came, known or chunked; without a body
 * a request has none of the headers that describe one. What Connection names stays here. `via` goes along.
 */
export function headersToUpstream(
  headers: IncomingHttpHeaders,
  withBody: boolean,
  via: string,
): Record<string, string> {
  const named = new Set(headers.connection?.split(",").map((name) => name.trim().toLowerCase()));
  // Answers are read here, so they must not come encoded.
  const forwarded: Record<string, string> = { "accept-encoding": "identity", via };
  const traceparent = tracedOn(headers.traceparent);
  if (traceparent !== undefined) forwarded.traceparent = traceparent;
  for (const name of toUpstream) {
    const value = headers[name];
    if (value === undefined || named.has(name)) continue;
    if (withBody || !name.startsWith("content-")) forwarded[name] = value;
  }
  if (!withBody) return forwarded;
  const length = headers["content-length"];
  return { ...forwarded, ...(length === undefined ? {} : { "content-length": length }) };
}

/** Upstream's headers that go on. Throws UpstreamError protocol for a body in a coding nobody asked for. */
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
