// Whom a client's certificate names. That it is one of an authority of ours, and that the client has its key, is proved by TLS
// (ports/tls-front.ts); here is only what it says.
import type { Person } from "./directory.ts";

/** What of a certificate is the name of a caller, and what its groups. */
export interface CertificateNaming {
  /** The common name of the subject, or an alternative name of this kind (RFC 5280, sections 4.1.2.6 and 4.2.1.6). */
  readonly name: "cn" | "dns" | "uri" | "email";
  /** The organizational units of the subject, or its organizations. */
  readonly groups: "ou" | "o" | "none";
}

/** Of a certificate, as Node gives it (tls.PeerCertificate). */
export interface CertificateNames {
  readonly subject: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** `DNS:a.example.com, URI:spiffe://example.com/ci`. */
  readonly subjectaltname?: string | undefined;
}

/** A caller by its certificate. */
export interface CertifiedCaller {
  readonly person: Person;
  /** The same for the same name and groups, and for no others; of characters that may stand in a header. */
  readonly key: string;
}

/** What names and groups of certificates have before a colon. No password, token or directory makes anybody of such a name. */
export const ofCertificates = "cert";
const prefix = `${ofCertificates}:`;
/** In characters, as a rule can name it; without control characters, among them the NUL with which a name may seem to end. */
const value = /^\P{Cc}{1,255}$/u;
/** Groups of one certificate, at most: certificates with more name nobody. */
const maxGroups = 32;

/** Whether only a certificate may have the name, or the group. */
export function isOfCertificates(name: string): boolean {
  return name.startsWith(prefix);
}

/** Undefined for a certificate without such a name, or with several: nobody knows which of them is meant. */
export function certifiedCaller(
  names: CertificateNames,
  { name, groups }: CertificateNaming,
): CertifiedCaller | undefined {
  const found = name === "cn" ? valuesOf(names, "CN") : alternativesOf(names, name);
  const [only] = found;
  const units = groups === "none" ? [] : valuesOf(names, groups.toUpperCase());
  if (only === undefined || found.length > 1 || units.length > maxGroups) return undefined;
  if (![only, ...units].every((each) => value.test(each))) return undefined;
  return callerOf([only, ...units], Buffer.from(JSON.stringify([only, ...units])).toString("base64url"));
}

/** The caller whose key it is; undefined for what is none. */
export function callerOfKey(key: string): CertifiedCaller | undefined {
  if (key === "") return undefined;
  return callerOf(JSON.parse(Buffer.from(key, "base64url").toString()), key);
}

function callerOf([name, ...groups]: readonly [string, ...string[]], key: string): CertifiedCaller {
  const person = { name: `${prefix}${name}`, groups: groups.map((group) => `${prefix}${group}`) };
  return { person, key };
}

function valuesOf({ subject }: CertificateNames, attribute: string): readonly string[] {
  const values = Object.hasOwn(subject, attribute) ? subject[attribute] : undefined;
  return typeof values === "string" ? [values] : (values ?? []);
}

/**
 * Node puts a name that could be taken for several in quotation marks: where there are any, none is taken, since what is
 * between them is for its authority to say and not for us to guess.
 */
function alternativesOf({ subjectaltname = "" }: CertificateNames, kind: string): readonly string[] {
  if (subjectaltname.includes('"')) return [];
  const start = `${kind}:`;
  return subjectaltname
    .split(", ")
    .filter((each) => each.toLowerCase().startsWith(start))
    .map((each) => each.slice(start.length));
}
