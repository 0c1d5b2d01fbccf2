// Files that settings name: secrets, and certificates with their keys in PEM (RFC 7468). Each must be there at the start.
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { z } from "zod";
import { type BlockFile, parseBlockFile } from "../gate/block-file.ts";
import { parseHtpasswd, type Users } from "../gate/htpasswd.ts";
import { fixedSecret, Secret, type SecretSource } from "../ports/secret.ts";
import { quote } from "./problem.ts";
import { type ReadFile, readText } from "./read-text.ts";
import { secretFile } from "./secret-file.ts";
import { type Path, pathText, textsIn } from "./settings.ts";
import type { Sources } from "./sources.ts";
import * as t from "./types/text-types.ts";

const looksLikeAPath = /^\.{0,2}\/[^\r\n]*$|^[\w./-]+\.(?:pem|crt|cer|key)$/;

/** What looks like a path can be shown; anything else may be the secret itself, put into the wrong setting. */
export function describePath(text: string): string {
  return looksLikeAPath.test(text) ? quote(text) : "a name (not shown: it may be the secret itself)";
}

/** Secrets and certificates out of the files that settings name, by the path of the setting. */
export class Files {
  readonly #secrets = new Map<string, SecretSource>();
  readonly #tls = new Map<string, Omit<TlsConfig, "serverName">>();
  #htpasswd: HtpasswdConfig | undefined;
  #blocked: BlockFileConfig | undefined;

  /**
   * Reads every file that `sources` names, which it tells what is wrong. `tls` and `listeners` are the paths of sections of
   * certificates.
   */
  static read(sources: Sources, tls: readonly Path[], listeners: readonly Path[], readFile: ReadFile): Files {
    const files = new Files();
    for (const { path, type } of textsIn(sources.root)) {
      const holds = t.traits.get(type)?.holds;
      const secret = holds && readSecret(path, holds, sources, readFile);
      if (secret !== undefined) files.#secrets.set(pathText(path), secret);
    }
    files.#htpasswd = readHtpasswd(["access", "htpasswdFile"], sources, readFile);
    files.#blocked = readBlocked(["block", "file"], sources, readFile);
    files.#tls.set("access.ldap", readTls(["access", "ldap"], sources, readFile, directory));
    for (const path of tls) files.#tls.set(pathText(path), readTls(path, sources, readFile, outgoing));
    // Whether they can be used; they are read again by who listens.
    for (const path of listeners) readTls(path, sources, readFile, listening);
    return files;
  }

  /** What the section at `path` has under `name`, or in the file that `nameFile` names. */
  secret<Name extends string>(
    section: { readonly [Key in Name]?: Secret | undefined },
    path: Path,
    name: Name,
  ): SecretSource | undefined {
    const direct = section[name];
    return direct === undefined ? this.secretIn([...path, `${name}File`]) : fixedSecret(direct);
  }

  /** What is in the file that the setting at `path` names. */
  secretIn(path: Path): SecretSource | undefined {
    return this.#secrets.get(pathText(path));
  }

