// The writers: one pass-through for each upstream that takes pushes, and the caches that have to follow what was written.
import type { Access } from "../cache/access.ts";
import type { Confirmations } from "../cache/confirmations.ts";
import type { Listings } from "../cache/listings.ts";
import type { Manifests } from "../cache/manifests.ts";
import type { NegativeAnswers } from "../cache/negative-answers.ts";
import type { UpstreamConfig } from "../config/config.ts";
import { type ClientLimits, writeBounds, writesTo } from "../http/client-limits.ts";
import type { FairQueue } from "../http/fair-queue.ts";
import { PassThrough } from "../http/push/pass-through.ts";
import type { Repository } from "../oci/name.ts";
import type { Verdicts } from "../ports/block/verdict.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { PushSink } from "../ports/push.ts";
import type { Scope } from "../ports/scope.ts";
import { createAuthorizer, createCallerAuthorizers } from "../upstream/auth/authorization.ts";
import { HttpPushTarget } from "../upstream/push-target.ts";
import type { Prepared } from "./prepared.ts";

/** How long a client may be silent in the middle of a push, in milliseconds. */
const pushSilence = 60_000;

/** What is out of date once upstream has been written to. */
export interface AffectedCaches {
  readonly access: Access;
  readonly manifests: Manifests;
  readonly negative: NegativeAnswers;
  readonly listings: Listings;
  readonly confirmations: Pick<Confirmations, "forget">;
}

export interface PushWritersOptions {
  /** How this node names itself in Via. */
  readonly pseudonym: string;
  readonly caches: AffectedCaches;
  readonly verdicts: Verdicts;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

/** One upstream that takes writes. */
interface Writer {
  readonly passThrough: PassThrough;
  readonly target: HttpPushTarget;
  readonly places: { readonly bodies: FairQueue; readonly others: FairQueue };
}

export class PushWriters {
  readonly #options: PushWritersOptions;
  #writers: ReadonlyMap<string, Writer> = new Map();
  /** Targets that requests under way may still write to. */
  readonly #retired = new Set<HttpPushTarget>();

  constructor(options: PushWritersOptions) {
    this.#options = options;
  }

  /** What passes writes on to the upstream; undefined when it takes none. */
  of(upstream: string): PassThrough | undefined {
    return this.#writers.get(upstream)?.passThrough;
  }

  /**
   * Makes ready what writes to the upstreams of these configurations: those in `changed` anew, those that were not there
   * before too. Throws the system's error for unreadable certificates.
   */
  prepare(configs: readonly UpstreamConfig[], limits: ClientLimits, changed: ReadonlySet<string>): Prepared {
    const writers = new Map<string, Writer>();
    for (const config of configs) {
      if (!config.push) continue;
      const before = this.#writers.get(config.name);
      const kept = changed.has(config.name) ? undefined : before;
      writers.set(config.name, kept ?? this.#make(config, before?.places ?? placesOf(config, limits)));
    }
    return {
      apply: () => {
        for (const [name, { passThrough, places }] of writers) {
          const before = this.#writers.get(name)?.passThrough;
          if (before !== undefined && before !== passThrough) passThrough.continue(before);
          const connections = configs.find((config) => config.name === name)?.maxConnections ?? 1;
          for (const queue of [places.bodies, places.others]) queue.bound(writeBounds(connections, limits));
        }
        const used = new Set([...writers.values()].map(({ target }) => target));
        for (const { target } of this.#writers.values()) if (!used.has(target)) this.#retired.add(target);
        this.#writers = writers;
      },
      discard: () => {
        const used = new Set([...this.#writers.values()].map(({ target }) => target));
        for (const { target } of writers.values()) if (!used.has(target)) void target.close().catch(() => {});
      },
    };
  }

  #make(config: UpstreamConfig, places: Writer["places"]): Writer {
    const { pseudonym, caches, verdicts, notices, clock } = this.#options;
    const create = config.access === "passthrough" ? createCallerAuthorizers : createAuthorizer;
    const target = new HttpPushTarget(config, create(config, notices, clock));
    const { connectTimeout: connect, firstByteTimeout: answer, idleTimeout: idle } = config;
    const passThrough = new PassThrough({
      name: config.name,
      pseudonym,
      target,
      sink: createPushSink(config.name, caches),
      timeouts: { connect, answer, idle, client: pushSilence },
      places,
      verdicts,
      notices,
      clock,
    });
    return { passThrough, target, places };
  }

  /** What was replaced or is not written to any more, and is not closed yet. */
  get retired(): readonly HttpPushTarget[] {
    return [...this.#retired];
  }

  /** Closes some of those, which are not used any more. */
  async end(targets: readonly HttpPushTarget[]): Promise<void> {
    await Promise.all(targets.map((each) => (this.#retired.delete(each) ? each.close() : undefined)));
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const targets = [...this.#writers.values()].map(({ target }) => target);
    await Promise.all([...targets, ...this.#retired].map((target) => target.close()));
  }
}

function placesOf({ maxConnections }: UpstreamConfig, limits: ClientLimits): Writer["places"] {
  return { bodies: writesTo(maxConnections, limits), others: writesTo(maxConnections, limits) };
}

/** Makes the caches forget what has changed upstream, whether a push that passed says so or a webhook. */
export function createPushSink(
  upstream: string,
  { access, manifests, negative, listings, confirmations }: AffectedCaches,
): PushSink {
  /** What was said of the repository is forgotten at once here, and everywhere when `known` resolves. */
  const written = (repository: Repository): { readonly scope: Scope; readonly known: Promise<void> } => {
    const scope = { upstream, repository };
    const known = negative.forget(scope);
    confirmations.forget(scope);
    return { scope, known };
  };
  return {
    changed: async (repository, ...what) => {
      const { scope, known } = written(repository);
      listings.forget(scope);
      await manifests.changed(scope, ...what);
      await known;
    },
    blobPushed: async (repository, digest) => {
      const { scope, known } = written(repository);
      await access.link(scope, [{ digest, size: undefined }]);
      await known;
    },
    blobDeleted: async (repository, digest) => {
      const { scope, known } = written(repository);
      await access.unlink(scope, digest);
      await known;
    },
  };
}
