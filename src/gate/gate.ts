// Who may do what: the one place that decides it. It is asked before anything is looked up, so that neither the time of a
// refusal nor its headers tell what is held here.
import type { Repository } from "../oci/name.ts";
import { AccessRules, type Right, type Verb } from "./access-rules.ts";
import { basicToken } from "./basic-credentials.ts";
import type { Caller } from "./caller.ts";
import type { Person } from "./directory.ts";
import type { Checked, Passwords } from "./passwords.ts";

/** The client of a request (http/client-address.ts). */
export interface AskingClient {
  readonly address: string;
  readonly network: string;
}

/** Why nobody is admitted: nothing was said of who asks, or as Passwords says. */
export type NotAdmitted = "unknown" | Exclude<Checked, object>;

export interface GateOptions {
  readonly rules: AccessRules;
  /** Callers name themselves; left out: nobody is asked, and what they say is not read. */
  readonly passwords?: Passwords | undefined;
}

export class Gate {
  readonly #rules: AccessRules;
  readonly #passwords: Passwords | undefined;

  constructor({ rules, passwords }: GateOptions) {
    this.#rules = rules;
    this.#passwords = passwords;
  }

  /** Who asks with this Authorization header. */
  admit(
    authorization: string | undefined,
    { address, network }: AskingClient,
  ): Admitted | NotAdmitted | Promise<Admitted | NotAdmitted> {
    if (this.#passwords === undefined) return new Admitted(nobody(address), this.#rules);
    const token = basicToken(authorization);
    if (token === undefined) return "unknown";
    const admitted = (checked: Checked): Admitted | NotAdmitted =>
      typeof checked === "string" ? checked : new Admitted(named(checked, address), this.#rules);
    const checked = this.#passwords.check(token, network);
    return checked instanceof Promise ? checked.then(admitted) : admitted(checked);
  }

  /** The client is another node of this datacenter, which has proved it. */
  admitNode({ address }: AskingClient): Admitted {
    return new Admitted(nobody(address), ofNodes);
  }
}

const none: readonly string[] = [];

function nobody(address: string): Caller {
  return { name: undefined, groups: none, address };
}

function named({ name, groups = none }: Person, address: string): Caller {
  return { name, groups, address };
}

/**
 * Another node, proved to be one (ports/node-proof.ts): it reads for a caller of its own, whose right it has judged, and does
 * nothing else.
 */
const ofNodes = new AccessRules([
  {
    users: [],
    groups: [],
    anonymous: true,
    networks: [],
    upstreams: [],
    repositories: [],
    tags: [],
    verbs: ["pull"],
  },
]);

/** A caller, for one request. */
export class Admitted {
  readonly caller: Caller;
  readonly #rules: AccessRules;

  constructor(caller: Caller, rules: AccessRules) {
    this.caller = caller;
    this.#rules = rules;
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
