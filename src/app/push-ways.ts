// The ways for writes: one for each upstream that lets them through, and who hears of what was written.
import type { Access } from "../cache/access.ts";
import type { Confirmations } from "../cache/confirmations.ts";
import type { Listings } from "../cache/listings.ts";
import type { Manifests } from "../cache/manifests.ts";
import type { NegativeAnswers } from "../cache/negative-answers.ts";
import type { UpstreamConfig } from "../config/config.ts";
import { type ClientLimits, writesTo } from "../http/client-limits.ts";
import { PassThrough } from "../http/push/pass-through.ts";
import type { PushSink } from "../http/push/push-ports.ts";
import type { Repository } from "../oci/name.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { Upstream } from "../ports/upstream.ts";
import { createAuthorizer } from "../upstream/auth/authorization.ts";
import { createPushTarget } from "../upstream/push-target.ts";

/** How long a client may be silent in the middle of a push, in milliseconds. */
const pushSilence = 60_000;

/** What has to hear of a push. */
export interface Told {
  readonly access: Access;
  readonly manifests: Manifests;
  readonly negative: NegativeAnswers;
  readonly listings: Listings;
  readonly confirmations: Pick<Confirmations, "forget">;
}

export interface PushWaysOptions {
  /** How this node names itself in Via. */
  readonly pseudonym: string;
  readonly told: Told;
  readonly limits: ClientLimits;
  readonly notices: NoticeSink;
  readonly clock: Clock;
}

export interface PushWays {
  /** By name of the upstream; without an entry writes are refused. */
  readonly ways: ReadonlyMap<string, PassThrough>;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** `upstreams` are those of `configs`, in the same order. */
export function createPushWays(
  configs: readonly UpstreamConfig[],
  upstreams: readonly Upstream[],
  { pseudonym, told, limits, notices, clock }: PushWaysOptions,
): PushWays {
  const ways = new Map<string, PassThrough>();
  const targets: { close(): Promise<void> }[] = [];
  for (const [at, config] of configs.entries()) {
    const upstream = upstreams[at];
    if (!config.push || upstream === undefined) continue;
    const target = createPushTarget(config, createAuthorizer(config, notices, clock));
    targets.push(target);
    const { connectTimeout: connect, firstByteTimeout: answer, idleTimeout: idle } = config;
    const passThrough = new PassThrough({
      name: config.name,
      pseudonym,
      target,
      sink: sinkOf(upstream, told),
      patience: { connect, answer, idle, client: pushSilence },
      places: {
        bodies: writesTo(config.maxConnections, limits),
        others: writesTo(config.maxConnections, limits),
      },
      notices,
      clock,
    });
    ways.set(config.name, passThrough);
  }
  return {
    ways,
    async close() {
      await Promise.all(targets.map((target) => target.close()));
    },
  };
}

/** Tells all of them what has changed upstream, whoever says so: a push that passed, or a webhook. */
export function sinkOf(
  upstream: Upstream,
  { access, manifests, negative, listings, confirmations }: Told,
): PushSink {
  const written = (repository: Repository): void => {
    negative.forget(upstream.name, repository);
    confirmations.forget(upstream.name, repository);
  };
  return {
    changed: async (repository, ...what) => {
      written(repository);
      listings.forget(upstream.name, repository);
      await manifests.changed(upstream, repository, ...what);
    },
    blobPushed: async (repository, digest) => {
      written(repository);
      await access.link(upstream, repository, [{ digest, size: undefined }]);
    },
    blobDeleted: async (repository, digest) => {
      written(repository);
      await access.unlink(upstream, repository, digest);
    },
  };
}
