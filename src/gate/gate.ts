// Who may do what: the one place that decides it. It is asked before anything is looked up, so that neither the time of a
// refusal nor its headers tell what is held here.
import type { Repository } from "../oci/name.ts";
import { AccessRules, forEverybody, type Right, type Verb, verbs } from "./access-rules.ts";
import { basicToken } from "./basic-credentials.ts";
import { type Caller, nobody, noGroups } from "./caller.ts";
import { type CertifiedCaller, isOfCertificates } from "./certificate-caller.ts";
import type { Person } from "./directory.ts";
import type { Checked, Passwords } from "./passwords.ts";
import { OwnAccount, type ProvedRights } from "./proved-rights.ts";
import { type BearerTokens, bearerToken, type CheckedToken } from "./token/bearer-tokens.ts";
import type { IssuedToken, OwnTokens } from "./token/own-tokens.ts";
import type { ResourceActions, TokenAccess } from "./token/token-access.ts";
import { isOfWorkloads, isWorkload } from "./token/workload-identities.ts";

/** The client of a request (http/client-address.ts). */
export interface AskingClient {
  readonly address: string;
  readonly network: string;
}

/**
 * Why nobody is admitted: nothing was said of who asks, the token proves nothing (any more), or as Passwords says.
 */
export type NotAdmitted = "unknown" | "bad_token" | Exclude<Checked, object>;

/** Where callers get the tokens that are taken, as the challenge says it (RFC 6750, section 3). */
export interface TokenService {
  readonly service: string;
  /** Its URL; undefined: this mirror gives them itself, at the address at which the client reaches it. */
  readonly realm: string | undefined;
}

export interface GateTokens {
  readonly bearer: BearerTokens;
  readonly service: TokenService;
  /** Makes them; undefined: somebody else does. */
  readonly own: OwnTokens | undefined;
}

export interface GateWorkloads {
  readonly passwords: Passwords;
  /** Those of their issuers (WorkloadIssuer). */
  readonly names: ReadonlySet<string>;
}

export interface GateOptions {
  readonly rules: AccessRules;
  /** Callers name themselves. Left out, as tokens are: nobody is asked, and what they say is not read. */
  readonly passwords?: Passwords | undefined;
  /** Those of the user `oidc`; left out: nobody is called so. */
  readonly workloads?: GateWorkloads | undefined;
  /** Callers show tokens; left out: those are not read. */
  readonly tokens?: GateTokens | undefined;
  /** Callers show what an upstream knows them by, which decides; left out: none does. */
  readonly proved?: ProvedRights | undefined;
}

export class Gate {
  readonly #rules: AccessRules;
  readonly #passwords: Passwords | undefined;
  readonly #workloads: GateWorkloads | undefined;
  readonly #tokens: GateTokens | undefined;
  readonly #proved: ProvedRights | undefined;

  constructor({ rules, passwords, workloads, tokens, proved }: GateOptions) {
    this.#rules = rules;
    this.#passwords = passwords;
    this.#workloads = workloads;
    this.#tokens = tokens;
    this.#proved = proved;
  }

  /** Undefined: tokens are not taken. */
  get tokenService(): TokenService | undefined {
    return this.#tokens?.service;
  }

  /** Whether this mirror gives tokens itself. */
  get givesTokens(): boolean {
    return this.#tokens?.own !== undefined;
  }

