// The zod types of settings. Every input is text: the environment has nothing else, and YAML scalars are taken as
// written, so that a value means the same in both. An issue's message is what was expected.
import { createPrivateKey } from "node:crypto";
import { z } from "zod";
import { tokenKeyAlgorithm } from "../../gate/token/token-key.ts";
import { parseBasePath } from "../../oci/base-path.ts";
import { parseRepository, type Repository } from "../../oci/name.ts";
import { webhookSources } from "../../ports/event.ts";
import { Secret } from "../../ports/secret.ts";
import {
  type Address,
  formatAddress,
  formatListenPlace,
  parseAddress,
  parseDestination,
  parseHost,
  parseHostAndPort,
  parseListenPlace,
  parseNetwork,
  parseServerName,
} from "../address.ts";
import { parseClaimGlob, parseNameGlob, parsePermissionGlob, parseTagGlob } from "../glob.ts";
import { quote } from "../problem.ts";
import { type ProxyServer, parseNoProxy, parseProxy } from "../proxy.ts";
import {
  formatDuration,
  formatPercent,
  formatSize,
  type Parsed,
  parseDuration,
  parsePercent,
  parseSize,
} from "../units.ts";
import { formatPinBudget, parsePinBudget, parsePinPattern } from "./pin-types.ts";
import { parseCron, parseWarmImage } from "./warm-types.ts";

/** What else is known of a type. */
interface Traits {
  /** The text that is read back as the value; left out: the value itself, which YAML writes as it reads it. */
  readonly format?: (value: never) => string;
  /** What an editor may be told of a text (JSON Schema). */
  readonly json?: Readonly<Record<string, unknown>>;
  /** How a value may appear in a message: `hidden` is never shown, `url` without what may be secret in it. */
  readonly shown?: "hidden" | "url" | "path";
  /** What is in the file that a path names. */
  readonly holds?: z.ZodType<Secret, string>;
  /** What a secret, or the items of a list, are called in messages. */
  readonly called?: string;
  /** The key of a mapping that a single value stands for. */
  readonly shorthand?: string;
}

/** By type. No registry of zod's: its types take apart a type that stands in what is known of another. */
export const traits = new WeakMap<z.ZodType, Traits>();

function withTraits<T extends z.ZodType>(type: T, known: Traits): T {
  traits.set(type, known);
  return type;
}

/** A type of the values that `parse` makes of text; the spaces around it are no part of it, unless said. */
function text<T>(
  parse: (text: string) => Parsed<T>,
  about: Omit<Traits, "format"> & { readonly format?: (value: T) => string } = {},
  trim = true,
) {
  const type = z.string({ error: "a value" }).transform((written, context): T => {
    const result = parse(trim ? written.trim() : written);
    if ("value" in result) return result.value;
    context.addIssue({ code: "custom", message: result.expected });
    return z.NEVER;
  });
  return withTraits(type, { json: { type: "string" }, ...about } as Traits);
}

/** Text that passes the pattern. */
function word(pattern: RegExp, expected: string) {
  return text((value): Parsed<string> => (pattern.test(value) ? { value } : { expected }));
}

/** Text that passes the pattern and never prints; `called` in messages. */
function secret(called: string, pattern: RegExp, expected: string, trim = true) {
  return text(
    (value): Parsed<Secret> => (pattern.test(value) ? { value: new Secret(value) } : { expected }),
    { shown: "hidden", called },
    trim,
  );
}

// ---- numbers, times, sizes, words -------------------------------------------------------------------------------

/** The longest delay Node's timers take, 2^31 - 1 ms, in whole days. */
const longestTimer = 24 * 86_400_000;
const hundredYears = 36_500 * 86_400_000;

function duration(min: number, max: number, forever = false) {
  return text((value) => parseDuration(value, { min, max, forever }), { format: formatDuration });
}

