// What a token is limited to: the scopes a client asks for ("Token Scope Documentation" of CNCF Distribution), and the claim
// `access` that is made of them ("Token Authentication Implementation"). Names are those that clients use, as they stand in
// the path of a request.
import { parseRepository } from "../../oci/name.ts";

/** An entry of the claim `access`. */
export interface ResourceActions {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** Actions of the protocol; `*` is all of them. */
const actions: ReadonlySet<string> = new Set(["pull", "push", "delete", "*"]);
/** What stands for the list of all repositories. */
const catalog: ResourceActions = { type: "registry", name: "catalog", actions: ["*"] };

/** Most scopes of one token, and most characters of all of them: what is made of them goes into a header. */
const mostScopes = 64;
const longestScopes = 8192;
/** Most entries of a token that somebody else has made. */
const mostEntries = 1_000;

/**
 * The scopes in the arguments `scope` of a request, each of which may hold several with spaces between; undefined when they
 * are more than 64 or longer than 8 KiB. What is no scope of a registry is left out, and so are actions that nobody knows.
 */
export function readScopes(texts: readonly string[]): readonly ResourceActions[] | undefined {
  if (texts.reduce((sum, { length }) => sum + length, 0) > longestScopes) return undefined;
  const written = texts.flatMap((text) => text.split(" ")).filter((each) => each !== "");
  if (written.length > mostScopes) return undefined;
  return written.map(readScope).filter((scope) => scope !== undefined);
}

/** `type:name:actions`. A name may hold colons, a type a class in parentheses, which says nothing here. */
function readScope(text: string): ResourceActions | undefined {
  const [, type, name = "", list = ""] = /^([a-z]+)(?:\([a-z0-9]+\))?:(.+):([a-z*,]*)$/.exec(text) ?? [];
  if (type === "registry") return name === catalog.name && list === "*" ? catalog : undefined;
  if (type !== "repository" || parseRepository(name) === undefined) return undefined;
  const known = [...new Set(list.split(","))].filter((action) => actions.has(action));
  return known.length === 0 ? undefined : { type, name, actions: known };
}

/** The limits of one token. */
export class TokenAccess {
  readonly #repositories = new Map<string, Set<string>>();
  readonly #catalog: boolean = false;

  /** `entries`: the claim, of whatever shape. What is no entry allows nothing. */
  constructor(entries: unknown) {
    for (const entry of Array.isArray(entries) ? entries.slice(0, mostEntries) : []) {
      const { type, name, actions: list } = Object(entry) as Record<keyof ResourceActions, unknown>;
      if (typeof name !== "string" || !Array.isArray(list)) continue;
      if (type === "registry" && name === catalog.name && list.includes("*")) this.#catalog = true;
      if (type !== "repository") continue;
      const allowed = this.#repositories.get(name) ?? new Set();
      for (const action of list) if (typeof action === "string") allowed.add(action);
      this.#repositories.set(name, allowed);
    }
  }

  /** Whether the action is allowed with the repository, by the client's name for it. */
  allows(action: "pull" | "push" | "delete", repository: string): boolean {
    const allowed = this.#repositories.get(repository);
    return allowed !== undefined && (allowed.has(action) || allowed.has("*"));
  }

  /** Whether the list of all repositories is allowed. */
  get allowsCatalog(): boolean {
    return this.#catalog;
  }
}
