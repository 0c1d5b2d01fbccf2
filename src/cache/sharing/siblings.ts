// Which mirrors of other datacenters are asked for a digest before the far registry is, in which order, and what has come of
// it. They are a place of bytes like the others of a fill (fill/source.ts): the digest proves the bytes, and the right to them
// is proved as for bytes of any other place, by upstream.
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { SiblingState, SiblingVerdict } from "../../ports/datacenter/sibling-verdict.ts";
import type { Sibling } from "../../ports/datacenter/siblings.ts";
import { withDeadline } from "../../ports/deadline.ts";
import { type NoticeSink, type SiblingResult, siblingResults } from "../../ports/event.ts";
import type { Scope } from "../../ports/scope.ts";
import { UpstreamError } from "../../ports/upstream.ts";
import { type BlobAnswer, isRefusal, type ManifestAnswer } from "../../ports/upstream-answer.ts";
import { MeasuredRate } from "./measured-rate.ts";

/** Milliseconds in which one that has failed, or refused, is not asked; one that has sent wrong bytes. */
const rest = 10_000;
const distrust = 10 * 60_000;
/** Most repositories of which it is remembered that a sibling does not let this mirror read them. */
const maxRefused = 1_000;
/** One that brings less than this share of what the upstream brings is not asked. */
const asFast = 0.8;
/** Bytes a millisecond below which a transfer under way is slow, whatever the upstream brings; and of what that does. */
const leastRate = 64;
const leastShare = 0.5;

type FoundBlob = Extract<BlobAnswer, { readonly kind: "found" }>;
type FoundManifest = Extract<ManifestAnswer, { readonly kind: "found" }>;

export interface SiblingsOptions {
  /** In the order of the configuration; at most 8. */
  readonly siblings: readonly Sibling[];
  readonly notices: NoticeSink;
  /** A steady one. */
  readonly clock: Clock;
  readonly pause: Pause;
}

/** One sibling, and what has come of asking it. */
class Known {
  readonly sibling: Sibling;
  readonly rate: MeasuredRate;
  readonly results = Object.fromEntries(siblingResults.map((result) => [result, 0])) as Record<
    SiblingResult,
    number
  >;
  restsUntil = Number.NEGATIVE_INFINITY;
  distrustedUntil = Number.NEGATIVE_INFINITY;
  /** Until when it is not asked about a repository, by upstream and name. */
  readonly refused = new LRUCache<string, number>({ max: maxRefused });
  lastHitAt: number | undefined;
  lastError: SiblingVerdict["lastError"];

  constructor(sibling: Sibling, clock: Clock) {
    this.sibling = sibling;
    this.rate = new MeasuredRate(clock);
  }
}

export class Siblings {
  readonly #options: SiblingsOptions;
  readonly #known: readonly Known[];
  /** By name: as many as there have been in the configuration. */
  readonly #upstreams = new Map<string, MeasuredRate>();

  constructor(options: SiblingsOptions) {
    this.#options = options;
    this.#known = options.siblings.map((sibling) => new Known(sibling, options.clock));
  }

  /**
   * Names of those to ask about the upstream, in this order: those that have not been measured lately, then by rate. Without
   * those that would be slower than the upstream itself, unless that cannot be asked.
   */
  toAsk(upstream: string, isAvailable: boolean): readonly string[] {
    const own = isAvailable ? this.#upstreams.get(upstream)?.now : undefined;
    return this.#known
      .filter(({ sibling }) => sibling.knows(upstream))
      .filter((known) => this.#trouble(known) === undefined && !isSlower(known, own))
      .toSorted((a, b) => (b.rate.now ?? Number.MAX_VALUE) - (a.rate.now ?? Number.MAX_VALUE))
      .map(({ sibling }) => sibling.name);
  }

  /** The blob from `from` on; undefined when it does not have it, or has no connection left, "failed" when it has not said so. Rejects with the signal's reason. */
  async open(
    name: string,
    scope: Scope,
    digest: Digest,
    from: number,
    signal: AbortSignal,
    to?: number,
  ): Promise<FoundBlob | undefined | "failed"> {
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const ask = (sibling: Sibling) => sibling.open(scope, digest, from, either, to);
    const answer = await this.#ask(name, scope, ask, () => over.abort(), signal);
    if (answer === undefined || answer === "failed" || answer.doubt === undefined) return answer;
    over.abort();
    this.#count(name, "failed", `it ${answer.doubt}`);
    return "failed";
  }

  /** The manifest, which is not verified yet. The same. */
  async manifest(name: string, scope: Scope, digest: Digest): Promise<FoundManifest | undefined | "failed"> {
    const answer = await this.#ask(name, scope, (sibling) => sibling.manifest(scope, digest), discard);
    if (answer !== undefined && answer !== "failed" && answer.kind === "oversize") {
      answer.discard();
      return undefined;
    }
    return answer as FoundManifest | undefined | "failed";
  }

  /** What it answers within its time. `late`: gets an answer that comes when nobody waits for it any more. */
  async #ask<Answer extends BlobAnswer | ManifestAnswer>(
    name: string,
    { upstream, repository }: Scope,
    ask: (sibling: Sibling) => Promise<Answer>,
    late: (answer?: Answer) => void,
    signal?: AbortSignal,
  ): Promise<Exclude<Answer, { readonly kind: "absent" | "denied" }> | undefined | "failed"> {
    const known = this.#of(name);
    if (known === undefined) return undefined;
    const { sibling } = known;
    // Then it would wait behind other layers, and upstream need not.
    if (!sibling.hasRoom(upstream)) return undefined;
    const { pause, clock } = this.#options;
    const about = `${upstream}/${repository}`;
    if (clock() < (known.refused.get(about) ?? Number.NEGATIVE_INFINITY)) return undefined;
    try {
      const answer = await withDeadline({ milliseconds: sibling.timeout, pause, signal, late }, () =>
        ask(sibling),
      );
      if (!isRefusal(answer)) return answer as Exclude<Answer, { readonly kind: "absent" | "denied" }>;
      if (answer.kind === "denied") {
        known.refused.set(about, clock() + rest);
        this.#failed(known, "it does not let this mirror read that", 0);
      }
      this.#count(name, "miss");
      return undefined;
    } catch (error) {
      late();
      signal?.throwIfAborted();
      // It was found out before, by another question.
      if (error instanceof UpstreamError && error.code === "circuit_open") return "failed";
      this.#count(name, "failed", error instanceof Error ? error.message : String(error));
      return "failed";
    }
  }

