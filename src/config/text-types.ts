// The zod types of settings. Every input is text: the environment has nothing else, and YAML scalars are taken as
// written, so that a value means the same in both. An issue's message is what was expected.
import { z } from "zod";
import { parseRepository, type Repository } from "../oci/name.ts";
import { webhookSources } from "../ports/event.ts";
import {
  type Address,
  formatAddress,
  parseAddress,
  parseDestination,
  parseHost,
  parseHostAndPort,
  parseNetwork,
  parseServerName,
} from "./address.ts";
import { parsePermissionGlob, parseTagGlob } from "./glob.ts";
import { quote } from "./problem.ts";
import { Secret } from "./secret.ts";
import {
  formatDuration,
  formatPercent,
  formatSize,
  type Parsed,
  parseDuration,
  parsePercent,
  parseSize,
} from "./units.ts";

/** What else is known of a type of text. */
interface About<T> {
  /** The text that is read back as the value; left out: the value itself, which YAML writes as it reads it. */
  readonly format?: (value: T) => string;
  /** What an editor may be told of it besides that it is text (JSON Schema). */
  readonly json?: Readonly<Record<string, unknown>>;
}

const abouts = z.registry<About<never>>();

/** The value of a setting of this type as it is written in a file. */
export function formatText(type: z.ZodType, value: unknown): unknown {
  const format = abouts.get(type)?.format;
  return format === undefined ? value : format(value as never);
}

/** JSON Schema of a type of text; undefined for every other type. */
export function jsonOfText(type: z.ZodType): Readonly<Record<string, unknown>> | undefined {
  const about = abouts.get(type);
  return about && (about.json ?? { type: "string" });
}

/** A type of the values that `parse` makes of text. */
export function text<T>(parse: (text: string) => Parsed<T>, about: About<T> = {}) {
  const type = z.string({ error: "a value" }).transform((written, context): T => {
    const result = parse(written);
    if ("value" in result) return result.value;
    context.addIssue({ code: "custom", message: result.expected });
    return z.NEVER;
  });
  abouts.add(type, about as unknown as About<never>);
  return type;
}

/** Text without the spaces around it that passes the pattern. */
function word(pattern: RegExp, expected: string) {
  return text((written): Parsed<string> => {
    const value = written.trim();
    return pattern.test(value) ? { value } : { expected };
  });
}

/** Text that passes the pattern as it is, spaces included, and never prints. */
function secret(pattern: RegExp, expected: string, trim = false) {
  return text((written): Parsed<Secret> => {
    const value = trim ? written.trim() : written;
    return pattern.test(value) ? { value: new Secret(value) } : { expected };
  });
}

// ---- numbers, times, sizes, words -------------------------------------------------------------------------------

/** The longest delay Node's timers take, 2^31 - 1 ms, in whole days. */
const longestTimer = 24 * 86_400_000;
const hundredYears = 36_500 * 86_400_000;

/** A time a timer waits for, 1 ms (or 0, where that has a meaning) to 24 days; in milliseconds. */
export function timer(min: 0 | 1 = 1) {
  const bounds = { min, max: longestTimer, forever: false };
  return text((written) => parseDuration(written.trim(), bounds), { format: formatDuration });
}

/** An age, 0 to 100 years or `forever`; in milliseconds. */
export const age = text(
  (written) => parseDuration(written.trim(), { min: 0, max: hundredYears, forever: true }),
  { format: formatDuration },
);

/** How often something is done, 1 s to 100 years, or 0, which is never; in milliseconds. */
export const interval = text(
  (written): Parsed<number> => {
    const value = written.trim();
    if (/^0 ?(?:ms|s|m|h|d)?$/.test(value)) return { value: 0 };
    const parsed = parseDuration(value, { min: 1_000, max: hundredYears, forever: false });
    return "expected" in parsed ? { expected: `${parsed.expected}, or 0 for never` } : parsed;
  },
  { format: formatDuration },
);

/** Bytes. */
export function size(minBytes: number) {
  return text((written) => parseSize(written.trim(), minBytes), { format: formatSize });
}

/** A share as a fraction; the bounds are in percent. */
export function percent(min: number, max: number) {
  return text((written) => parsePercent(written.trim(), min, max), { format: formatPercent });
}

export const yesOrNo = text(
  (written): Parsed<boolean> => {
    const value = written.trim().toLowerCase();
    return value === "true" || value === "false"
      ? { value: value === "true" }
      : { expected: "true or false" };
  },
  { json: { type: "boolean" } },
);

