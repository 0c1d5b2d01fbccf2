// Where blobs are that are not on the disk, for one answer of the ops listener: S3 may be slow or gone, and answers do not wait
// for it long.
import type { Digest } from "../../oci/digest.ts";
import type { Clock } from "../../ports/clock.ts";
import { maxAsked, type Neighbours, type OtherNodes } from "../../ports/datacenter/nodes.ts";
import type { SharedBlobs } from "../../ports/shared.ts";
import { eachAtOnce } from "../../ports/turns.ts";

/**
 * The names of other places that have each, such as `s3`; one that is not among them is not known. Never rejects. It is begun
 * for one answer, and what it may take in time and failures is bounded for all of that answer's questions.
 */
export type Elsewhere = (digests: readonly Digest[]) => Promise<ReadonlyMap<Digest, readonly string[]>>;

/** Blobs asked for at once. */
const atOnce = 8;
/** Questions of one answer that fail before no more are asked, besides those under way. */
const maxFailures = 5;

/**
 * In S3. `store`: left out, S3 is not used, so that it has nothing. `patience`: milliseconds by the steady `clock` after
 * which no question is begun; each takes a second at most. An S3 that fails says so itself.
 */
export function inS3(
  store: Pick<SharedBlobs, "head" | "source"> | undefined,
  patience: number,
  clock: Clock,
): Elsewhere {
  const until = clock() + patience;
  let failures = 0;
  return async (digests) => {
    if (store === undefined) return new Map(digests.map((digest) => [digest, []]));
    const places = new Map<(typeof digests)[number], readonly string[]>();
    await eachAtOnce(digests, atOnce, async (digest) => {
      if (failures >= maxFailures || clock() >= until) return;
      try {
        const head = await store.head(digest);
        places.set(digest, head === undefined ? [] : [store.source]);
      } catch {
        failures++;
      }
    });
    return places;
  };
}

/** Times a node is asked the same: it may be answering as many questions as it does at once. */
const maxAttempts = 2;

/** What the other nodes have on their disks, for one answer: this node reads it from there (cache/sharing/holders.ts). */
export class OtherDisks {
  readonly #neighbours: Neighbours | undefined;
  readonly #silent = new Set<string>();

  constructor(neighbours: Neighbours | undefined) {
    this.#neighbours = neighbours;
  }

  /** Names of the nodes that did not answer, cannot be asked or are unreachable: they are not asked again. */
  get silent(): readonly string[] {
    return [...this.#silent].sort();
  }

  get nodes(): ReturnType<Neighbours["list"]> {
    return this.#neighbours?.list() ?? [];
  }

  /** `node NAME` of each node that has it. Never rejects. A node is asked about at most 500 at once, and answers in a second. */
  async holders(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, readonly string[]>> {
    const holders = new Map<Digest, string[]>();
    const questions: (readonly Digest[])[] = [];
    for (let at = 0; at < digests.length; at += maxAsked) questions.push(digests.slice(at, at + maxAsked));
    const asked = this.nodes.map(async (node) => {
      for (const part of questions)
        for (const digest of (await this.ask(node, (nodes, address) => nodes.holding(address, part))) ?? [])
          holders.set(digest, [...(holders.get(digest) ?? []), `node ${node.name}`]);
    });
    await Promise.all(asked);
    for (const names of holders.values()) names.sort();
    return holders;
  }

  /** Undefined when the node does not answer. Never rejects. */
  async ask<T>(
    { name, address }: ReturnType<Neighbours["list"]>[number],
    question: (nodes: OtherNodes, address: string) => Promise<T>,
  ): Promise<T | undefined> {
    const nodes = this.#neighbours?.nodes;
    if (this.#silent.has(name)) return undefined;
    for (let attempt = 1; attempt <= maxAttempts && nodes !== undefined && address !== null; attempt++)
      try {
        return await question(nodes, address);
      } catch {
        // Below.
      }
    this.#silent.add(name);
    return undefined;
  }
}
