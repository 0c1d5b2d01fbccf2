// The other nodes of the datacenter, which are read from like registries. They answer as they answer any client, but never
// start a download for this node (BlobCache.openForPeer).
import { LRUCache } from "lru-cache";
import type { UpstreamConfig } from "../config/config.ts";
import type { Clock } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import { type Peers, peerHeader } from "../ports/shared.ts";
import { type ClosableUpstream, headByDigest, remoteRepository, UpstreamError } from "../ports/upstream.ts";
import { createUpstream } from "./http-upstream.ts";

/** Pairs of a node and an upstream for which connections are kept. */
const maxPeers = 64;
/** Milliseconds. Nodes are near each other: one that takes longer is passed over. */
const connectTimeout = 1_000;
/** Milliseconds. The other node may itself be waiting for upstream's first byte. */
const firstByteTimeout = 5_000;
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
}

export type ClosablePeers = Peers & {
  /** Ends every transfer and closes every connection. */
  close(): Promise<void>;
};

export function createPeers(options: PeersOptions): ClosablePeers {
  const closing = new Set<Promise<void>>();
  const peers = new LRUCache<string, ClosableUpstream>({
    max: maxPeers,
    dispose: (peer) => {
      const closed = peer.close().finally(() => closing.delete(closed));
      closing.add(closed);
    },
  });
  const peerAt = (address: string, upstream: string): ClosableUpstream => {
    const key = `${address} ${upstream}`;
    const known = peers.get(key);
    if (known !== undefined) return known;
    const made = createPeer(originOf(address), upstream, options);
    peers.set(key, made);
    return made;
  };
  return {
    has: async (address, { upstream, repository }, digest, as) => {
      const peer = remoteRepository(peerAt(address, upstream), repository);
      const head = await headByDigest(peer, digest, as);
      return head.kind === "found";
    },
    open: async (address, { upstream, repository }, digest, from, signal) =>
      await peerAt(address, upstream).openBlob(repository, digest, from, signal),
    close: async () => {
      peers.clear();
      await Promise.all(closing);
    },
  };
}

/** Addresses come out of a shared store, which may hold anything. */
function originOf(address: string): URL {
  const url = URL.parse(address);
  if (url === null || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`)
    throw new UpstreamError("unreachable", "another node names an address that is none");
  return url;
}

function createPeer(origin: URL, name: string, options: PeersOptions) {
  const { node, pseudonym, notices, clock } = options;
  const plain = options.plain(name, new URL(name, origin));
  const config = { ...plain, connectTimeout, firstByteTimeout, idleTimeout, maxConnections };
  // Failures of another node say nothing about the registry: they are reported as those of a store.
  const reported: NoticeSink = (notice) => {
    if (notice.kind !== "upstream_error") return;
    const message = `${origin.host}: ${notice.message}`;
    notices({ kind: "store_error", op: "peer", code: "unavailable", message });
  };
  return createUpstream(config, { notices: reported, clock, pseudonym, headers: { [peerHeader]: node } });
}
