// How long a tag record answers without asking upstream, and how long it may still answer when upstream cannot.
import { LRUCache } from "lru-cache";
import picomatch from "picomatch";
import { type Digest, parseDigest } from "../oci/digest.ts";
import { splitTagPattern } from "../oci/name.ts";
import { recordAge } from "../ports/clock.ts";
import type { TagRecord } from "../ports/records.ts";
import { keyIn, type Scope } from "../ports/scope.ts";
import { boundedByKeys } from "./memory-size.ts";

export interface FreshnessRule {
  /** A glob over the repository, `:`, a glob over the tag; without the colon, any tag. */
  readonly match: string;
  /** Milliseconds; Infinity: upstream is never asked again. */
  readonly ttl: number;
}

export interface FreshnessOptions {
  /** Milliseconds, for tags no rule matches. */
  readonly ttl: number;
  /** First match wins. */
  readonly rules: readonly FreshnessRule[];
  /** Milliseconds past its TTL that a record may still be served while upstream fails (RFC 5861 section 4). */
  readonly staleIfError: number;
  /** Milliseconds past its TTL that a record may be served while it is being confirmed (RFC 5861 section 3); less than that. */
  readonly staleWhileRevalidate: number;
}

export interface FreshnessOverride {
  readonly ttl?: number | undefined;
  readonly rules: readonly FreshnessRule[];
  /** Upstream is never asked: its tags are served whatever their age. */
  readonly offline?: boolean | undefined;
}

const fallbackTag = /^(sha256|sha512)-([0-9a-f]{64}|[0-9a-f]{128})(?:\.[a-z0-9]+)?$/;

/**
 * The digest whose referrers the tag lists (distribution-spec, "Referrers Tag Schema"; cosign's `.sig`, `.att`, `.sbom`);
 * undefined for every other tag. These tags appear after the image, so upstream is asked each time while it answers.
 */
export function subjectOfTag(tag: string): Digest | undefined {
  const [, algorithm, hex] = fallbackTag.exec(tag) ?? [];
  return hex === undefined ? undefined : parseDigest(`${algorithm}:${hex}`);
}

interface Policy {
  readonly offline: boolean;
  readonly rules: readonly { readonly matches: Matches; readonly ttl: number }[];
  readonly ttl: number;
}

type Matches = (repository: string, tag: string) => boolean;

export class Freshness {
  readonly #staleIfError: number;
  readonly #staleWhileRevalidate: number;
  readonly #policy: Policy;
  readonly #policies: ReadonlyMap<string, Policy>;
  /** Globs are matched once per name. Names come from clients, so the memory is bounded. */
  readonly #ttls = new LRUCache<string, number>(boundedByKeys);

  /** `upstreams`: what differs for one upstream, by name; its rules come before the common ones. */
  constructor(options: FreshnessOptions, upstreams: ReadonlyMap<string, FreshnessOverride> = new Map()) {
    this.#staleIfError = options.staleIfError;
    this.#staleWhileRevalidate = options.staleWhileRevalidate;
    this.#policy = policyOf(options.rules, options.ttl);
    this.#policies = new Map(
      [...upstreams].map(([name, { ttl, rules, offline }]) => [
        name,
        policyOf([...rules, ...options.rules], ttl ?? options.ttl, offline),
      ]),
    );
  }

  /** Milliseconds a record of this tag stays fresh; 0 for signature tags, whatever the rules say. */
  ttl(scope: Scope, tag: string): number {
    const key = keyIn(scope, tag);
    let ttl = this.#ttls.get(key);
    if (ttl === undefined) {
      const policy = this.#policies.get(scope.upstream) ?? this.#policy;
      const rule = policy.rules.find(({ matches }) => matches(scope.repository, tag));
      ttl = subjectOfTag(tag) !== undefined ? 0 : (rule?.ttl ?? policy.ttl);
      this.#ttls.set(key, ttl);
    }
    return ttl;
  }

  /**
   * A record that is more than 5 minutes ahead of the clock (`recordAge`) is confirmed, or the tag would stay as it is
   * until the clock has caught up. While upstream fails it is all that is known, and is served; `datedBack` bounds that.
   */
  state(
    { upstream }: Pick<Scope, "upstream">,
    record: TagRecord,
    ttl: number,
    now: number,
  ): "fresh" | "stale" | "expired" {
    if (ttl === Number.POSITIVE_INFINITY) return "fresh";
    const age = recordAge(record.checkedAt, now);
    if (age < ttl) return "fresh";
    if (this.#policies.get(upstream)?.offline === true) return "stale";
    return age < ttl + this.#staleIfError || age === Number.POSITIVE_INFINITY ? "stale" : "expired";
  }

  /** Whether a record that is not fresh may be served while upstream is asked. */
  mayServeWhileRevalidating(record: TagRecord, ttl: number, now: number): boolean {
    return recordAge(record.checkedAt, now) < ttl + this.#staleWhileRevalidate;
  }

  /** `checkedAt`, in milliseconds, of a record that has to be confirmed before it is served, while upstream answers. */
  expired(ttl: number, now: number): number {
    return now - ttl - this.#staleWhileRevalidate;
  }

  /** The record as one that has just expired, when a wrong clock made it; undefined for any other. */
  datedBack(record: TagRecord, ttl: number, now: number): TagRecord | undefined {
    if (recordAge(record.checkedAt, now) !== Number.POSITIVE_INFINITY || !Number.isFinite(ttl))
      return undefined;
    return { ...record, checkedAt: this.expired(ttl, now) };
  }
}

/** Each part is matched by itself: to picomatch, `**` before a colon is no more than `*`. */
function matcher(glob: string): Matches {
  const [repositories, tags] = splitTagPattern(glob);
  const isRepository = picomatch(repositories);
  const isTag = picomatch(tags);
  return (repository, tag) => isRepository(repository) && isTag(tag);
}

function policyOf(rules: readonly FreshnessRule[], ttl: number, offline = false): Policy {
  return { offline, rules: rules.map((rule) => ({ matches: matcher(rule.match), ttl: rule.ttl })), ttl };
}
