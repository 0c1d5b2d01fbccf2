// The zod types of an upstream's own settings.
import { z } from "zod";
import { parseRepository, type Repository } from "../oci/name.ts";
import { parsePermissionGlob } from "./glob.ts";
import { parseDestination, parseHost, parseHostAndPort, parseNetwork, parseServerName } from "./host.ts";
import type { Parsed } from "./parsed.ts";
import { parsedBy } from "./parsed-by.ts";
import { Secret } from "./secret.ts";
import { parseUpstreamUrl } from "./upstream-url.ts";
import { oneOf } from "./value-types.ts";

const maxItems = 100;

function listOf<T extends z.ZodType>(item: T) {
  return z.array(item).max(maxItems, `at most ${maxItems} items`);
}

export const url = parsedBy((text) => parseUpstreamUrl(text.trim()));

/** The name of an upstream; it is also a path prefix, where `v2` already means something. */
export const name = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[a-z0-9-]{1,32}$/.test(value) && value !== "v2"
    ? { value }
    : { expected: "1 to 32 of a-z, 0-9 and -, and not v2" };
});

/** The grammar of repositories (distribution-spec, "Pulling manifests"). */
export const repositoryPrefix = parsedBy((text): Parsed<Repository> => {
  const value = parseRepository(text.trim());
  return value === undefined
    ? { expected: "a repository in lower case without slashes at its ends, such as docker-local" }
    : { value };
});

/** RFC 7617 section 2: a user-id has no colon, and neither part has a control character. */
export const username = parsedBy((text): Parsed<string> => {
  return /^[^\p{Cc}:]{1,4096}$/u.test(text)
    ? { value: text }
    : { expected: "a user name of at least one character, without a colon or control characters" };
});

/** Not trimmed: spaces may be part of a password. */
export const password = parsedBy((text): Parsed<Secret> => {
  return /^\P{Cc}{1,4096}$/u.test(text)
    ? { value: new Secret(text) }
    : { expected: "a password of 1 to 4096 characters on one line, without control characters" };
});

/** RFC 9110 section 11.4: a scheme, then what it is given. */
export const authorization = parsedBy((text): Parsed<Secret> => {
  const value = text.trim();
  return /^[!#$%&'*+.^_`|~\w-]+ +[\x20-\x7e]+$/.test(value) && value.length <= 16_384
    ? { value: new Secret(value) }
    : { expected: "a scheme and what belongs to it, on one line, such as Bearer TOKEN" };
});

/** The end of a program's name after `docker-credential-`, or the path of a program. */
export const credentialHelper = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[a-z0-9][a-z0-9._-]{0,63}$/i.test(value) || /^\/[^\0]{1,4095}$/.test(value)
    ? { value }
    : { expected: "NAME for the program docker-credential-NAME, or the absolute path of one" };
});

export const credentialHelperRegistry = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return /^[\x21-\x7e]{1,2048}$/.test(value)
    ? { value }
    : { expected: "a registry as the program knows it, such as registry.example.com" };
});

export const serverName = parsedBy(parseServerName);
export const tokenRealms = listOf(parsedBy(parseHostAndPort));
export const destinations = listOf(parsedBy(parseDestination));
export const networks = listOf(parsedBy(parseNetwork));
export const namespaces = listOf(parsedBy(parseHostAndPort));
export const hosts = listOf(parsedBy(parseHost));
export const permissions = listOf(parsedBy(parsePermissionGlob));

export const component = parsedBy((text): Parsed<string> => {
  const value = text.trim();
  return parseRepository(value) !== undefined && !value.includes("/")
    ? { value }
    : { expected: "one part of a repository, in lower case and without a slash, such as hub" };
});

const occasions = z
  .array(oneOf(["absent", "failure"]))
  .min(1, "absent, failure or both")
  .max(2, "absent, failure or both");

export const next = z
  .object({ upstream: name, on: occasions.optional() })
  .transform(({ upstream, on = ["absent", "failure"] }) => ({
    name: upstream,
    onAbsent: on.includes("absent"),
    onFailure: on.includes("failure"),
  }));
