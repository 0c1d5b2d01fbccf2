// What an operator has deleted from the caches of all nodes. Each is kept for a while, so that a node that was away does the
// same when it is back. Implementations of the lists live in src/storage and src/upstream.
import { z } from "zod";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { parseRepository, parseTag, type Tag } from "../../oci/name.ts";
import type { Scope } from "../scope.ts";

/**
 * A tag with its image, when `tag` is set; an image, when only `digest` is; otherwise a whole repository. Without `scope` it is
 * an image in all repositories.
 */
export interface PurgeSubject {
  readonly scope: Scope | undefined;
  readonly tag: Tag | undefined;
  /** Of a tag: what it named, as far as the node knew where it began. */
  readonly digest: Digest | undefined;
}

export interface Purge extends PurgeSubject {
  /** Thirteen digits of its time, and a random part. */
  readonly id: string;
  /** Milliseconds since the epoch, by the clock of the node where it began. What came later stays. */
  readonly at: number;
  /**
   * What goes with the image, as the node knew where it began: other nodes may have some of it without the manifest that names
   * it. At most `maxParts`.
   */
  readonly parts: readonly Digest[];
}

/** Parts that one purge names. A node that has the manifest itself knows of more. */
export const maxParts = 500;
/** Purges that are kept, the latest ones, and milliseconds each is kept: as long a node may be away. */
export const maxPurges = 500;
export const purgeLifetime = 14 * 86_400_000;
/**
 * Milliseconds by which the clocks of nodes and stores may be apart: what came so shortly after a purge is taken for what came
 * before it, and fetched again.
 */
export const clockSkew = 10_000;

/** Whether something that came, or was confirmed, at `time` is from before the purge. */
export function isBefore(purge: Pick<Purge, "at">, time: number): boolean {
  return time <= purge.at + clockSkew;
}

const idGrammar = /^(\d{13})-[0-9a-f]{12}$/;

/** Undefined for what is no id of a purge. */
export function timeOfId(id: string): number | undefined {
  const [, time] = idGrammar.exec(id) ?? [];
  return time === undefined ? undefined : Number(time);
}

/** Of these ids the ones whose purges are kept, in the order of their time: what is none, too old, or one too many is not. */
export function keptIds(ids: readonly string[], now: number): readonly string[] {
  return ids
    .filter((id) => (timeOfId(id) ?? Number.NEGATIVE_INFINITY) > now - purgeLifetime)
    .sort()
    .slice(-maxPurges);
}

/** The purges that this node knows of. All throw StoreError. */
export interface PurgeStore {
  /** Those kept, in the order of their time. `now`: those that are too old, or too many, go. */
  ids(now: number): readonly string[];
  get(id: string): Purge | undefined;
  /** Does nothing when it is known. `isDone`: all of it has been done here. */
  put(purge: Purge, isDone: boolean): void;
  done(id: string): void;
  /** Those that have not been done here, or not all of them, in the order of their time. */
  undone(): readonly Purge[];
}

/** How nodes tell each other of purges. */
export interface PurgeExchange {
  /**
   * Gives the other nodes those of `own` that they lack, where they have to be given, and resolves with those of theirs that are not
   * in `own`, at most `maxPurges`. Rejects, within seconds, when nobody can be asked. `now`: those that are too old then go.
   */
  exchange(
    own: readonly string[],
    get: (id: string) => Purge | undefined,
    now: number,
  ): Promise<readonly Purge[]>;
}

const wireSchema = z.object({
  id: z.string().regex(idGrammar),
  at: z.number().int().nonnegative(),
  upstream: z.string().max(300).optional(),
  repository: z.string().optional(),
  tag: z.string().optional(),
  digest: z.string().optional(),
  parts: z.array(z.string()).max(maxParts),
});

/** Longest purge in JSON, in characters. */
const longestPurge = 160 * maxParts;

/** As nodes write it to each other. `idOf`: what they call an upstream; undefined, as the result, for one that there is no more. */
export function writePurge(purge: Purge, idOf: (upstream: string) => string | undefined): string | undefined {
  const { scope, ...rest } = purge;
  if (scope === undefined) return JSON.stringify(rest);
  const upstream = idOf(scope.upstream);
  return upstream === undefined
    ? undefined
    : JSON.stringify({ ...rest, upstream, repository: scope.repository });
}

/** Undefined for what is none, and for one of an upstream that this node does not have. */
export function readPurge(text: string, nameOf: (id: string) => string | undefined): Purge | undefined {
  if (text.length > longestPurge) return undefined;
  const { data } = wireSchema.safeParse(parsed(text));
  if (data === undefined || timeOfId(data.id) !== data.at) return undefined;
  const [tag, digest] = [data.tag && parseTag(data.tag), data.digest && parseDigest(data.digest)];
  const repository = data.repository === undefined ? undefined : parseRepository(data.repository);
  const upstream = data.upstream === undefined ? undefined : nameOf(data.upstream);
  const isScoped = data.upstream !== undefined || data.repository !== undefined;
  if (isScoped && (upstream === undefined || repository === undefined)) return undefined;
  if ((data.tag !== undefined && !tag) || (data.digest !== undefined && !digest)) return undefined;
  const scope = upstream === undefined || repository === undefined ? undefined : { upstream, repository };
  if (scope === undefined && (tag || !digest)) return undefined;
  const parts = data.parts.flatMap((part) => parseDigest(part) ?? []);
  return { id: data.id, at: data.at, scope, tag: tag || undefined, digest: digest || undefined, parts };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
