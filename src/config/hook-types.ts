// The zod types of notifications and webhooks.
import { z } from "zod";
import type { Parsed } from "./parsed.ts";
import { parsedBy } from "./parsed-by.ts";
import { Secret } from "./secret.ts";
import { oneOf, path, timer, wholeNumber, yesOrNo } from "./value-types.ts";

const maxEndpoints = 20;
const maxItems = 100;

/** Names of the sources of webhooks; telemetry/event.ts has the same, and a test holds the two together. */
export const webhookSources = [
  "distribution",
  "artifactory",
  "harbor",
  "dockerhub",
  "quay",
  "generic",
] as const;

/** Those the program sets itself. */
const ownHeaders = new Set([
  "content-type",
  "content-length",
  "transfer-encoding",
  "connection",
  "host",
  "expect",
]);

const name = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[a-z0-9-]{1,32}$/.test(value) ? { value } : { expected: "1 to 32 of a-z, 0-9 and -" };
});

/** The query may be a secret of the receiver's, so it is allowed and never shown. */
const url = parsedBy((text): Parsed<URL> => {
  const value = /^https?:\/\/[^\s\\]+$/i.test(text.trim()) ? URL.parse(text.trim()) : null;
  if (value === null)
    return { expected: "an http or https URL with its scheme, such as https://audit.example.com/events" };
  if (value.username !== "" || value.password !== "")
    return {
      expected: "no credentials in the URL: an Authorization header belongs in headers or headerFiles",
    };
  return value.hash === "" ? { value } : { expected: "a URL without a fragment" };
});

/** A mapping of which every key passes the test; `expected` is said of one that does not. */
function mapOf<T extends z.ZodType>(isKey: (key: string) => boolean, expected: string, value: T) {
  return z.record(z.string(), value).superRefine((map, context) => {
    for (const key of Object.keys(map))
      if (!isKey(key)) context.addIssue({ code: "custom", path: [key], message: expected });
  });
}

const isHeaderName = (key: string) => /^[\w-]{1,64}$/.test(key) && !ownHeaders.has(key.toLowerCase());
const headerExpected = "the name of a header, but none that is sent anyway";

/** RFC 9110 section 5.5, without the bytes above ASCII that nobody agrees on. */
export const headerValue = parsedBy((text): Parsed<Secret> => {
  const value = text.trim();
  return /^[\x20-\x7e]{1,8192}$/.test(value)
    ? { value: new Secret(value) }
    : { expected: "a header's value of 1 to 8192 printable ASCII characters on one line" };
});

const mediaType = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[\w.+-]{1,127}\/[\w.+-]{1,127}$/.test(value)
    ? { value }
    : { expected: "a media type, such as application/octet-stream" };
});

const endpoint = z.object({
  name,
  url,
  headers: mapOf(isHeaderName, headerExpected, headerValue).optional(),
  headerFiles: mapOf(isHeaderName, headerExpected, path).optional(),
  timeout: timer().prefault("1s"),
  threshold: wholeNumber(1, 100).prefault("10"),
  backoff: timer().prefault("1s"),
  mediaType: oneOf(["v1", "v2"]).prefault("v1"),
  ignore: z
    .object({
      actions: z.array(oneOf(["pull", "push", "mount", "delete"])).optional(),
      mediaTypes: z.array(mediaType).max(maxItems, `at most ${maxItems} items`).optional(),
    })
    .optional(),
  headRequests: yesOrNo.prefault("false"),
});

export const endpoints = z.array(endpoint).max(maxEndpoints, `at most ${maxEndpoints} endpoints`);

/** Of characters that stand in a URL and a header alike; long enough that nobody guesses it. */
export const webhookSecret = parsedBy((text): Parsed<Secret> => {
  return /^[\x21-\x7e]{16,1024}$/.test(text)
    ? { value: new Secret(text) }
    : { expected: "a secret of 16 to 1024 printable ASCII characters without spaces" };
});

export const webhookSecretFiles = mapOf(
  (key) => webhookSources.some((source) => source === key),
  `one of ${webhookSources.join(", ")} as its key`,
  path,
);
