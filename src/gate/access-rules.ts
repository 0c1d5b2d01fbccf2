// What the rules of the configuration let a caller do with a repository. Rules only grant: what none of them grants is
// refused, and their order means nothing.
import picomatch from "picomatch";
import type { Repository } from "../oci/name.ts";
import { Networks } from "../ports/networks.ts";
import { type Caller, isOneOf } from "./caller.ts";

/**
 * What is done with a repository. `pull`: manifests, blobs and referrers are read; `push`: manifests and blobs are written;
 * `delete`: those are removed; `list`: its tags, and its name in the catalog, are read.
 */
export const verbs = ["pull", "push", "delete", "list"] as const;
export type Verb = (typeof verbs)[number];

/** Of a list that is empty every value matches. */
export interface AccessRule {
  /** Names, as they are. Left empty, as are groups: everybody with a name. */
  readonly users: readonly string[];
  /** Groups, as they are: whoever is in one of them, besides the users. */
  readonly groups: readonly string[];
  /** Whether it is for callers without a name, too. */
  readonly anonymous: boolean;
  /** Addresses and CIDR networks, and `unix:`, of the clients it is for. */
  readonly networks: readonly string[];
  /** Names of upstreams. */
  readonly upstreams: readonly string[];
  /** Globs over the names that the upstream has for its repositories. */
  readonly repositories: readonly string[];
  /** Globs over tags. */
  readonly tags: readonly string[];
  readonly verbs: readonly Verb[];
}

/** One by which everybody, with a name or without, may do this with everything. */
export function forEverybody(verbs: readonly Verb[]): AccessRule {
  return {
    users: [],
    groups: [],
    anonymous: true,
    networks: [],
    upstreams: [],
    repositories: [],
    tags: [],
    verbs,
  };
}

/** What of a repository: nothing, everything, or the tags that the function lets through. */
export type Right = "none" | "all" | ((tag: string) => boolean);

type Matches = (text: string) => boolean;

interface Compiled {
  /** Undefined: everybody with a name. */
  readonly people: { readonly users: ReadonlySet<string>; readonly groups: ReadonlySet<string> } | undefined;
  readonly anonymous: boolean;
  readonly networks: Networks | undefined;
  readonly upstreams: ReadonlySet<string> | undefined;
  readonly repositories: Matches | undefined;
  readonly tags: Matches | undefined;
  readonly verbs: ReadonlySet<Verb>;
}

export class AccessRules {
  readonly #rules: readonly Compiled[] | undefined;

  /** Without any, whoever has a name may pull and list everything. Throws the system's error for what is no network. */
  constructor(rules: readonly AccessRule[]) {
    this.#rules = rules.length === 0 ? undefined : rules.map(compile);
  }

  /** What the caller may do in this way with the upstream's repository. */
  right(caller: Caller, verb: Verb, upstream: string, repository: Repository): Right {
    if (this.#rules === undefined) return unruled(caller, verb);
    let filters: Matches[] | undefined;
    for (const rule of this.#rules) {
      if (!concerns(rule, caller, verb, upstream) || rule.repositories?.(repository) === false) continue;
      if (rule.tags === undefined) return "all";
      filters ??= [];
      filters.push(rule.tags);
    }
    return filters === undefined ? "none" : (tag) => filters.some((matches) => matches(tag));
  }

  /** Whether there may be a repository of the upstream with which the caller may do this. */
  hasAny(caller: Caller, verb: Verb, upstream: string): boolean {
    if (this.#rules === undefined) return unruled(caller, verb) === "all";
    return this.#rules.some((rule) => concerns(rule, caller, verb, upstream));
  }

  /** Whether there may be anything that the caller may do. */
  grantsAnything(caller: Caller): boolean {
    if (this.#rules === undefined) return caller.name !== undefined;
    return this.#rules.some((rule) => isFor(rule, caller));
  }

  /** Those of the groups that a rule names: being in any other changes nothing. */
  named(groups: readonly string[]): readonly string[] {
    return groups.filter((group) => this.#rules?.some(({ people }) => people?.groups.has(group)));
  }
}

function unruled({ name }: Caller, verb: Verb): Right {
  return name !== undefined && (verb === "pull" || verb === "list") ? "all" : "none";
}

function concerns(rule: Compiled, caller: Caller, verb: Verb, upstream: string): boolean {
  if (!rule.verbs.has(verb) || rule.upstreams?.has(upstream) === false) return false;
  return isFor(rule, caller);
}

function isFor({ people, anonymous, networks }: Compiled, caller: Caller): boolean {
  if (networks?.has(caller.address) === false) return false;
  if (caller.name === undefined) return anonymous;
  return people === undefined || isOneOf(caller, people);
}

/** Whether the right covers what is named by the tag; undefined: by something else, a digest or the repository. */
export function covers(right: Right, tag: string | undefined): boolean {
  if (right === "none") return false;
  return right === "all" || tag === undefined || right(tag);
}

function compile(rule: AccessRule): Compiled {
  const { users, groups, anonymous, networks, upstreams, repositories, tags, verbs } = rule;
  const some = <T, Made>(list: readonly T[], make: (list: readonly T[]) => Made): Made | undefined =>
    list.length === 0 ? undefined : make(list);
  const setOf = <T>(list: readonly T[]): ReadonlySet<T> => new Set(list);
  const globs = (list: readonly string[]): Matches => picomatch([...list]);
  return {
    people: some([...users, ...groups], () => ({ users: setOf(users), groups: setOf(groups) })),
    anonymous,
    networks: some(networks, (list) => new Networks(list)),
    upstreams: some(upstreams, setOf),
    repositories: some(repositories, globs),
    tags: some(tags, globs),
    verbs: new Set(verbs),
  };
}