  /**
   * Who asks with this Authorization header. `certified`: whom the certificate of the connection names; it counts where no
   * credentials are sent, or none are read.
   */
  admit(
    authorization: string | undefined,
    client: AskingClient,
    certified?: CertifiedCaller,
  ): Admitted | NotAdmitted | Promise<Admitted | NotAdmitted> {
    const { address } = client;
    if (this.#proved !== undefined) {
      const account = new OwnAccount(this.#proved, authorization, client.network);
      return new Admitted(nobody(address), forUpstream, { account });
    }
    const isOpen =
      this.#passwords === undefined && this.#workloads === undefined && this.#tokens === undefined;
    if (certified !== undefined && (isOpen || authorization === undefined))
      return new Admitted(callerOf(certified, address), this.#rules);
    if (isOpen) return new Admitted(nobody(address), this.#rules);
    const login = basicToken(authorization);
    if (login === undefined) return this.#admitBearer(authorization, address);
    const passwords = this.#passwordsFor(login);
    if (passwords === undefined) return "wrong";
    const admitted = (checked: Checked): Admitted | NotAdmitted => {
      if (typeof checked === "string") return checked;
      const person = this.#judged(checked, passwords);
      if (person === undefined) return "wrong";
      const lasts = passwords.lastsOf(checked);
      const limits = lasts === undefined ? undefined : { token: { access: undefined, lasts } };
      return new Admitted(named(person, address), this.#rules, limits);
    };
    const checked = passwords.check(login, client.network);
    return checked instanceof Promise ? checked.then(admitted) : admitted(checked);
  }

  /**
   * The person without the groups that only workloads are in; undefined for a name that only a workload has. `by`: who knows the
   * login; undefined: another token server.
   */
  #judged(person: Person, by: Passwords | undefined): Person | undefined {
    if (this.#workloads === undefined || by === this.#workloads.passwords) return person;
    const { names } = this.#workloads;
    if (isOfWorkloads(person.name, names)) return undefined;
    if (person.groups?.some((group) => isOfWorkloads(group, names)) !== true) return person;
    return { ...person, groups: person.groups.filter((group) => !isOfWorkloads(group, names)) };
  }

  /** Which of them knows the login. */
  #passwordsFor(login: string): Passwords | undefined {
    return this.#workloads !== undefined && isWorkload(login) ? this.#workloads.passwords : this.#passwords;
  }

  #admitBearer(
    authorization: string | undefined,
    address: string,
  ): Admitted | NotAdmitted | Promise<Admitted | NotAdmitted> {
    const bearer = this.#tokens?.bearer;
    if (bearer === undefined || authorization === undefined) return "unknown";
    const token = bearerToken(authorization);
    if (token === undefined) return "unknown";
    const admitted = (checked: CheckedToken): Admitted | NotAdmitted => {
      if (checked === "bad") return "bad_token";
      if (checked === "down") return checked;
      const { access } = checked;
      // What is in this mirror's own tokens was judged when they were given.
      const isForeign = this.#tokens?.own === undefined;
      const person = checked.person && isForeign ? this.#judged(checked.person, undefined) : checked.person;
      if (person === undefined && checked.person !== undefined) return "bad_token";
      const caller = person === undefined ? nobody(address) : named(person, address);
      return new Admitted(caller, this.#rules, { token: { access, lasts: bearer.lastsOf(checked) } });
    };
    const checked = bearer.check(token);
    return checked instanceof Promise ? checked.then(admitted) : admitted(checked);
  }

  /**
   * A token of this mirror's own for whoever logs in with the credentials (basic-credentials.ts), or for nobody where
   * callers without a name may do something. `access`: see OwnTokens. Only where it gives tokens.
   */
  async issue(
    login: string | undefined,
    client: AskingClient,
    access: readonly ResourceActions[] | undefined,
  ): Promise<IssuedToken | NotAdmitted> {
    const own = this.#tokens?.own;
    if (own === undefined) throw new Error("this gate gives no tokens");
    if (login === undefined)
      return this.#rules.grantsAnything(nobody(client.address))
        ? await own.issue(undefined, access)
        : "unknown";
    const passwords = this.#passwordsFor(login);
    const checked = (await passwords?.check(login, client.network)) ?? "wrong";
    if (typeof checked === "string") return checked;
    const person = this.#judged(checked, passwords);
    if (person === undefined) return "wrong";
    return await own.issue({ ...person, groups: this.#rules.named(person.groups ?? noGroups) }, access);
  }

  /** The client is another node of this datacenter, which has proved it. */
  admitNode({ address }: AskingClient): Admitted {
    return new Admitted(nobody(address), ofNodes);
  }
}

/** By a password or a token. What only a certificate may say counts for nothing there. */
function named({ name, groups = noGroups }: Person, address: string): Caller {
  if (isOfCertificates(name)) return nobody(address);
  const own = groups.some(isOfCertificates) ? groups.filter((each) => !isOfCertificates(each)) : groups;
  return { name, groups: own, address };
}

function callerOf({ person: { name, groups = noGroups } }: CertifiedCaller, address: string): Caller {
  return { name, groups, address };
}

/**
 * Another node, proved to be one (ports/datacenter/node-proof.ts): it reads for a caller of its own, whose right it has
 * judged, and does nothing else.
 */
const ofNodes = new AccessRules([forEverybody(["pull"])]);

/** What a token says besides who the caller is, and how long a login lasts that ends by itself. */
interface TokenLimits {
  readonly access: TokenAccess | undefined;
  /** Milliseconds for which it is known to be good. */
  readonly lasts: number;
}

/** Upstream decides, or everybody may. */
const forUpstream = new AccessRules([forEverybody(verbs)]);

/** A caller, for one request. */
export class Admitted {
  readonly caller: Caller;
  /** By which the caller's rights have to be proved to an upstream that decides; undefined: they need not be. */
  readonly account: OwnAccount | undefined;
  readonly #rules: AccessRules;
  readonly #token: TokenLimits | undefined;

  constructor(
    caller: Caller,
    rules: AccessRules,
    { token, account }: { readonly token?: TokenLimits; readonly account?: OwnAccount } = {},
  ) {
    this.caller = caller;
    this.account = account;
    this.#rules = rules;
    this.#token = token;
  }

  /** Milliseconds for which that is known; undefined: until the directory changes. */
  get lasts(): number | undefined {
    return this.#token?.lasts;
  }

  /** The token that the caller has shown is limited to something, of which nothing else is allowed. */
  get access(): TokenAccess | undefined {
    return this.#token?.access;
  }

  /** See AccessRules. */
  right(verb: Verb, upstream: string, repository: Repository): Right {
    return this.#rules.right(this.caller, verb, upstream, repository);
  }

  /** See AccessRules. */
  hasAny(verb: Verb, upstream: string): boolean {
    return this.#rules.hasAny(this.caller, verb, upstream);
  }
}
