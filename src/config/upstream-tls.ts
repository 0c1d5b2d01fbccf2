// Certificates and the key of an upstream, out of PEM files (RFC 7468), read once at start.
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { TlsConfig } from "./config.ts";
import { type Entry, problemAt, textOf, type UpstreamInput } from "./entry.ts";
import { describePath } from "./path-text.ts";
import type { Problem } from "./problem.ts";
import { type ReadFile, readText } from "./read-text.ts";
import { Secret } from "./secret.ts";
import { path as pathType } from "./value-types.ts";

const maxLength = 1024 * 1024;
const certificate = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

interface Pem<T> {
  readonly text: string;
  readonly parsed: T;
}

/** Settings that name the files of one TLS client. */
export interface TlsEntries {
  /** What the keys begin with in messages, up to `.tls`. */
  readonly label: string;
  readonly ca: Entry | undefined;
  readonly cert: Entry | undefined;
  readonly key: Entry | undefined;
}

export type TlsFiles =
  | { readonly files: Omit<TlsConfig, "serverName"> }
  | { readonly problems: readonly Problem[] };

/** `serverName` is not read here; everything else of TlsConfig is. */
export function readTlsFiles({ label, entries }: UpstreamInput, readFile: ReadFile): TlsFiles {
  const [ca, cert, key] = (["ca", "cert", "key"] as const).map((name) => entries.get(`upstream.tls.${name}`));
  return readTlsEntries({ label, ca, cert, key }, readFile);
}

/** Reads the files and checks that they go together. */
export function readTlsEntries(
  { label, ca: caEntry, cert: certEntry, key: keyEntry }: TlsEntries,
  readFile: ReadFile,
): TlsFiles {
  const problems: Problem[] = [];
  const refuse = (entry: Entry, message: string): void => {
    problems.push(problemAt(entry, message));
  };
  const read = <T>(entry: Entry | undefined, parse: (text: string) => T | string) =>
    readPem(entry, parse, readFile, refuse);
  const ca = read(caEntry, parseCertificates);
  const cert = read(certEntry, parseCertificates);
  const key = read(keyEntry, parseKey);
  if (certEntry !== undefined && keyEntry === undefined)
    refuse(certEntry, `found a certificate without its key, expected ${label}.tls.key as well`);
  if (keyEntry !== undefined && certEntry === undefined)
    refuse(keyEntry, `found a key without its certificate, expected ${label}.tls.cert as well`);
  if (certEntry !== undefined && cert !== undefined && key !== undefined) {
    const refusal = refusalOf(cert, key);
    if (refusal !== undefined) refuse(certEntry, `found a certificate that ${refusal}`);
  }
  if (problems.length > 0) return { problems };
  return { files: { ca: ca?.text, cert: cert?.text, key: key && new Secret(key.text) } };
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

/** Undefined when no file is set, or it is refused. `parse` gives what it expected instead of what it cannot read. */
function readPem<T>(
  entry: Entry | undefined,
  parse: (text: string) => T | string,
  readFile: ReadFile,
  refuse: (entry: Entry, message: string) => void,
): Pem<T> | undefined {
  const path = textOf(entry);
  // A path that is none is the schema's to report.
  if (entry === undefined || path === undefined || !pathType.safeParse(path).success) return undefined;
  const file = readText(path, readFile);
  if ("reason" in file) {
    refuse(entry, `found ${describePath(path)}, which cannot be read (${file.reason}), expected a PEM file`);
    return undefined;
  }
  const parsed = file.text.length > maxLength ? "less than 1 MiB" : parse(file.text);
  if (typeof parsed !== "string") return { text: file.text, parsed };
  refuse(entry, `found other content in ${describePath(path)}, expected ${parsed}`);
  return undefined;
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