  /** Those in the files of the mapping at `path`, by its keys. */
  secrets(path: Path, names: readonly string[]): Record<string, SecretSource> {
    const found = names.map((name) => [name, this.#secrets.get(pathText([...path, name]))] as const);
    return Object.fromEntries(found.filter((each): each is [string, SecretSource] => each[1] !== undefined));
  }

  /** Undefined where there is no file of users. */
  get htpasswd(): HtpasswdConfig | undefined {
    return this.#htpasswd;
  }

  /** Undefined where there is no file of blocked digests. */
  get blocked(): BlockFileConfig | undefined {
    return this.#blocked;
  }

  /** Undefined where neither a file nor a server name is set. */
  tls(path: Path, serverName: string | undefined): TlsConfig | undefined {
    const files = this.#tls.get(pathText(path)) ?? {};
    const isSet = [files.ca, files.cert, serverName].some((each) => each !== undefined);
    return isSet ? { ...files, serverName } : undefined;
  }
}

/** The text of the file that the setting at `path` names; undefined when it names none, or after telling why not. */
function textOfFile(path: Path, expected: string, sources: Sources, readFile: ReadFile) {
  const name = sources.text(path);
  // A path that is none is the schema's to report.
  if (name === undefined || !t.path.safeParse(name).success) return undefined;
  const file = readText(name, readFile);
  if ("text" in file) {
    sources.markContent(path, file.text);
    return { name, text: file.text };
  }
  sources.refuse(
    path,
    `found ${describePath(name)}, which cannot be read (${file.reason}), expected ${expected}`,
  );
  return undefined;
}

/** The secret in the file that the setting names, read again whenever it changes. */
function readSecret(
  path: Path,
  type: z.ZodType<Secret, string>,
  sources: Sources,
  readFile: ReadFile,
): SecretSource | undefined {
  const called = t.traits.get(type)?.called ?? "secret";
  const file = textOfFile(path, `a file with the ${called}`, sources, readFile);
  if (file === undefined) return undefined;
  // Editors and `echo` end a file with a newline, which is no part of the secret.
  const parse = (text: string) => type.safeParse(text.replace(/[\r\n]+$/, ""));
  const { data: initial, error } = parse(file.text);
  const shown = describePath(file.name);
  if (initial !== undefined)
    return secretFile({ path: file.name, name: shown, initial, parse: (text) => parse(text).data });
  const expected = error?.issues[0]?.message ?? `a ${called}`;
  sources.refuse(path, `found other content (not shown) in ${shown}, expected ${expected}`);
  return undefined;
}

// ---- users ------------------------------------------------------------------------------------------------------

/** A file of users, which is read again whenever it changes. */
export interface HtpasswdConfig {
  readonly path: string;
  /** As it may appear in a message. */
  readonly name: string;
  /** Those it had when the configuration was read. */
  readonly users: Users;
}

function readHtpasswd(path: Path, sources: Sources, readFile: ReadFile): HtpasswdConfig | undefined {
  const file = textOfFile(path, "a file that htpasswd -B has written", sources, readFile);
  if (file === undefined) return undefined;
  const name = describePath(file.name);
  const parsed = parseHtpasswd(file.text);
  if ("users" in parsed) return { path: file.name, name, users: parsed.users };
  sources.refuse(path, `found a file of users in ${name} that cannot be used: ${parsed.problem}`);
  return undefined;
}

// ---- blocked digests --------------------------------------------------------------------------------------------

/** A file of blocked digests, which is read again whenever it changes. */
export interface BlockFileConfig {
  readonly path: string;
  /** As it may appear in a message. */
  readonly name: string;
  /** Those it had when the configuration was read. */
  readonly digests: BlockFile;
}

function readBlocked(path: Path, sources: Sources, readFile: ReadFile): BlockFileConfig | undefined {
  const file = textOfFile(path, "a file of digests", sources, readFile);
  if (file === undefined) return undefined;
  const name = describePath(file.name);
  const digests = parseBlockFile(file.text);
  if (!("problem" in digests)) return { path: file.name, name, digests };
  sources.refuse(path, `found a file of digests in ${name} that cannot be used: ${digests.problem}`);
  return undefined;
}

// ---- certificates -----------------------------------------------------------------------------------------------

export interface TlsConfig {
  /** Certificates in PEM of authorities trusted besides those of the system. */
  readonly ca?: string | undefined;
  /** Our certificate and its key in PEM, for servers that ask who connects; both or neither. */
  readonly cert?: string | undefined;
  readonly key?: Secret | undefined;
  /** Name sent as SNI and looked for in the server's certificate, instead of the URL's host. */
  readonly serverName?: string | undefined;
}

/** Files of a listener's certificate; they are read again whenever they change. */
export interface ListenerTlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
  /** Authorities of clients that show a certificate; undefined: none is asked for. */
  readonly clientCaFile: string | undefined;
  /** Whether those without one are refused; left out: they are not. */
  readonly clientsNeedOne?: boolean | undefined;
}

/** Keys of certificates in a section: for connections that go out, to a directory, and of a listener. */
const outgoing = { ca: "ca", cert: "cert", key: "key" };
const directory = { ca: "caFile", cert: "certFile", key: "keyFile" };
const listening = { ca: "clientCaFile", cert: "certFile", key: "keyFile" };

interface Pem<T> {
  readonly text: string;
  readonly parsed: T;
}

const maxLength = 1024 * 1024;
const certificate = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** What the settings `ca`, `cert` and `key` in the section at `path` name, when they go together. */
function readTls(
  path: Path,
  sources: Sources,
  readFile: ReadFile,
  names: typeof outgoing,
): Omit<TlsConfig, "serverName"> {
  const read = <T>(name: string, parse: (text: string) => T | string): Pem<T> | undefined => {
    const at = [...path, name];
    const file = textOfFile(at, "a PEM file", sources, readFile);
    if (file === undefined) return undefined;
    const parsed = file.text.length > maxLength ? "less than 1 MiB" : parse(file.text);
    if (typeof parsed !== "string") return { text: file.text, parsed };
    sources.refuse(at, `found other content in ${describePath(file.name)}, expected ${parsed}`);
    return undefined;
  };
  const ca = read(names.ca, parseCertificates);
  const cert = read(names.cert, parseCertificates);
  const key = read(names.key, parseKey);
  const refusal = cert && key && refusalOf(cert, key);
  if (refusal !== undefined) sources.refuse([...path, names.cert], `found a certificate that ${refusal}`);
  return { ca: ca?.text, cert: cert?.text, key: key && new Secret(key.text) };
}

/** Why these cannot be used, for people, and never anything of them; undefined when they can. All in PEM. */
export function certificateProblem(cert: string, key: string, ca: string | undefined): string | undefined {
  const certificates = parseCertificates(cert);
  if (typeof certificates === "string") return `the certificate's file is not ${certificates}`;
  const privateKey = parseKey(key);
  if (typeof privateKey === "string") return `the key's file is not ${privateKey}`;
  const authorities = ca === undefined ? undefined : parseCertificates(ca);
  if (typeof authorities === "string") return `the file of authorities is not ${authorities}`;
  const refusal = refusalOf({ text: cert, parsed: certificates }, { text: key, parsed: privateKey });
  return refusal && `the certificate ${refusal}`;
}

/** Why the two cannot be used together; OpenSSL's reasons in its code, since its words may quote. */
function refusalOf(cert: Pem<X509Certificate>, key: Pem<KeyObject>): string | undefined {
  if (!cert.parsed.checkPrivateKey(key.parsed)) return "does not belong to the key, expected that of the key";
  try {
    createSecureContext({ cert: cert.text, key: key.text });
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return `TLS refuses (${code ?? "unknown error"}), expected one with a stronger key or signature`;
  }
}

/** The first of them, when all can be read. */
function parseCertificates(text: string): X509Certificate | string {
  try {
    const [first] = (text.match(certificate) ?? []).map((pem) => new X509Certificate(pem));
    return first ?? "a certificate in PEM (-----BEGIN CERTIFICATE-----)";
  } catch {
    return "certificates in PEM that can be read";
  }
}

function parseKey(text: string): KeyObject | string {
  // By its mark (RFC 7468 section 11, RFC 1421 section 4.6.1.1): the error depends on the version of OpenSSL.
  if (/^-----BEGIN ENCRYPTED |^Proc-Type: *4, *ENCRYPTED/m.test(text)) return "a key that is not encrypted";
  try {
    return createPrivateKey(text);
  } catch {
    return "a private key in PEM (-----BEGIN PRIVATE KEY-----)";
  }
}
