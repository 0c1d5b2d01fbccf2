// The upstreams there are, by name. One whose configuration changes is asked in the new way from then on, by everyone who
// holds it. One that is removed goes on for what was begun with it.
import type { Change } from "../config/changes.ts";
import type { UpstreamConfig } from "../config/config.ts";
import type { HttpUpstream } from "../upstream/http-upstream.ts";
import type { Prepared } from "./prepared.ts";

/** What is said of an upstream that its client does not need to know. */
const notOfClient: ReadonlySet<string> = new Set([
  "namespaces",
  "hosts",
  "component",
  "library",
  "allow",
  "deny",
  "next",
  "tags",
  "push",
  "pricePerGB",
]);

/** What is said of all upstreams, and their clients need to know. */
const ofEveryClient: ReadonlySet<string> = new Set(["proxy", "noProxy", "offline"]);

/** The upstreams whose clients have to be made anew, of those with these names. */
export function clientsChanged(applied: readonly Change[], names: readonly string[]): Set<string> {
  return new Set(
    applied.flatMap(({ key, upstream }) => {
      if (upstream === undefined) return ofEveryClient.has(key) ? names : [];
      return notOfClient.has(upstream.key) ? [] : [upstream.name];
    }),
  );
}

export class Upstreams {
  readonly #make: (config: UpstreamConfig) => HttpUpstream;
  #all: readonly HttpUpstream[];
  /** Removed, and perhaps still used. */
  readonly #retired = new Set<HttpUpstream>();

  /** Connects to nothing. Throws the system's error for unreadable certificates. */
  constructor(configs: readonly UpstreamConfig[], make: (config: UpstreamConfig) => HttpUpstream) {
    this.#make = make;
    this.#all = configs.map(make);
  }

  /** In the order of the configuration. */
  get all(): readonly HttpUpstream[] {
    return this.#all;
  }

  /**
   * Makes the upstreams of these configurations ready: those in `changed`, and new ones. `next` has all of them, in order.
   * Throws as the constructor does.
   */
  prepare(
    configs: readonly UpstreamConfig[],
    changed: ReadonlySet<string>,
  ): Prepared & { readonly next: readonly HttpUpstream[] } {
    const made = new Map<string, HttpUpstream>();
    const discard = (): void => {
      for (const upstream of made.values()) void upstream.close().catch(() => {});
    };
    const before = new Map(this.#all.map((upstream) => [upstream.name, upstream]));
    try {
      for (const config of configs)
        if (changed.has(config.name) || !before.has(config.name)) made.set(config.name, this.#make(config));
    } catch (error) {
      discard();
      throw error;
    }
    const next = configs.map(({ name }) => before.get(name) ?? (made.get(name) as HttpUpstream));
    return {
      next,
      apply: () => {
        for (const upstream of this.#all) if (!next.includes(upstream)) this.#retired.add(upstream);
        for (const upstream of next) {
          const by = made.get(upstream.name);
          if (by !== undefined && by !== upstream) upstream.replace(by);
        }
        this.#all = next;
      },
      discard,
    };
  }

  /** Those that were removed and are not closed yet. */
  get retired(): readonly HttpUpstream[] {
    return [...this.#retired];
  }

  /** Closes removed ones, which are not used any more. */
  async end(upstreams: readonly HttpUpstream[]): Promise<void> {
    await Promise.all(upstreams.map((each) => (this.#retired.delete(each) ? each.close() : undefined)));
  }

  /** Ends every transfer and closes every connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#all, ...this.#retired].map((upstream) => upstream.close()));
  }
}
