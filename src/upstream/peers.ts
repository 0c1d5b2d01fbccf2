// The other nodes of the datacenter, which are read from like registries. They answer as they answer any client, but never
// start a download for this node (BlobCache.openForPeer).
import { LRUCache } from "lru-cache";
import type { UpstreamConfig } from "../config/config.ts";
import type { Digest } from "../oci/digest.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import { type NodeProof, proofHeader } from "../ports/datacenter/node-proof.ts";
import { withDeadline } from "../ports/deadline.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { Scope } from "../ports/scope.ts";
import { type Peers, peerHeader } from "../ports/shared.ts";
import { type ClosableUpstream, headByDigest, remoteRepository, UpstreamError } from "../ports/upstream.ts";
import type { BlobAnswer, ManifestAnswer } from "../ports/upstream-answer.ts";
import { createUpstream } from "./http-upstream.ts";

/** Pairs of a node and an upstream for which connections are kept. */
const maxPeers = 64;
/** Milliseconds. Nodes are near each other: one that takes longer is passed over. */
const connectTimeout = 1_000;
/**
 * Milliseconds in which a node has to begin to send what it has or is fetching. It may itself be waiting for upstream's first
 * byte, or have so many clients that a new one takes seconds: asking upstream instead would fetch the blob twice.
 */
const beginTimeout = 15_000;
/** Milliseconds in which a node has to say whether it has something. */
const presenceTimeout = 3_000;
const idleTimeout = 10_000;
const maxConnections = 256;

export interface PeersOptions {
  /** Name of this node, for the other's log. */
  readonly node: string;
  /** How this node names itself in Via. */
  readonly pseudonym: string;
  /** The configuration of an upstream with nothing special about it. */
  readonly plain: (name: string, url: URL) => UpstreamConfig;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
  /** Milliseconds in which a node has to begin to send; left out: 15 s. */
  readonly beginTimeout?: number;
  /** Signs what is asked; left out: nothing is signed. */
  readonly proof?: NodeProof | undefined;
}

export class HttpPeers implements Peers {
  readonly #options: PeersOptions;
  readonly #closing = new Set<Promise<void>>();
  readonly #peers = new LRUCache<string, ClosableUpstream>({
    max: maxPeers,
    dispose: (peer) => {
      const closed = peer.close().finally(() => this.#closing.delete(closed));
      this.#closing.add(closed);
    },
  });

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  async has(address: string, scope: Scope, digest: Digest, as: "blob" | "manifest"): Promise<boolean> {
    const peer = remoteRepository(this.#at(address, scope.upstream), scope.repository);
    const { pause } = this.#options;
    const answer = await withDeadline({ milliseconds: presenceTimeout, pause }, () =>
      headByDigest(peer, digest, as),
    );
    return answer.kind === "found";
  }

  async open(
    address: string,
    scope: Scope,
    digest: Digest,
    from: number,
    signal: AbortSignal,
    to?: number,
  ): Promise<BlobAnswer> {
    return await this.#at(address, scope.upstream).openBlob(scope.repository, digest, from, signal, { to });
  }

  async manifest(address: string, scope: Scope, digest: Digest): Promise<ManifestAnswer> {
    return await this.#at(address, scope.upstream).getManifest(scope.repository, { kind: "digest", digest });
  }

  /** Ends every transfer and closes every connection. */
  async close(): Promise<void> {
    this.#peers.clear();
    await Promise.all(this.#closing);
  }

  #at(address: string, upstream: string): ClosableUpstream {
    const key = `${address} ${upstream}`;
    const known = this.#peers.get(key);
    if (known !== undefined) return known;
    const made = createPeer(originOf(address), upstream, this.#options);
    this.#peers.set(key, made);
    return made;
  }
}

/** Addresses come out of a shared store, which may hold anything. Throws UpstreamError for what is none. */
export function originOf(address: string): URL {
  const url = URL.parse(address);
  if (url === null || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`)
    throw new UpstreamError("unreachable", "another node names an address that is none");
  return url;
}

function createPeer(origin: URL, name: string, options: PeersOptions) {
  const { node, pseudonym, notices, clock, proof } = options;
  const plain = options.plain(name, new URL(name, origin));
  const firstByteTimeout = options.beginTimeout ?? beginTimeout;
  const config = { ...plain, connectTimeout, firstByteTimeout, idleTimeout, maxConnections };
  // Failures of another node say nothing about the registry: they are reported as those of a store.
  const reported: NoticeSink = (notice) => {
    if (notice.kind !== "upstream_error") return;
    const message = `${origin.host}: ${notice.message}`;
    notices({ kind: "store_error", op: "peer", code: "unavailable", message });
  };
  const signed =
    proof &&
    (async (method: string, { host, pathname, search }: URL) => ({
      [proofHeader]: await proof.sign({ node, method, host, target: pathname + search }),
    }));
  const headers = { [peerHeader]: node };
  return createUpstream(config, { notices: reported, clock, pseudonym, headers, signed });
}
