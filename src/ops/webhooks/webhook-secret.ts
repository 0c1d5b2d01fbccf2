// The secret a sender of webhooks shows, wherever it is able to put it.
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/**
 * Whether the request shows the secret: as the whole of Authorization or after `Bearer`, in X-JFrog-Event-Auth
 * (Artifactory), or, for senders that can only be given an address, as `?secret=`. Takes the same time for every
 * wrong one of a length.
 */
export function showsSecret(headers: IncomingHttpHeaders, query: URLSearchParams, secret: string): boolean {
  const { authorization, "x-jfrog-event-auth": eventAuth } = headers;
  const expected = hash(secret);
  const shown = [authorization, authorization?.replace(/^Bearer +/i, ""), eventAuth, query.get("secret")];
  return shown
    .map((each) => typeof each === "string" && timingSafeEqual(hash(each), expected))
    .includes(true);
}

/** Of one length, whatever was sent. */
function hash(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