/** A time a timer waits for, 1 ms (or 0, where that has a meaning) to 24 days; in milliseconds. */
export function timer(min: 0 | 1 = 1) {
  return duration(min, longestTimer);
}

/** How long a token lasts: clients take less than a minute for a minute. In milliseconds. */
export const tokenLifetime = duration(60_000, 3_600_000);

/** How long a proof of a right is believed, 1 s to 15 minutes, in milliseconds. */
export const proofLifetime = duration(1_000, 15 * 60_000);

/** How long something may be served while it is being confirmed, 0 to a day; in milliseconds. */
export const staleTime = duration(0, 86_400_000);

/** An age, 0 to 100 years or `forever`; in milliseconds. */
export const age = duration(0, hundredYears, true);

/** How often something is done, 1 s to 100 years, or 0, which is never; in milliseconds. */
export const interval = text(
  (value): Parsed<number> => {
    if (/^0 ?(?:ms|s|m|h|d)?$/.test(value)) return { value: 0 };
    const parsed = parseDuration(value, { min: 1_000, max: hundredYears, forever: false });
    return "expected" in parsed ? { expected: `${parsed.expected}, or 0 for never` } : parsed;
  },
  { format: formatDuration },
);

/** Bytes. */
export function size(minBytes: number) {
  return text((value) => parseSize(value, minBytes), { format: formatSize });
}

/** Bytes, 1 MB at least, or 0 for none. */
export const sizeOrNone = text(
  (value): Parsed<number> => {
    if (/^0 ?(?:MB|GB|MiB|GiB)?$/i.test(value)) return { value: 0 };
    const parsed = parseSize(value, 1_000_000);
    return "expected" in parsed ? { expected: `${parsed.expected}, or 0 for none` } : parsed;
  },
  { format: (bytes) => (bytes === 0 ? "0" : formatSize(bytes)) },
);

/** A share as a fraction; the bounds are in percent. */
export function percent(min: number, max: number) {
  return text((value) => parsePercent(value, min, max), { format: formatPercent });
}

export const yesOrNo = text(
  (written): Parsed<boolean> => {
    const value = written.toLowerCase();
    return /^(?:true|false)$/.test(value) ? { value: value === "true" } : { expected: "true or false" };
  },
  { json: { type: "boolean" } },
);

/** What becomes of `library/`, the namespace of Docker Hub's official images. */
export const library = text(
  (written): Parsed<boolean | "strip"> => {
    const value = written.toLowerCase();
    if (value === "strip") return { value };
    return /^(?:true|false)$/.test(value)
      ? { value: value === "true" }
      : { expected: "true, false or strip" };
  },
  { json: { enum: [true, false, "strip"] } },
);

export function wholeNumber(min: number, max: number) {
  return text(
    (written): Parsed<number> => {
      const value = /^\d{1,9}$/.test(written) ? Number(written) : Number.NaN;
      return value >= min && value <= max ? { value } : { expected: `a whole number from ${min} to ${max}` };
    },
    { json: { type: "integer", minimum: min, maximum: max } },
  );
}

/** An amount of money, 0 to a million, with up to six decimals. */
export const price = text(
  (written): Parsed<number> => {
    const value = /^\d{1,7}(?:\.\d{1,6})?$/.test(written) ? Number(written) : Number.NaN;
    return value <= 1_000_000 ? { value } : { expected: "a number from 0 to 1000000, such as 0.09" };
  },
  { json: { type: "number", minimum: 0, maximum: 1_000_000 } },
);

/** How many worker processes; `auto` leaves it to the machine. */
export const workers = text(
  (written): Parsed<number | "auto"> => {
    const value = written.trim().toLowerCase();
    if (value === "auto") return { value };
    return /^(?:[1-9]|[1-5]\d|6[0-4])$/.test(value)
      ? { value: Number(value) }
      : { expected: "a whole number from 1 to 64, or auto" };
  },
  { json: { anyOf: [{ type: "integer", minimum: 1, maximum: 64 }, { const: "auto" }] } },
);

