// Which team a request counts for: patterns over the repository and the caller's name.
import { LRUCache } from "lru-cache";
import picomatch from "picomatch";
import { otherRow } from "../../ports/records.ts";

/** Patterns; an empty list takes everything, in `callers` also requests without a name. */
export interface TeamRule {
  readonly name: string;
  readonly repositories: readonly string[];
  readonly callers: readonly string[];
}

/** Pairs of repository and caller whose team is remembered. */
const maxRemembered = 10_000;

interface Matcher {
  readonly name: string;
  readonly takes: (repository: string, user: string | undefined) => boolean;
}

export class Teams {
  /** In the order of the rules, then `otherRow`. */
  readonly names: readonly string[];
  readonly #matchers: readonly Matcher[];
  /** Some rule is about callers. */
  readonly #byCaller: boolean;
  /** Takes its memory at once: none where there is nothing to remember. */
  readonly #remembered: LRUCache<string, string> | undefined;

  constructor(rules: readonly TeamRule[]) {
    this.names = [...rules.map(({ name }) => name), otherRow];
    this.#matchers = rules.map(matcherOf);
    this.#byCaller = rules.some(({ callers }) => callers.length > 0);
    if (rules.length > 0) this.#remembered = new LRUCache<string, string>({ max: maxRemembered });
  }

  /** That of the first rule that takes both; `otherRow` when none does, or there is no repository. */
  of(repository: string | undefined, user: string | undefined): string {
    if (repository === undefined || this.#remembered === undefined) return otherRow;
    // No repository has a space in its name.
    const key = this.#byCaller && user !== undefined ? `${repository} ${user}` : repository;
    const known = this.#remembered.get(key);
    if (known !== undefined) return known;
    const team = this.#matchers.find(({ takes }) => takes(repository, user))?.name ?? otherRow;
    this.#remembered.set(key, team);
    return team;
  }
}

function matcherOf({ name, repositories, callers }: TeamRule): Matcher {
  const isRepository = repositories.length === 0 ? undefined : picomatch([...repositories]);
  const isCaller = callers.length === 0 ? undefined : picomatch([...callers], { dot: true });
  return {
    name,
    takes: (repository, user) =>
      isRepository?.(repository) !== false &&
      (isCaller === undefined || (user !== undefined && isCaller(user))),
  };
}