export function wholeNumber(min: number, max: number) {
  return text(
    (written): Parsed<number> => {
      const value = /^\d{1,9}$/.test(written.trim()) ? Number(written) : Number.NaN;
      return value >= min && value <= max ? { value } : { expected: `a whole number from ${min} to ${max}` };
    },
    { json: { type: "integer", minimum: min, maximum: max } },
  );
}

export function oneOf<const T extends string>(words: readonly T[]) {
  return text(
    (written): Parsed<T> => {
      const value = words.find((each) => each === written.trim().toLowerCase());
      return value === undefined ? { expected: `one of ${words.join(", ")}` } : { value };
    },
    { json: { enum: words } },
  );
}

const maxPathLength = 4096;

export const path = text((written): Parsed<string> => {
  const value = written.trim();
  return value === "" || value.length > maxPathLength || /\p{Cc}/u.test(value)
    ? { expected: `a path of 1 to ${maxPathLength} characters on one line` }
    : { value };
});

// ---- lists ------------------------------------------------------------------------------------------------------

const things = z.registry<{ readonly called: string }>();

/** At most 100 items, unless said; `called` in messages. */
export function listOf<T extends z.ZodType>(item: T, max = 100, called = "items") {
  return z.array(item).max(max, `at most ${max} ${called}`).register(things, { called });
}

/** What the items of a list are called. */
export function thingsOf(type: z.ZodType): string {
  return things.get(type)?.called ?? "items";
}

/** A mapping of which every key passes the test; `expected` is said of one that does not. */
function mapOf<T extends z.ZodType>(isKey: (key: string) => boolean, expected: string, value: T) {
  return z.record(z.string(), value).superRefine((map, context) => {
    for (const key of Object.keys(map))
      if (!isKey(key)) context.addIssue({ code: "custom", path: [key], message: expected });
  });
}

// ---- addresses and names ----------------------------------------------------------------------------------------

export const address = text((written) => parseAddress(written.trim()), { format: formatAddress });
export const hostAndPort = text(parseHostAndPort);
export const host = text(parseHost);
export const network = text(parseNetwork);
/** A host, an address or a network. */
export const destination = text(parseDestination);
export const serverName = text(parseServerName);
export const tagGlob = text(parseTagGlob);
export const permission = text(parsePermissionGlob);