export function oneOf<const T extends string>(words: readonly T[]) {
  return text(
    (written): Parsed<T> => {
      const value = words.find((each) => each === written.toLowerCase());
      return value === undefined ? { expected: `one of ${words.join(", ")}` } : { value };
    },
    { json: { enum: words } },
  );
}

function pathType(about: Omit<Traits, "format"> = {}) {
  const isPath = /^\P{Cc}{1,4096}$/u;
  return text(
    (value): Parsed<string> =>
      isPath.test(value) ? { value } : { expected: "a path of 1 to 4096 characters on one line" },
    about,
  );
}

export const path = pathType();
/** A file; what is written may be its content by mistake, so only what looks like a path is shown. */
export const file = pathType({ shown: "path" });

/** A file that holds a secret of this type. */
export function fileWith(holds: z.ZodType<Secret, string>) {
  return pathType({ shown: "path", holds });
}

// ---- lists ------------------------------------------------------------------------------------------------------

/** At most 100 items, unless said; `called` in messages. */
export function listOf<T extends z.ZodType>(item: T, max = 100, called = "items") {
  return withTraits(z.array(item).max(max, `at most ${max} ${called}`), { called });
}

/** A mapping of which every key passes the test; `expected` is said of one that does not. */
function mapOf<T extends z.ZodType>(isKey: (key: string) => boolean, expected: string, value: T) {
  return z.record(z.string(), value).superRefine((map, context) => {
    for (const key of Object.keys(map))
      if (!isKey(key)) context.addIssue({ code: "custom", path: [key], message: expected });
  });
}

// ---- addresses and names ----------------------------------------------------------------------------------------

export const basePath = text(
  (written): Parsed<string> => {
    const value = parseBasePath(written);
    return value === undefined
      ? { expected: "a path such as /registry, of letters, digits and - . _ ~" }
      : { value };
  },
  { format: (path) => path || "/" },
);
export const listenPlace = text(parseListenPlace, { format: formatListenPlace });
export const hostAndPort = text(parseHostAndPort);
export const host = text(parseHost);
export const network = text(parseNetwork);
/** A host, an address or a network. */
export const destination = text(parseDestination);
export const serverName = text(parseServerName);
export const tagGlob = text(parseTagGlob);
export const permission = text(parsePermissionGlob);
export const repositoryPattern = text((written) => parseNameGlob(written, "repositories, such as team/**"));
export const tagPattern = text((written) => parseNameGlob(written, "tags, such as v*"));

export const pinPattern = text(parsePinPattern);
export const pinBudget = text(parsePinBudget, { format: formatPinBudget });
/** How often pinned tags are confirmed, a minute to 30 days; in milliseconds. */
export const pinRefresh = duration(60_000, 30 * 86_400_000);

export const warmImage = text(parseWarmImage);
export const cron = text(parseCron);
export const platform = word(
  /^[a-z0-9]{1,32}\/[a-z0-9_]{1,32}(?:\/[a-z0-9._]{1,32})?$/,
  "a platform such as linux/amd64 or linux/arm64/v8",
);

/** A name or group as rules have it: those of workloads have a colon in it. */
export const caller = word(/^[^\p{Cc}]{1,255}$/u, "the name of a user or a group");
/** As a file of users may have it (gate/htpasswd.ts). */
export const user = word(/^[^\p{Cc}:]{1,255}$/u, "the name of a user, without a colon");

