// GET and HEAD of blobs: whole, one range, or several (distribution-spec "Pulling blobs"; RFC 9110 section 14).
import type { OutgoingHttpHeaders } from "node:http";
import type { BlobCache, FillAdmission, OpenedBlob } from "../cache/blob-cache.ts";
import type { Confirmations } from "../cache/confirmations.ts";
import type { BlobRequest, Prefetch } from "../cache/prefetch/prefetch.ts";
import type { Digest } from "../oci/digest.ts";
import { etagOf, ifRangeMatches, matchesEtag } from "../oci/etag.ts";
import { mediaTypes } from "../oci/media-type.ts";
import { contentRange, parseRange, unsatisfiedRange } from "../oci/range.ts";
import { type BlobReader, type Spooled, StoreError } from "../ports/blobs.ts";
import { type FillNews, type GrantedContent, writeFillNews } from "../ports/grant.ts";
import { peerHeader } from "../ports/shared.ts";
import { type RemoteRepository, UpstreamError } from "../ports/upstream.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { ColdFills } from "./client-limits.ts";
import { type Outcome, refused } from "./error.ts";
import { ClientLeft, type Exchange } from "./exchange.ts";
import { wantsOnlyCached } from "./only-if-cached.ts";
import type { TagFilter } from "./routing.ts";
import { sendBody, sendParts } from "./send-body.ts";

export interface BlobHandlerOptions {
  readonly blobs: BlobCache;
  readonly confirmations: Confirmations;
  readonly pool: BufferPool;
  /** Passes writes on to the upstream of that name; undefined for one whose writes are refused. Left out: for all. */
  readonly push?: ((upstream: string) => unknown) | undefined;
  /** By name of the upstream; one without an entry has no limit. */
  readonly coldFills: ReadonlyMap<string, ColdFills>;
  /** Whether a part of a blob on its way is answered before all of it is verified; left out: it is. */
  readonly rangesBeforeVerified?: boolean;
  /** Fetches what the client will ask for next; left out: nothing does. */
  readonly prefetch?: Pick<Prefetch, "asked" | "askedByNode" | "missed" | "joined"> | undefined;
}