  /** It has begun to send something. */
  hit(name: string): void {
    this.#count(name, "hit");
  }

  /** It has broken off in the middle. */
  failed(name: string, message: string): void {
    this.#count(name, "failed", message);
  }

  /** It was given up in the middle. */
  slow(name: string, message: string): void {
    this.#count(name, "slow", message);
  }

  /** What it sent, alone or with others, is not what the digest says: it is not asked for ten minutes. */
  wrong(name: string, message: string): void {
    this.#count(name, "wrong", message);
  }

  /** So many bytes have come from it while they were waited for so many milliseconds. */
  came(name: string, bytes: number, milliseconds: number): void {
    this.#of(name)?.rate.note(bytes, milliseconds);
  }

  /** The same of an upstream. */
  cameFrom(upstream: string, bytes: number, milliseconds: number): void {
    const rate = this.#upstreams.get(upstream) ?? new MeasuredRate(this.#options.clock);
    this.#upstreams.set(upstream, rate);
    rate.note(bytes, milliseconds);
  }

  /** Bytes a millisecond that a sibling has to bring for its transfer to go on. */
  least(upstream: string): number {
    return Math.max(leastRate, (this.#upstreams.get(upstream)?.now ?? 0) * leastShare);
  }

  /** In the order of the configuration. */
  get verdicts(): readonly SiblingVerdict[] {
    return this.#known.map((known) => {
      const { sibling, rate, results, lastHitAt, lastError } = known;
      const perMillisecond = rate.now;
      return {
        name: sibling.name,
        state: this.#trouble(known) ?? (this.#isSlowest(known) ? "slow" : "asked"),
        bytesPerSecond: perMillisecond === undefined ? undefined : Math.round(perMillisecond * 1000),
        results: { ...results },
        lastHitAt,
        lastError,
      };
    });
  }

  #of(name: string): Known | undefined {
    return this.#known.find(({ sibling }) => sibling.name === name);
  }

  #trouble({
    sibling,
    restsUntil,
    distrustedUntil,
  }: Known): Exclude<SiblingState, "asked" | "slow"> | undefined {
    const now = this.#options.clock();
    if (now < distrustedUntil) return "distrusted";
    if (!sibling.available) return "away";
    return now < restsUntil ? "resting" : undefined;
  }

  /** Slower than every upstream that has been measured and that it is asked for. */
  #isSlowest(known: Known): boolean {
    const rates = [...this.#upstreams]
      .filter(([name]) => known.sibling.knows(name))
      .flatMap(([, rate]) => rate.now ?? []);
    return rates.length > 0 && rates.every((rate) => isSlower(known, rate));
  }

  #count(name: string, result: SiblingResult, message?: string): void {
    const known = this.#of(name);
    if (known === undefined) return;
    known.results[result]++;
    const now = this.#options.clock();
    if (result === "hit") known.lastHitAt = now;
    if (message !== undefined) this.#failed(known, message, result === "wrong" ? 0 : rest);
    if (result === "wrong") known.distrustedUntil = now + distrust;
    this.#options.notices({
      kind: "sibling",
      sibling: name,
      result,
      ...(message === undefined ? {} : { message }),
    });
  }

  #failed(known: Known, message: string, restsFor: number): void {
    const now = this.#options.clock();
    known.lastError = { at: now, message };
    known.restsUntil = Math.max(known.restsUntil, now + restsFor);
  }
}

function isSlower({ rate }: Known, own: number | undefined): boolean {
  const measured = rate.now;
  return own !== undefined && measured !== undefined && measured < own * asFast;
}

function discard(answer?: ManifestAnswer): void {
  if (answer?.kind === "oversize") answer.discard();
}