/** The name of an upstream; it is also a path prefix, where `v2` already means something. */
export const upstreamName = word(/^(?!v2$)[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -, and not v2");
/** The name of a team; what no team takes is `other`. */
export const teamName = word(/^(?!other$)[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -, and not other");
export const callerPattern = text((written) => parseClaimGlob(written, "names of callers, such as ci-*"));
export const currency = word(
  /^[^\s,"\p{Cc}]{1,8}$/u,
  "1 to 8 characters without spaces, commas and quotes, such as EUR",
);
export const endpointName = word(/^[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -");
export const nodeName = word(
  /^[\w.-]{1,128}$/,
  "a name of letters, digits, dots and dashes, such as mirror-1",
);

/** An origin and nothing more. */
export const nodeAddress = text((written): Parsed<string> => {
  const url = httpUrl(written);
  const isOrigin = url !== undefined && !/[@?#]/.test(written) && url.pathname === "/";
  return isOrigin && url.hostname !== "0.0.0.0" && url.hostname !== "[::]"
    ? { value: url.origin }
    : { expected: "http://host:port as the other nodes reach it, such as http://10.0.0.7:5000" };
});

export const nodeAddresses = listOf(nodeAddress).max(65, "at most 65 nodes");

function httpUrl(written: string): URL | undefined {
  return /^https?:\/\/[^\s\\]+$/i.test(written) ? (URL.parse(written) ?? undefined) : undefined;
}

/**
 * The http or https URL below which a server is asked; its path, where it has one, is kept without the slash at its end.
 * Refuses a query, a fragment, and credentials: `theirPlace` has settings that never print.
 */
function parseBaseUrl(written: string, expected: string, theirPlace: string): Parsed<URL> {
  const url = httpUrl(written);
  if (url === undefined) return { expected };
  // Even an @ in the path: a password with a slash in it looks like that.
  if (written.includes("@")) return { expected: `no credentials in the URL: they belong in ${theirPlace}` };
  if (/[?#]/.test(written)) return { expected: "a URL without a query or a fragment" };
  url.pathname = url.pathname.replace(/\/+$/, "");
  return { value: url };
}

/** A page for people: http or https, without credentials. */
export const webAddress = text((written): Parsed<string> => {
  const url = httpUrl(written);
  return url === undefined || url.username !== "" || url.password !== ""
    ? { expected: "an http or https URL without credentials, such as https://grafana.example.com/d/entrepot" }
    : { value: url.href };
});

/** The base URL of a registry, what stands before `/v2/`. */
export const upstreamUrl = text(
  (written): Parsed<URL> => {
    const expected = "an http or https URL with its scheme, such as https://registry.example.com";
    const parsed = parseBaseUrl(written, expected, "username and password");
    if ("expected" in parsed || !/\/v2$/i.test(parsed.value.pathname)) return parsed;
    return {
      expected:
        "the URL without /v2 at its end: it is the address before /v2/, which is added to every request",
    };
  },
  { format: (url) => url.href, shown: "url" },
);

/** A URL fit for a message: not at all when it may hold credentials, and never a query or fragment. */
export function describeUrl(written: string): string {
  const colonsOfSchemeAndPort = /:(?:\/\/|\d{1,5}(?=\/|$))/g;
  if (/[@:]/.test(written.replace(colonsOfSchemeAndPort, "")))
    return "a value that may hold a password (not shown)";
  return quote(written.replace(/[?#].*$/s, (rest) => `${rest.charAt(0)}...`));
}

/** A proxy, or `none`. Its account is never shown. */
export const proxy = text(
  (written): Parsed<ProxyServer | "none"> => {
    if (written.toLowerCase() === "none") return { value: "none" };
    const parsed = parseProxy(written);
    return "value" in parsed ? parsed : { expected: `${parsed.expected}, or none` };
  },
  { format: (proxy) => (proxy === "none" ? proxy : proxy.name), shown: "url" },
);

export const noProxy = listOf(text(parseNoProxy), 1_000);

/** The base URL of an OTLP receiver, without a slash at its end, or `environment`, which leaves it to the SDK. */
export const otelEndpoint = text(
  (written): Parsed<string> => {
    if (written.toLowerCase() === "environment") return { value: "environment" };
    const expected =
      "an http or https URL with its scheme, such as http://collector.example.com:4318, or environment";
    const parsed = parseBaseUrl(written, expected, "headers or headerFiles");
    if ("expected" in parsed) return parsed;
    return { value: parsed.value.href.replace(/\/$/, "") };
  },
  { shown: "url" },
);
/** How often metrics are sent, in milliseconds. */
export const otelInterval = duration(1_000, longestTimer);

// ---- an upstream ------------------------------------------------------------------------------------------------

/** The grammar of repositories (distribution-spec, "Pulling manifests"). */
export const repositoryPrefix = text((written): Parsed<Repository> => {
  const value = parseRepository(written);
  return value === undefined
    ? { expected: "a repository in lower case without slashes at its ends, such as docker-local" }
    : { value };
});

export const component = text((value): Parsed<string> => {
  return parseRepository(value) !== undefined && !value.includes("/")
    ? { value }
    : { expected: "one part of a repository, in lower case and without a slash, such as hub" };
});

/** RFC 7617 section 2: a user-id has no colon, and neither part has a control character. Spaces count. */
export const username = text(
  (value): Parsed<string> =>
    /^[^\p{Cc}:]{1,4096}$/u.test(value)
      ? { value }
      : { expected: "a user name of at least one character, without a colon or control characters" },
  { shown: "hidden" },
  false,
);

/** Spaces may be part of a password. */
export const password = secret(
  "password",
  /^\P{Cc}{1,4096}$/u,
  "a password of 1 to 4096 characters on one line, without control characters",
  false,
);

/** Longest password of an upstream, in UTF-16 units. */
const longestPassword = 32_768;

/**
 * A password of an upstream: as any other, or JSON of several lines, which the keys of service accounts are that Google
 * takes as passwords of `_json_key`. It is sent as it is.
 */
export const upstreamPassword = text(
  (value): Parsed<Secret> => {
    const isOneLine = /^\P{Cc}+$/u.test(value);
    return value.length <= longestPassword && (isOneLine || isJsonObject(value))
      ? { value: new Secret(value) }
      : {
          expected: `a password of 1 to ${longestPassword} characters on one line, without control characters, or a key in JSON`,
        };
  },
  { shown: "hidden", called: "password" },
  false,
);

function isJsonObject(written: string): boolean {
  if (!written.trimStart().startsWith("{")) return false;
  try {
    JSON.parse(written);
    return true;
  } catch {
    return false;
  }
}

/** RFC 9110 section 11.4: a scheme, then what it is given. */
export const authorization = secret(
  "Authorization header's value",
  /^(?=.{1,16384}$)[!#$%&'*+.^_`|~\w-]+ +[\x20-\x7e]+$/,
  "a scheme and what belongs to it, on one line, such as Bearer TOKEN",
);

/** RFC 6750 section 2.1 (b64token); long enough that nobody guesses it. */
export const opsToken = secret(
  "token",
  /^(?=.{16,1024}$)[\w.~+/-]+=*$/,
  "a token of 16 to 1024 letters, digits and - . _ ~ + /",
);

/** Long enough that nobody guesses it: whoever listens between nodes can try it out on what he has heard. */
export const nodeSecret = secret(
  "secret of the nodes",
  /^[\x21-\x7e]{32,1024}$/,
  "a secret of 32 to 1024 printable ASCII characters without spaces",
  false,
);

/** A private key in PEM that tokens can be signed with; in the file it may have a comment before it. */
export const tokenKey = text(
  (value): Parsed<Secret> =>
    isTokenKey(value)
      ? { value: new Secret(value) }
      : {
          expected:
            "a private key in PEM, not encrypted: EC P-256, Ed25519, or RSA of at least 2048 bits, such as openssl genpkey -algorithm ed25519 writes it",
        },
  { shown: "hidden", called: "key of tokens" },
  false,
);

function isTokenKey(pem: string): boolean {
  try {
    return tokenKeyAlgorithm(createPrivateKey(pem)) !== undefined;
  } catch {
    return false;
  }
}

/** What a challenge can carry in quotes, and a claim `aud`. */
export const tokenAudience = word(
  /^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/,
  "1 to 255 printable ASCII characters without spaces, quotes and backslashes, such as mirror.example.com",
);

/** As the claim `iss` has it, to the letter. */
export const tokenIssuer = word(
  /^[\x21-\x7e]{1,1024}$/,
  "the issuer as tokens name it, such as https://token.actions.githubusercontent.com",
);

/** Where public keys are. */
export const keySetUrl = text(
  (written) => parseBaseUrl(written, "the http or https URL of a key set (JWKS)", "no setting: it is public"),
  { format: (url) => url.href, shown: "url" },
);

/** A key set (RFC 7517) is no secret, but its file is read as those of secrets are. */
export const keySet = text(
  (value): Parsed<Secret> =>
    isKeySet(value)
      ? { value: new Secret(value) }
      : { expected: 'a key set in JSON, {"keys": [...]}, with a public key at least and no private one' },
  { shown: "hidden", called: "key set" },
  false,
);

function isKeySet(written: string): boolean {
  try {
    const { keys } = JSON.parse(written) as { keys?: unknown };
    const isPublic = (key: unknown): boolean => typeof key === "object" && key !== null && !("d" in key);
    return Array.isArray(keys) && keys.length > 0 && keys.every(isPublic);
  } catch {
    return false;
  }
}

export const claimPattern = text((written) =>
  written.length > 512
    ? { expected: "a pattern of at most 512 characters" }
    : parseClaimGlob(written, "a claim's values, such as team-a/**"),
);

/** What begins the names of an issuer's workloads. */
export const workloadName = word(/^[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -");
const claim = /^[\x21-\x7e]{1,255}$/;
export const claimName = word(claim, "the name of a claim, such as namespace_path");

/** Patterns by the claims they are for. */
export const claimPatterns = mapOf((key) => claim.test(key), "the name of a claim", claimPattern);

/** Names of upstreams here, with those that the same registries have at another mirror. */
export const upstreamNames = mapOf(
  (key) => upstreamName.safeParse(key).success,
  "the name of an upstream",
  upstreamName,
);

/** Of characters that a challenge can carry in quotes. */
export const tokenRealm = text(
  (written): Parsed<string> => {
    const value = httpUrl(written);
    return value !== undefined &&
      !/[@?#]/.test(written) &&
      /^[\x21\x23-\x5b\x5d-\x7e]{1,1024}$/.test(value.href)
      ? { value: value.href }
      : {
          expected:
            "the http or https URL where clients get tokens, without a query, such as https://mirror.example.com/v2/token",
        };
  },
  { shown: "url" },
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

/** An e-mail address or an id. */
export const credentialSourceIdentity = word(
  /^[\w.@-]{1,256}$/,
  "a service account such as mirror@project.iam.gserviceaccount.com, or a client id",
);

export const credentialSourceUrl = text(
  (written) =>
    parseBaseUrl(
      written,
      "an http or https URL, such as https://api.ecr.example.com",
      "no setting: the cloud knows the machine",
    ),
  { format: (url) => url.href, shown: "url" },
);

const occasions = z
  .array(oneOf(["absent", "denied", "failure"]))
  .min(1, "one to three of absent, denied, failure")
  .max(3, "one to three of absent, denied, failure");

/** In the file, a plain name stands for `{upstream: NAME}`. */
export const next = withTraits(z.object({ upstream: upstreamName, on: occasions.optional() }), {
  shorthand: "upstream",
});

// ---- Redis ------------------------------------------------------------------------------------------------------

const usualPort = 6379;

/** Nothing but a scheme, a host and a port: the rest has settings of its own, which never print. */
export const redisUrl = text(
  (written): Parsed<Address & { readonly tls: boolean }> => {
    if (written.includes("@"))
      return {
        expected:
          "no credentials in the URL: the user belongs in redis.username, the password in the file that redis.passwordFile names",
      };
    const [, scheme = "", place = "", rest = ""] = /^(rediss?):\/\/([^/?#]*)(.*)$/i.exec(written) ?? [];
    if (/^\/\d+$/.test(rest)) return { expected: "no database in the URL: it belongs in redis.db" };
    if (scheme === "" || !/^\/?$/.test(rest))
      return { expected: "redis://host:port, or rediss://host:port for TLS, and nothing after it" };
    const server = parseServer(/:\d+$/.test(place) ? place : `${place}:${usualPort}`);
    return "value" in server ? { value: { ...server.value, tls: scheme.length === 6 } } : server;
  },
  { format: (url) => `${url.tls ? "rediss" : "redis"}://${formatAddress(url)}`, shown: "url" },
);

/** An address to connect to: the host and the port are both there. */
function parseServer(written: string): Parsed<Address> {
  const parsed = parseAddress(written);
  const isServer =
    "value" in parsed && parsed.value.port !== 0 && "value" in parseHost(written.replace(/:\d+$/, ""));
  return isServer ? parsed : { expected: "host:port, such as redis.example.com:6379" };
}

export const servers = listOf(text(parseServer, { format: formatAddress })).min(1, "at least one host:port");

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

/** The address of a server. */
export const s3Endpoint = text(
  (written) =>
    parseBaseUrl(written, "an http or https URL, such as https://s3.example.com", "the access key"),
  { format: (url) => url.href, shown: "url" },
);

export const region = word(/^[a-z0-9-]{1,64}$/i, "a region such as eu-central-1");
/** AWS allows less ("Bucket naming rules"), but others have buckets from before there were rules. */
export const bucket = word(
  /^[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]$/i,
  "the name of a bucket, without s3:// and without a path",
);

/** Ends in a slash, whether it was written or not; the characters that need no care ("Naming Amazon S3 objects"). */
export const s3Prefix = text((written): Parsed<string> => {
  const value = written.replace(/\/$/, "");
  const isPlain = value.split("/").every((part) => /^[\w.!*'()-]+$/.test(part) && !/^\.+$/.test(part));
  return isPlain && value.length <= 512
    ? { value: `${value}/` }
    : { expected: "a path such as mirror/eu, of letters, digits and - _ . ! * ' ( )" };
});

export const accessKeyId = secret(
  "access key's id",
  /^[\x21-\x7e]{1,256}$/,
  "an access key's id of 1 to 256 characters without spaces",
);
export const secretAccessKey = secret(
  "secret access key",
  /^[\x21-\x7e]{1,4096}$/,
  "a secret access key of 1 to 4096 characters without spaces",
);

/** As S3 writes them in `x-amz-server-side-encryption`. */
export const encryption = text(
  (written): Parsed<"AES256" | "aws:kms"> => {
    const value = written.toLowerCase();
    if (value === "aes256") return { value: "AES256" };
    return value === "aws:kms" ? { value } : { expected: "one of aes256, aws:kms" };
  },
  { json: { enum: ["AES256", "aes256", "aws:kms"] } },
);

/** The name, ARN or alias of a key of AWS KMS. */
export const keyId = word(/^[\x21-\x7e]{1,2048}$/, "the id, alias or ARN of a key");

// ---- LDAP -------------------------------------------------------------------------------------------------------

/** Nothing but a scheme, a host and a port: the rest has settings of its own. */
const ldapUrl = text(
  (written): Parsed<Address & { readonly tls: boolean }> => {
    const expected = "ldaps://host, ldap://host, or one of these with :port, and nothing after it";
    const [, scheme = "", place = ""] = /^(ldaps?):\/\/([^/?#@]+)\/?$/i.exec(written) ?? [];
    const tls = scheme.length === 5;
    const server = parseServer(/:\d+$/.test(place) ? place : `${place}:${tls ? 636 : 389}`);
    return scheme !== "" && "value" in server ? { value: { ...server.value, tls } } : { expected };
  },
  { format: (url) => `ldap${url.tls ? "s" : ""}://${formatAddress(url)}`, shown: "url" },
);

export const ldapUrls = listOf(ldapUrl, 8);

const isDn = (written: string): boolean => /^[a-z\d][\w.-]* *=\P{Cc}{1,1024}$/iu.test(written);
const expectedDn = "the name of an entry, such as ou=people,dc=example,dc=com";
/** The name of an entry (RFC 4514), as far as it can be told without the directory. */
export const dn = text((value): Parsed<string> => (isDn(value) ? { value } : { expected: expectedDn }));

/** RFC 4515, section 3. What is matched becomes a line's end, from the innermost parentheses outwards. */
function isFilter(written: string): boolean {
  if (/\p{Cc}/u.test(written) || written.length > 1024) return false;
  const inner =
    /\((?:[&|]\n+|!\n|(?:[\w-]+|[\w-]*(?::[\w.-]+)*:|[\w-]+[<>~])=(?:[^()\\\n]|\\[\da-f]{2})*)\)/gi;
  let rest = written;
  for (let before = ""; rest !== before; ) {
    before = rest;
    rest = rest.replace(inner, "\n");
  }
  return rest === "\n";
}

/** With the name that a client has sent, or what was found by it, in the place of one of `words` in braces. */
function templateOf(is: (written: string) => boolean, words: readonly string[], expected: string) {
  return text((value): Parsed<string> => {
    const names = [...value.matchAll(/\{(\w*)\}/g)].map(([, name = ""]) => name);
    const known = names.length > 0 && names.every((name) => words.includes(name));
    return is(value) && known ? { value } : { expected };
  });
}

export const userDn = templateOf(isDn, ["user"], "the name of an entry with {user} in it");
export const userFilter = templateOf(isFilter, ["user"], "a filter in parentheses with {user} in it");
export const groupFilter = templateOf(
  isFilter,
  ["dn", "user"],
  "a filter in parentheses with {dn} or {user} in it",
);
/** RFC 4512, section 1.4. */
export const attribute = word(/^[a-z][a-z0-9-]{0,127}$/i, "the name of an attribute, such as uid");

// ---- notifications and webhooks ---------------------------------------------------------------------------------

/** The query may be a secret of the receiver's, so it is allowed and never shown. */
export const endpointUrl = text(
  (written): Parsed<URL> => {
    const value = httpUrl(written);
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
  { format: (url) => `${url.origin}${url.pathname}`, shown: "url" },
);

const ownHeader = /^(?:content-(?:type|length)|transfer-encoding|connection|host|expect)$/i;

/** By the names of headers, but for those the program sets itself. */
export function headersOf<T extends z.ZodType>(value: T) {
  const isName = (key: string) => /^[\w-]{1,64}$/.test(key) && !ownHeader.test(key);
  return mapOf(isName, "the name of a header, but none that is sent anyway", value);
}

/** RFC 9110 section 5.5, without the bytes above ASCII that nobody agrees on. */
export const headerValue = secret(
  "header's value",
  /^[\x20-\x7e]{1,8192}$/,
  "a header's value of 1 to 8192 printable ASCII characters on one line",
);

export const mediaType = word(
  /^[\w.+-]{1,127}\/[\w.+-]{1,127}$/,
  "a media type, such as application/octet-stream",
);

/** Of characters that stand in a URL and a header alike; long enough that nobody guesses it. */
export const webhookSecret = secret(
  "webhook secret",
  /^[\x21-\x7e]{16,1024}$/,
  "a secret of 16 to 1024 printable ASCII characters without spaces",
  false,
);

export const webhookSecretFiles = mapOf(
  (key) => webhookSources.some((source) => source === key),
  `one of ${webhookSources.join(", ")} as its key`,
  fileWith(webhookSecret),
);