/** `tagFilter`: which tags of the repository the caller may have; left out: all. */
export async function handleBlob(
  exchange: Exchange,
  options: BlobHandlerOptions,
  remote: RemoteRepository,
  digest: Digest,
  tagFilter?: TagFilter,
): Promise<Outcome> {
  const { blobs, confirmations, pool, coldFills, push } = options;
  // Nothing is fetched ahead for who causes no question, or has left.
  const onlyCached = wantsOnlyCached(exchange);
  const causes = remote.registry.cut === undefined && !exchange.closed && !onlyCached;
  const prefetch = causes ? options.prefetch : undefined;
  const forPeer = exchange.header(peerHeader) !== undefined;
  // Who only says to be a node gets nothing that a client would not get, and starts no download either: nodes whose secrets
  // differ must not wait for each other.
  const isNode = exchange.findings.ofNode === true;
  if (exchange.isHead) {
    const found = onlyCached
      ? await blobs.headCached(remote, digest)
      : forPeer
        ? await blobs.headForPeer(remote, digest)
        : await blobs.head(remote, digest);
    if (found.kind !== "found") return refused(exchange, found);
    // Clients that push skip the blobs that HEAD says are there.
    if (!isNode && !onlyCached && found.result !== "miss" && push?.(remote.upstream) !== undefined) {
      const refusal = await confirmations.refusal(remote, digest, "blob");
      if (refusal !== undefined) return refused(exchange, refusal);
    }
    exchange.found(found);
    exchange.findings.content = { digest, mediaType: mediaTypes.octetStream, size: found.size };
    sendBlobHead(exchange, digest, found.size);
    return "served";
  }
  const use = exchange.header("range") === undefined ? "whole" : "part";
  const admission = onlyCached ? undefined : coldFills.get(remote.upstream)?.admission(exchange, digest);
  let reader: BlobReader | undefined;
  const onOver = (listener: () => void): void => void exchange.onOver(listener);
  if (isNode) prefetch?.askedByNode(remote, digest);
  else prefetch?.asked(remote, digest, onOver);
  // What comes ahead counts for no bound; a caller with one of its own gets nothing beyond it.
  const isBounded = exchange.limit?.coldFills !== undefined;
  const admitted =
    prefetch === undefined || use === "part" || isBounded
      ? admission
      : tellingOf(exchange, admission, prefetch, { remote, digest, tagFilter, onOver });
  try {
    // A part would wait until all of it is here, and who asks has other places.
    const waitsForAll = use === "part" && options.rangesBeforeVerified === false;
    const opened = onlyCached
      ? await blobs.openCached(remote, digest, use, waitsForAll)
      : forPeer
        ? await blobs.openForPeer(remote, digest, use)
        : await blobs.open(remote, digest, use, admitted);
    admission?.opened();
    if (opened.kind === "elsewhere") {
      exchange.found(opened);
      exchange.send(307, { location: opened.url.href, "cache-control": "no-store" });
      return "served";
    }
    if (opened.kind !== "found") return refused(exchange, opened);
    reader = opened.reader;
    const { result, source, size, plain, body } = opened;
    if (exchange.takesGrant && size !== undefined) {
      exchange.findings.source = source;
      const { upstream, repository } = remote;
      const heads = push?.(upstream) === undefined;
      const content = { kind: "blob", upstream, repository, digest, size, age: 0, heads } as const;
      if (plain === true && result === "hit") {
        exchange.grant(content, body);
        return "served";
      }
      // What a range needs may come before the bytes the worker would be told of.
      const spooled = use === "whole" ? await reader.spooled?.() : undefined;
      if (spooled !== undefined) {
        await grantFill(exchange, { ...opened, size }, content, spooled, pool);
        return "served";
      }
    }
    exchange.found(opened);
    exchange.findings.content = { digest, mediaType: mediaTypes.octetStream, size: opened.size };
    const blob = await whenBounded(exchange, opened);
    // Another node verifies all that it gets, and waits for this one with what its own clients want.
    const waits = options.rangesBeforeVerified === false && !isNode;
    const sent =
      blob.whole === undefined ? blob : { ...blob, beforePart: () => beforePart(exchange, blob, waits) };
    await sendBlob(exchange, sent, digest, pool);
    return "served";
  } finally {
    admission?.release();
    await reader?.close();
  }
}

/** The same admission, which tells of the fill that the request follows, unless its client has left meanwhile. */
function tellingOf(
  exchange: Pick<Exchange, "closed">,
  admission: FillAdmission | undefined,
  prefetch: Pick<Prefetch, "missed" | "joined">,
  request: BlobRequest,
): FillAdmission {
  return {
    enter: () => admission?.enter(),
    started: (done) => {
      admission?.started(done);
      if (!exchange.closed) void prefetch.missed(request);
    },
    joined: () => {
      if (!exchange.closed) prefetch.joined(request);
    },
  };
}

/**
 * Grants a blob on its way to the worker that asks, and tells it how far it is. When no more bytes come into the file the
 * rest is sent.
 */
async function grantFill(
  exchange: Exchange,
  { result, cacheStatus, reader, size }: OpenedBlob & { readonly size: number },
  content: GrantedContent,
  spooled: Spooled,
  pool: BufferPool,
): Promise<void> {
  const { file, whole, more } = spooled;
  const marks = cacheStatus === undefined ? {} : { cacheStatus };
  exchange.beginGrant({ ...content, fill: { file, whole, result, ...marks } });
  for (let told = whole ? size : 0; told < size; ) {
    const news = await more(told).then((inFile) => inFile ?? ("bytes" as const), failureOf);
    await exchange.write(writeFillNews(news));
    if (news === "bytes") await sendBody(exchange, reader, told, size, pool);
    if (typeof news !== "number") break;
    told = news;
  }
  exchange.end();
}

function failureOf(error: unknown): FillNews {
  if (error instanceof UpstreamError) {
    const { code, message, status } = error;
    return { failed: "upstream", code, message, status };
  }
  if (error instanceof StoreError) return { failed: "store", code: error.code, message: error.message };
  throw error;
}

/**
 * In HTTP/1.0 a body without a length ends where its connection does, so the client cannot tell the end from a break. A
 * blob of unknown size waits until all of it is here and verified: then it has a length.
 */
