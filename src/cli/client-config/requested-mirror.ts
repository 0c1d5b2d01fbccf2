// Which mirror and which registries `entrepot client-config` is asked for: those of the configuration, or of the command line.
import { X509Certificate } from "node:crypto";
import type { ClientName } from "../../client-config/clients.ts";
import type { ClientMirror, MirroredRegistry } from "../../client-config/mirror.ts";
import { mirrorAt, mirrorOfConfig } from "../../client-config/mirror-of-config.ts";
import { mirrorUrl } from "../../client-config/mirror-url.ts";
import type { Config } from "../../config/config.ts";
import { formatProblems, quote } from "../../config/problem.ts";
import { readText } from "../../config/read-text.ts";
import { hostAndPort } from "../../config/types/text-types.ts";
import { type Context, loadFrom } from "../context.ts";
import { isConfigured } from "../ops-place.ts";

export interface RequestedMirror {
  readonly config?: string;
  readonly mirror?: string;
  readonly registry?: readonly string[];
  readonly ca?: string;
}

/** What is wrong with the command line, for people. */
export class RequestProblem extends Error {}

/** Certificates in one file at most. */
const maxCertificates = 20;

/** Throws RequestProblem. */
export function requestedMirror(
  { config: option, mirror, registry = [], ca: caFile }: RequestedMirror,
  clients: readonly ClientName[],
  context: Context,
): ClientMirror {
  const url = mirror === undefined ? undefined : urlOf(mirror);
  const ca = caFile === undefined ? undefined : authorityIn(caFile, context);
  if (isConfigured(option, context)) return ofConfig(configOf(option, context), url, ca, registry, context);
  if (url === undefined)
    throw new RequestProblem(
      "where is the mirror? Name its configuration (--config FILE, or ENTREPOT_CONFIG), or say --mirror http://mirror.example.com:5000",
    );
  const hosts = [...new Set(registry.map(hostOf))];
  if (hosts.length > 1) sayNamespaces(url, mirror, hosts, context);
  if (hosts.length > 0) return mirrorAt(url, hosts, ca);
  // docker mirrors Docker Hub's names and no others.
  if (clients.every((client) => client === "docker")) return mirrorAt(url, ["docker.io"], ca);
  throw new RequestProblem(
    "for which registry's names? Say --registry registry.example.com, once for each, or name the mirror's configuration (--config FILE)",
  );
}

/**
 * A mirror that knows no namespaces takes every name for its default registry, and one below a path for that path's: whoever has
 * a name there could answer for the other registry's. Throws RequestProblem.
 */
function sayNamespaces(
  url: URL,
  written: string | undefined,
  hosts: readonly string[],
  { err }: Context,
): void {
  if (url.pathname !== "/")
    throw new RequestProblem(
      `--mirror: found ${quote(written ?? url.href)}, and its path stands for one registry: ask for one --registry at a time, or leave the path out where the mirror has namespaces`,
    );
  err(
    `entrepot: the mirror must have namespaces for each of ${hosts.join(", ")}: without them it takes all these names for its default registry\n`,
  );
}

function configOf(option: string | undefined, context: Context): Config {
  const loaded = loadFrom(option, context);
  if (!loaded.ok)
    throw new RequestProblem(
      formatProblems(loaded.problems)
        .trimEnd()
        .replace(/^entrepot: /, ""),
    );
  return loaded.config;
}

function ofConfig(
  config: Config,
  asked: URL | undefined,
  ca: string | undefined,
  registry: readonly string[],
  context: Context,
): ClientMirror {
  const { listen, opsPage, listenTls } = config;
  const url = asked ?? new URL(mirrorUrl(config, "port" in listen ? listen.port : 0));
  if (asked === undefined && opsPage?.mirror === undefined)
    context.err(
      `entrepot: clients are told to reach the mirror at ${url.origin}: say --mirror, or set opsPage.mirror\n`,
    );
  const own = url.protocol === "https:" ? (ca ?? ownAuthority(listenTls?.certFile, context)) : ca;
  const mirror = mirrorOfConfig(config, url, own);
  return registry.length === 0
    ? mirror
    : { ...mirror, registries: registry.flatMap((each) => named(each, mirror)) };
}

function named(name: string, { registries }: ClientMirror): MirroredRegistry[] {
  const found = registries.filter(({ host, upstream }) => host === name.toLowerCase() || upstream === name);
  if (found.length > 0) return found;
  const known = registries.map(({ host, upstream }) => `${host} (${upstream})`).join(", ");
  throw new RequestProblem(`--registry: found ${quote(name)}, expected one of the configuration: ${known}`);
}

function urlOf(written: string): URL {
  const url = URL.parse(written);
  const { protocol = "", username, password, search, hash } = url ?? {};
  const isBase = [username, password, search, hash].every((part) => part === "");
  if (url === null || !/^https?:$/.test(protocol) || !isBase)
    throw new RequestProblem(
      `--mirror: found ${quote(written)}, expected an http or https URL without credentials, such as http://mirror.example.com:5000`,
    );
  return url;
}

function hostOf(written: string): string {
  const parsed = hostAndPort.safeParse(written);
  if (!parsed.success)
    throw new RequestProblem(
      `--registry: found ${quote(written)}, expected the host of a registry, such as registry.example.com or docker.io`,
    );
  return parsed.data;
}

/** The certificates of a PEM file, and nothing else that may be in it. */
function authorityIn(path: string, { readFile }: Context): string {
  const read = readText(path, readFile);
  if ("reason" in read)
    throw new RequestProblem(`--ca: found ${quote(path)}, which cannot be read (${read.reason})`);
  const certificates = certificatesIn(read.text);
  if (certificates.length === 0) throw new RequestProblem(`--ca: ${quote(path)} holds no certificate in PEM`);
  return certificates.map(String).join("");
}

/** Of the mirror's own certificates the one that nobody else has signed: clients do not know it. Undefined: all are signed by others. */
function ownAuthority(path: string | undefined, { readFile }: Context): string | undefined {
  const read = path === undefined ? undefined : readText(path, readFile);
  if (read === undefined || "reason" in read) return undefined;
  return certificatesIn(read.text)
    .find((certificate) => certificate.checkIssued(certificate))
    ?.toString();
}

function certificatesIn(text: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.slice(0, maxCertificates).map((block) => new X509Certificate(block));
  } catch {
    return [];
  }
}
