// The part of the table of settings that every upstream has; in the file below `upstream`, and in every item of
// `upstreams`.
import type { Setting } from "./setting.ts";
import * as upstream from "./upstream-types.ts";
import * as type from "./value-types.ts";

export const upstreamSettings = {
  "upstream.name": {
    env: "ENTREPOT_UPSTREAM_NAME",
    default: "upstream",
    type: upstream.name,
    description: "Name of the registry in logs and metrics, and in paths as /NAME/v2/",
  },
  "upstream.url": {
    env: "ENTREPOT_UPSTREAM_URL",
    default: undefined,
    type: upstream.url,
    shown: "url",
    description: "Required: the registry to mirror, http or https, with its path but without /v2",
  },
  "upstream.repositoryPrefix": {
    env: "ENTREPOT_UPSTREAM_REPOSITORY_PREFIX",
    default: undefined,
    type: upstream.repositoryPrefix,
    description:
      "Put before every repository when the registry is asked: docker-local for Artifactory's repository-path method",
  },
  "upstream.username": {
    env: "ENTREPOT_UPSTREAM_USERNAME",
    default: undefined,
    type: upstream.username,
    shown: "hidden",
    description: "Account at the registry; leave it out to pull anonymously",
  },
  "upstream.password": {
    env: "ENTREPOT_UPSTREAM_PASSWORD",
    default: undefined,
    type: upstream.password,
    shown: "hidden",
    description: "Its password or token",
  },
  "upstream.passwordFile": {
    env: "ENTREPOT_UPSTREAM_PASSWORD_FILE",
    default: undefined,
    type: type.path,
    shown: "path",
    description:
      "File that holds the password, instead of the password itself; read again whenever it changes",
  },
  "upstream.authorization": {
    env: undefined,
    default: undefined,
    type: upstream.authorization,
    shown: "hidden",
    description: "Whole Authorization header to send instead of an account, such as Bearer TOKEN",
  },
  "upstream.authorizationFile": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "File that holds that header's value; read again whenever it changes",
  },
  "upstream.credentialHelper": {
    env: undefined,
    default: undefined,
    type: upstream.credentialHelper,
    description:
      "Program that knows the account: NAME for docker-credential-NAME in the PATH, or an absolute path",
  },
  "upstream.credentialHelperRegistry": {
    env: undefined,
    default: undefined,
    type: upstream.credentialHelperRegistry,
    description: "What the program is asked for; the registry's host unless set, as docker login stores it",
  },
  "upstream.credentialHelperLifetime": {
    env: undefined,
    default: "10m",
    type: type.age,
    description: "How long its answer is used before it is asked again",
  },
  "upstream.tokenRealms": {
    env: undefined,
    default: undefined,
    type: upstream.tokenRealms,
    form: "list",
    description:
      "Hosts that may hand out tokens for the registry although they are not on its own domain, or have private addresses",
  },
  "upstream.tls.ca": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "PEM file of authorities to trust besides those of the system",
  },
  "upstream.tls.cert": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "PEM file of the certificate to show to the registry",
  },
  "upstream.tls.key": {
    env: undefined,
    default: undefined,
    type: type.path,
    shown: "path",
    description: "PEM file of its private key, not encrypted",
  },
  "upstream.tls.serverName": {
    env: undefined,
    default: undefined,
    type: upstream.serverName,
    description: "Name to look for in the registry's certificate, instead of the host of the URL",
  },
  "upstream.redirectsTo": {
    env: undefined,
    default: undefined,
    type: upstream.destinations,
    form: "list",
    description:
      "Hosts and networks, such as 10.0.0.0/8, of private storages where the registry may send downloads and uploads",
  },
  "upstream.connectTimeout": {
    env: "ENTREPOT_UPSTREAM_CONNECT_TIMEOUT",
    default: "5s",
    type: type.timer(),
    description: "How long connecting to the registry may take, TLS included",
  },
  "upstream.firstByteTimeout": {
    env: "ENTREPOT_UPSTREAM_FIRST_BYTE_TIMEOUT",
    default: "30s",
    type: type.timer(),
    description: "How long the registry may take to begin an answer",
  },
  "upstream.idleTimeout": {
    env: "ENTREPOT_UPSTREAM_IDLE_TIMEOUT",
    default: "30s",
    type: type.timer(),
    description: "Longest silence of the registry in the middle of an answer",
  },
  "upstream.maxConnections": {
    env: "ENTREPOT_UPSTREAM_MAX_CONNECTIONS",
    default: "64",
    type: type.wholeNumber(1, 10_000),
    description: "Most connections open to the registry at once",
  },
  "upstream.segments": {
    env: "ENTREPOT_UPSTREAM_SEGMENTS",
    default: "8",
    type: type.wholeNumber(1, 16),
    description:
      "Most parts of one blob fetched at once, by Range, where one transfer is slow and several are faster; 1 turns it off",
  },
  "upstream.namespaces": {
    env: "ENTREPOT_UPSTREAM_NAMESPACES",
    default: undefined,
    type: upstream.namespaces,
    form: "list",
    description:
      "Registries clients mean by ?ns= when they want this one; docker.io for Docker Hub unless set, or named by another upstream",
  },
  "upstream.hosts": {
    env: undefined,
    default: undefined,
    type: upstream.hosts,
    form: "list",
    description: "Host names of this mirror under which clients get this registry",
  },
  "upstream.component": {
    env: undefined,
    default: undefined,
    type: upstream.component,
    description: "First part of a repository that stands for this registry, as hub in /v2/hub/team/app/",
  },
  "upstream.library": {
    env: undefined,
    default: undefined,
    type: type.yesOrNo,
    description: "Whether app means library/app there; true for Docker Hub unless set",
  },
  "upstream.allow": {
    env: undefined,
    default: undefined,
    type: upstream.permissions,
    form: "list",
    description:
      "Patterns over repository or repository:tag that clients may have, such as team/**; all unless set",
  },
  "upstream.deny": {
    env: undefined,
    default: undefined,
    type: upstream.permissions,
    form: "list",
    description:
      "Patterns of what they may not have, whatever allow says; a denied tag's digest too, while it is known by denied tags alone (SECURITY.md)",
  },
  "upstream.next": {
    env: undefined,
    default: undefined,
    type: upstream.next,
    form: "next",
    description:
      "Upstream to ask next, a name or {upstream, on}: on is a list of absent (not there) and failure, both unless set",
  },
  "upstream.tags.ttl": {
    env: undefined,
    default: undefined,
    type: type.age,
    description: "As tags.ttl, for this registry",
  },
  "upstream.tags.rules": {
    env: undefined,
    default: undefined,
    type: type.tagRules,
    form: "rules",
    description: "As tags.rules, for this registry; they go before the common ones",
  },
  "upstream.push": {
    env: "ENTREPOT_UPSTREAM_PUSH",
    default: "false",
    type: type.yesOrNo,
    description: "Whether clients may push to the registry through this mirror",
  },
} as const satisfies Record<`upstream.${string}`, Setting>;