async function whenBounded(exchange: Exchange, blob: OpenedBlob): Promise<OpenedBlob> {
  if (blob.size !== undefined || blob.whole === undefined || exchange.acceptsChunks) return blob;
  return { ...blob, size: await whileConnected(exchange, blob.whole()) };
}

/** What `waited` resolves with. Rejects with ClientLeft when the client leaves before. */
async function whileConnected<T>(exchange: Exchange, waited: Promise<T>): Promise<T> {
  const left = Promise.withResolvers<never>();
  const stopListening = exchange.onOver(() => left.reject(new ClientLeft()));
  try {
    return await Promise.race([waited, left.promise]);
  } finally {
    stopListening();
  }
}

/**
 * A part of a blob cannot be checked by itself. Of one on its way it is sent with a mark, and noted for the case that the
 * digest is wrong; or it waits until all of the blob is verified.
 */
async function beforePart(exchange: Exchange, blob: OpenedBlob, waits: boolean): Promise<void> {
  const { whole, noteUnverified } = blob;
  if (whole === undefined || noteUnverified === undefined) return;
  if (waits) {
    await whileConnected(exchange, whole());
    return;
  }
  const { id, client, request, findings } = exchange;
  const to = { id, client: client.address, repository: findings.repository };
  if (noteUnverified({ ...to, userAgent: request.headers["user-agent"] }))
    exchange.found({ ...blob, unverified: true });
}

/** The answer to HEAD. */
export function sendBlobHead(exchange: Exchange, digest: Digest, size: number | undefined): void {
  if (isUnchanged(exchange, digest)) exchange.send(304, blobHeaders(digest));
  else exchange.sendHead(200, blobHeaders(digest), size);
}

/** What is sent of a blob. */
export interface SentBlob extends Pick<OpenedBlob, "size" | "reader" | "body"> {
  /** Waited for before the answer is a part of the blob. */
  readonly beforePart?: () => Promise<void>;
}

/** The answer to GET: all of the blob, or the ranges asked for. Rejects as `sendBody` does. */
export async function sendBlob(
  exchange: Exchange,
  blob: SentBlob,
  digest: Digest,
  pool: BufferPool,
): Promise<void> {
  if (exchange.closed) return;
  const headers = blobHeaders(digest);
  if (isUnchanged(exchange, digest)) return exchange.send(304, headers);
  const { size, reader } = blob;
  const counts = size !== undefined && ifRangeMatches(exchange.header("if-range"), etagOf(digest));
  const range = counts ? parseRange(exchange.header("range"), size) : { kind: "none" as const };
  if (range.kind === "unsatisfiable") {
    return exchange.send(416, { ...headers, "content-range": unsatisfiedRange(size as number) });
  }
  const first = range.kind === "ranges" ? range.ranges[0] : undefined;
  if (range.kind === "none" || first === undefined) {
    if (blob.body !== undefined) return exchange.send(200, headers, blob.body);
    exchange.begin(200, headers, size);
    await sendBody(exchange, reader, 0, size, pool);
    exchange.end();
    return;
  }
  await blob.beforePart?.();
  if (exchange.closed) return;
  reader.expect?.(range.ranges);
  if (range.multipart) {
    await sendParts(exchange, reader, range.ranges, size as number, headers, pool);
  } else {
    const { start, end } = first;
    exchange.begin(
      206,
      { ...headers, "content-range": contentRange(start, end, size as number) },
      end - start + 1,
    );
    await sendBody(exchange, reader, start, end + 1, pool);
  }
  exchange.end();
}

function isUnchanged(exchange: Exchange, digest: Digest): boolean {
  return matchesEtag(exchange.header("if-none-match"), etagOf(digest));
}

/** Content under a digest never changes. `private`, because a shared cache would bypass the access check. */
function blobHeaders(digest: Digest): OutgoingHttpHeaders {
  return {
    "content-type": mediaTypes.octetStream,
    "docker-content-digest": digest,
    "docker-distribution-api-version": "registry/2.0",
    etag: etagOf(digest),
    "accept-ranges": "bytes",
    "cache-control": "private, max-age=31536000, immutable",
  };
}
