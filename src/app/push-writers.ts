// The writers: one pass-through for each upstream that takes pushes, and the caches that have to follow what was written.
import type { Access } from "../cache/access.ts";
import type { Confirmations } from "../cache/confirmations.ts";
import type { Listings } from "../cache/listings.ts";
import type { Manifests } from "../cache/manifests.ts";
import type { NegativeAnswers } from "../cache/negative-answers.ts";
import type { UpstreamConfig } from "../config/config.ts";
import { type ClientLimits, writesTo } from "../http/client-limits.ts";
import { PassThrough } from "../http/push/pass-through.ts";
import type { Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { PushSink } from "../ports/push.ts";
import type { Scope } from "../ports/scope.ts";
import { createAuthorizer } from "../upstream/auth/authorization.ts";
import { HttpPushTarget } from "../upstream/push-target.ts";

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
  readonly limits: ClientLimits;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

export interface PushWriters {
  /** By name of the upstream; without an entry writes are refused. */
  readonly writers: ReadonlyMap<string, PassThrough>;
  /** Ends every connection. */
  close(): Promise<void>;
}

export function createPushWriters(
  configs: readonly UpstreamConfig[],
  { pseudonym, caches, limits, notices, clock }: PushWritersOptions,
): PushWriters {
  const writers = new Map<string, PassThrough>();
  const targets: { close(): Promise<void> }[] = [];
  for (const config of configs) {
    if (!config.push) continue;
    const target = new HttpPushTarget(config, createAuthorizer(config, notices, clock));
    targets.push(target);
    const { connectTimeout: connect, firstByteTimeout: answer, idleTimeout: idle } = config;
    const passThrough = new PassThrough({
      name: config.name,
      pseudonym,
      target,
      sink: createPushSink(config.name, caches),
      timeouts: { connect, answer, idle, client: pushSilence },
      places: {
        bodies: writesTo(config.maxConnections, limits),
        others: writesTo(config.maxConnections, limits),
      },
      notices,
      clock,
    });
    writers.set(config.name, passThrough);
  }
  return {
    writers,
    async close() {
      await Promise.all(targets.map((target) => target.close()));
    },
  };
}

/** Makes the caches forget what has changed upstream, whether a push that passed says so or a webhook. */
export function createPushSink(
  upstream: string,
  { access, manifests, negative, listings, confirmations }: AffectedCaches,
): PushSink {
  const written = (repository: Repository): Scope => {
    const scope = { upstream, repository };
    negative.forget(scope);
    confirmations.forget(scope);
    return scope;
  };
  return {
    changed: async (repository, ...what) => {
      const scope = written(repository);
      listings.forget(scope);
      await manifests.changed(scope, ...what);
    },
    blobPushed: async (repository, digest) => {
      await access.link(written(repository), [{ digest, size: undefined }]);
    },
    blobDeleted: async (repository, digest) => {
      await access.unlink(written(repository), digest);
    },
  };
}