/** The name of an upstream; it is also a path prefix, where `v2` already means something. */
export const upstreamName = word(/^(?!v2$)[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -, and not v2");
export const endpointName = word(/^[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -");
export const nodeName = word(
  /^[\w.-]{1,128}$/,
  "a name of letters, digits, dots and dashes, such as mirror-1",
);

/** An origin and nothing more. */
export const nodeAddress = text((written): Parsed<string> => {
  const value = written.trim().replace(/\/$/, "");
  const parsed = URL.parse(value);
  const isOrigin =
    parsed !== null && /^https?:$/.test(parsed.protocol) && !/[@?#]/.test(value) && parsed.pathname === "/";
  return isOrigin && parsed.hostname !== "0.0.0.0" && parsed.hostname !== "[::]"
    ? { value: parsed.origin }
    : { expected: "http://host:port as the other nodes reach it, such as http://10.0.0.7:5000" };
});

const formatUrl = { format: (url: URL) => url.href };

/**
 * The base URL of a registry, what stands before `/v2/`: http or https, the path kept without its trailing slash.
 * Refuses credentials (they belong in settings that never print), a query, a fragment, and `/v2` at its end.
 */
export const upstreamUrl = text((written): Parsed<URL> => {
  const value = written.trim();
  const url = httpUrl(value);
  if (url === undefined)
    return { expected: "an http or https URL with its scheme, such as https://registry.example.com" };
  // Even an @ in the path: a password with a slash in it looks like that.
  if (value.includes("@"))
    return { expected: "no credentials in the URL: they belong in username and password" };
  if (/[?#]/.test(value)) return { expected: "a URL without a query or a fragment" };
  url.pathname = url.pathname.replace(/\/+$/, "");
  return /\/v2$/i.test(url.pathname)
    ? {
        expected:
          "the URL without /v2 at its end: it is the address before /v2/, which is added to every request",
      }
    : { value: url };
}, formatUrl);

function httpUrl(written: string): URL | undefined {
  return /^https?:\/\/[^\s\\]+$/i.test(written) ? (URL.parse(written) ?? undefined) : undefined;
}

/** A URL fit for a message: not at all when it may hold credentials, and never a query or fragment. */
export function describeUrl(written: string): string {
  const colonsOfSchemeAndPort = /:(?:\/\/|\d{1,5}(?=\/|$))/g;
  if (/[@:]/.test(written.replace(colonsOfSchemeAndPort, "")))
    return "a value that may hold a password (not shown)";
  return quote(written.replace(/[?#].*$/s, (rest) => `${rest.charAt(0)}...`));
}

// ---- an upstream ------------------------------------------------------------------------------------------------

/** The grammar of repositories (distribution-spec, "Pulling manifests"). */
export const repositoryPrefix = text((written): Parsed<Repository> => {
  const value = parseRepository(written.trim());
  return value === undefined
    ? { expected: "a repository in lower case without slashes at its ends, such as docker-local" }
    : { value };
});

export const component = text((written): Parsed<string> => {
  const value = written.trim();
  return parseRepository(value) !== undefined && !value.includes("/")
    ? { value }
    : { expected: "one part of a repository, in lower case and without a slash, such as hub" };
});

/** RFC 7617 section 2: a user-id has no colon, and neither part has a control character. Spaces count. */
export const username = text((written): Parsed<string> => {
  return /^[^\p{Cc}:]{1,4096}$/u.test(written)
    ? { value: written }
    : { expected: "a user name of at least one character, without a colon or control characters" };
});

/** Spaces may be part of a password. */
export const password = secret(
  /^\P{Cc}{1,4096}$/u,
  "a password of 1 to 4096 characters on one line, without control characters",
);

/** RFC 9110 section 11.4: a scheme, then what it is given. */
export const authorization = secret(
  /^(?=.{1,16384}$)[!#$%&'*+.^_`|~\w-]+ +[\x20-\x7e]+$/,
  "a scheme and what belongs to it, on one line, such as Bearer TOKEN",
  true,
);

/** The end of a program's name after `docker-credential-`, or the path of a program. */
export const credentialHelper = word(
  /^(?:[a-z0-9][a-z0-9._-]{0,63}|\/[^\0]{1,4095})$/i,
  "NAME for the program docker-credential-NAME, or the absolute path of one",
);

export const credentialHelperRegistry = word(
  /^[\x21-\x7e]{1,2048}$/,
  "a registry as the program knows it, such as registry.example.com",
);

const occasions = z
  .array(oneOf(["absent", "failure"]))
  .min(1, "absent, failure or both")
  .max(2, "absent, failure or both");

/** In the file, a plain name stands for `{upstream: NAME}`. */
export const next = z.object({ upstream: upstreamName, on: occasions.prefault(["absent", "failure"]) });

// ---- Redis ------------------------------------------------------------------------------------------------------

const usualPort = 6379;

/** Nothing but a scheme, a host and a port: the rest has settings of its own, which never print. */
export const redisUrl = text(
  (written): Parsed<Address & { readonly tls: boolean }> => {
    const value = written.trim();
    if (value.includes("@"))
      return {
        expected:
          "no credentials in the URL: the user belongs in redis.username, the password in the file that redis.passwordFile names",
      };
    const [, scheme = "", place = "", rest = ""] = /^(rediss?):\/\/([^/?#]*)(.*)$/i.exec(value) ?? [];
    if (/^\/\d+$/.test(rest)) return { expected: "no database in the URL: it belongs in redis.db" };
    if (scheme === "" || !/^\/?$/.test(rest))
      return { expected: "redis://host:port, or rediss://host:port for TLS, and nothing after it" };
    const server = parseServer(/:\d+$/.test(place) ? place : `${place}:${usualPort}`);
    return "value" in server ? { value: { ...server.value, tls: scheme.length === 6 } } : server;
  },
  { format: (url) => `${url.tls ? "rediss" : "redis"}://${formatAddress(url)}` },
);

/** An address to connect to: the host and the port are both there. */
function parseServer(written: string): Parsed<Address> {
  const parsed = parseAddress(written);
  const isServer =
    "value" in parsed && parsed.value.port !== 0 && "value" in parseHost(written.replace(/:\d+$/, ""));
  return isServer ? parsed : { expected: "host:port, such as redis.example.com:6379" };
}

export const servers = listOf(text((written) => parseServer(written.trim()), { format: formatAddress })).min(
  1,
  "at least one host:port",
);

/** Sentinel's own configuration takes these. */
export const master = word(/^[\w.-]{1,128}$/, "a name of letters, digits, dots and dashes, such as mymaster");
/** What an ACL file can hold: no spaces. */
export const redisUser = word(/^[\x21-\x7e]{1,256}$/, "a user name without spaces");
/** Without braces, which decide the slot of a key in a Cluster. */
export const redisPrefix = word(
  /^[^\s{}\p{Cc}]{1,64}$/u,
  "1 to 64 characters without spaces and braces, such as entrepot:",
);

// ---- S3 ---------------------------------------------------------------------------------------------------------

/** The address of a server; its path, where it has one, is kept without the slash at its end. */
export const s3Endpoint = text((written): Parsed<URL> => {
  const value = written.trim();
  const url = httpUrl(value);
  if (url === undefined) return { expected: "an http or https URL, such as https://s3.example.com" };
  if (value.includes("@")) return { expected: "no credentials in the URL: they belong in the access key" };
  if (/[?#]/.test(value)) return { expected: "a URL without a query or a fragment" };
  url.pathname = url.pathname.replace(/\/+$/, "");
  return { value: url };
}, formatUrl);

export const region = word(/^[a-z0-9-]{1,64}$/i, "a region such as eu-central-1");
/** AWS allows less ("Bucket naming rules"), but others have buckets from before there were rules. */
export const bucket = word(
  /^[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]$/i,
  "the name of a bucket, without s3:// and without a path",
);

/** Ends in a slash, whether it was written or not; the characters that need no care ("Naming Amazon S3 objects"). */
export const s3Prefix = text((written): Parsed<string> => {
  const value = written.trim().replace(/\/$/, "");
  const isPlain = value.split("/").every((part) => /^[\w.!*'()-]+$/.test(part) && !/^\.+$/.test(part));
  return isPlain && value.length <= 512
    ? { value: `${value}/` }
    : { expected: "a path such as mirror/eu, of letters, digits and - _ . ! * ' ( )" };
});

export const accessKeyId = secret(
  /^[\x21-\x7e]{1,256}$/,
  "an access key's id of 1 to 256 characters without spaces",
  true,
);
export const secretAccessKey = secret(
  /^[\x21-\x7e]{1,4096}$/,
  "a secret access key of 1 to 4096 characters without spaces",
  true,
);
/** As S3 writes them in `x-amz-server-side-encryption`. */
export const encryption = text(
  (written): Parsed<"AES256" | "aws:kms"> => {
    const value = written.trim().toLowerCase();
    if (value === "aes256") return { value: "AES256" };
    return value === "aws:kms" ? { value } : { expected: "one of aes256, aws:kms" };
  },
  { json: { enum: ["AES256", "aes256", "aws:kms"] } },
);

/** The name, ARN or alias of a key of AWS KMS. */
export const keyId = word(/^[\x21-\x7e]{1,2048}$/, "the id, alias or ARN of a key");

// ---- notifications and webhooks ---------------------------------------------------------------------------------

/** The query may be a secret of the receiver's, so it is allowed and never shown. */
export const endpointUrl = text(
  (written): Parsed<URL> => {
    const value = httpUrl(written.trim());
    if (value === undefined)
      return {
        expected: "an http or https URL with its scheme, such as https://audit.example.com/events",
      };
    if (value.username !== "" || value.password !== "")
      return {
        expected: "no credentials in the URL: an Authorization header belongs in headers or headerFiles",
      };
    return value.hash === "" ? { value } : { expected: "a URL without a fragment" };
  },
  { format: (url) => `${url.origin}${url.pathname}` },
);

/** Those the program sets itself. */
const ownHeaders = new Set([
  "content-type",
  "content-length",
  "transfer-encoding",
  "connection",
  "host",
  "expect",
]);

/** By the names of headers. */
export function headersOf<T extends z.ZodType>(value: T) {
  const isName = (key: string) => /^[\w-]{1,64}$/.test(key) && !ownHeaders.has(key.toLowerCase());
  return mapOf(isName, "the name of a header, but none that is sent anyway", value);
}

/** RFC 9110 section 5.5, without the bytes above ASCII that nobody agrees on. */
export const headerValue = secret(
  /^[\x20-\x7e]{1,8192}$/,
  "a header's value of 1 to 8192 printable ASCII characters on one line",
  true,
);

export const mediaType = word(
  /^[\w.+-]{1,127}\/[\w.+-]{1,127}$/,
  "a media type, such as application/octet-stream",
);

/** Of characters that stand in a URL and a header alike; long enough that nobody guesses it. */
export const webhookSecret = secret(
  /^[\x21-\x7e]{16,1024}$/,
  "a secret of 16 to 1024 printable ASCII characters without spaces",
);

export const webhookSecretFiles = mapOf(
  (key) => webhookSources.some((source) => source === key),
  `one of ${webhookSources.join(", ")} as its key`,
  path,
);
