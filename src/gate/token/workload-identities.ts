// Tokens by which a platform says which of its workloads asks (OpenID Connect Core, section 2): of Kubernetes' service
// accounts, of the jobs of GitHub and GitLab. They come as the password of the user `oidc`.
import { decodeJwt, type JWTPayload } from "jose";
import picomatch from "picomatch";
import type { Clock } from "../../ports/clock.ts";
import { isCallerName } from "../caller.ts";
import type { Directory, Person } from "../directory.ts";
import { endOf, readSignedClaims, type SignedClaimsOptions } from "./signed-claims.ts";

export interface WorkloadIssuer extends Omit<SignedClaimsOptions, "clock"> {
  /** What the names and groups of its workloads begin with; of each issuer another one. */
  readonly name: string;
  /** Patterns that the claims have to match, by the claim (claimAt). */
  readonly claims: Readonly<Record<string, string>>;
  /** Claims whose values make groups. */
  readonly groups: readonly string[];
}

export interface WorkloadIdentitiesOptions {
  readonly issuers: readonly WorkloadIssuer[];
  /** The machine's own, and a steady one. */
  readonly clock: Clock;
  readonly steady: Clock;
}

/** Groups of one workload, at most. */
const mostGroups = 100;

/** The beginning of base64 that is `oidc:` and anything. */
const login = /^b2lkYz[opqr]/;

/** Whether a login (basic-credentials.ts) is that of the user `oidc`. */
export function isWorkload(token: string): boolean {
  return login.test(token);
}

/** Whether only a workload of one of these issuers (WorkloadIssuer, its name) may have the name, or the group. */
export function isOfWorkloads(name: string, issuers: ReadonlySet<string>): boolean {
  const colon = name.indexOf(":");
  return colon > 0 && issuers.has(name.slice(0, colon));
}

export class WorkloadIdentities implements Directory {
  readonly #options: WorkloadIdentitiesOptions;
  readonly #issuers: readonly (WorkloadIssuer & { readonly matches: (claims: JWTPayload) => boolean })[];

  constructor(options: WorkloadIdentitiesOptions) {
    this.#options = options;
    this.#issuers = options.issuers.map((issuer) => ({ ...issuer, matches: matcher(issuer.claims) }));
  }

  async find(_name: string, password: Buffer): Promise<Person | undefined> {
    const { clock, steady } = this.#options;
    const token = password.toString("latin1");
    const said = issuerIn(token);
    for (const issuer of this.#issuers) {
      if (issuer.issuer !== said) continue;
      const claims = await readSignedClaims(token, { ...issuer, clock });
      if (claims === undefined || !issuer.matches(claims)) continue;
      if (typeof claims.sub !== "string" || claims.sub === "") continue;
      const name = `${issuer.name}:${claims.sub}`;
      if (!isCallerName(name)) continue;
      return { name, groups: groupsOf(claims, issuer), until: steady() + endOf(claims) - clock() };
    }
    return undefined;
  }
}

/** Who the token says has made it: before anything is proved, to ask nobody for keys of somebody else. */
function issuerIn(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

function matcher(patterns: WorkloadIssuer["claims"]): (claims: JWTPayload) => boolean {
  const all = Object.entries(patterns).map(([claim, pattern]) => ({
    claim,
    matches: picomatch(pattern, { dot: true }),
  }));
  return (claims) =>
    all.every(({ claim, matches }) => textsOf(claimAt(claims, claim)).some((text) => matches(text)));
}

/** `NAME:CLAIM=VALUE` for every value of these claims. */
function groupsOf(claims: JWTPayload, { name, groups }: WorkloadIssuer): readonly string[] {
  return groups
    .flatMap((claim) => textsOf(claimAt(claims, claim)).map((value) => `${name}:${claim}=${value}`))
    .slice(0, mostGroups);
}

function textsOf(value: unknown): readonly string[] {
  return (Array.isArray(value) ? value : [value])
    .filter((each) => typeof each !== "object")
    .flatMap((each) => (each === undefined ? [] : [String(each)]));
}

/** The claim of this name or, at a slash, the one within the claim before it: `kubernetes.io/namespace`. */
function claimAt(claims: object, name: string): unknown {
  if (Object.hasOwn(claims, name)) return (claims as Record<string, unknown>)[name];
  for (let slash = name.indexOf("/"); slash > 0; slash = name.indexOf("/", slash + 1)) {
    const within = Object.hasOwn(claims, name.slice(0, slash))
      ? (claims as Record<string, unknown>)[name.slice(0, slash)]
      : undefined;
    if (typeof within === "object" && within !== null && !Array.isArray(within))
      return claimAt(within, name.slice(slash + 1));
  }
  return undefined;
}
