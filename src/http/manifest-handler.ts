// GET and HEAD of manifests. Both run the same code, so a digest that HEAD announces is here for the GET that follows,
// and the headers are the same (docs/clients.md 10 and 16).
import type { OutgoingHttpHeaders } from "node:http";
import { type Confirmations, confirmTagAfter } from "../cache/confirmations.ts";
import type { Manifests, OpenedManifest, RelayedManifest } from "../cache/manifests.ts";
import type { Prefetch } from "../cache/prefetch/prefetch.ts";
import { plainAccept, takes } from "../oci/accept.ts";
import type { Digest } from "../oci/digest.ts";
import { etagOf, matchesEtag } from "../oci/etag.ts";
import type { Reference } from "../oci/reference.ts";
import { peerHeader } from "../ports/shared.ts";
import type { RemoteRepository } from "../ports/upstream.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { type Outcome, refused, warning } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { wantsOnlyCached } from "./only-if-cached.ts";
import { sendBody } from "./send-body.ts";

export interface ManifestHandlerOptions {
  readonly manifests: Manifests;
  readonly confirmations: Confirmations;
  readonly pool: BufferPool;
  /** Passes writes on to the upstream of that name; undefined for one whose writes are refused. Left out: for all. */
  readonly push?: ((upstream: string) => unknown) | undefined;
  /** Is told which manifests clients are given; left out: nobody is. */
  readonly prefetch?: Pick<Prefetch, "answered"> | undefined;
}

export async function handleManifest(
  exchange: Exchange,
  { manifests, confirmations, pool, push, prefetch }: ManifestHandlerOptions,
  remote: RemoteRepository,
  reference: Reference,
): Promise<Outcome> {
  // Clients that push skip the manifests that HEAD says are there.
  const onlyCached = reference.kind === "digest" && wantsOnlyCached(exchange);
  const asksPresence = exchange.isHead && !onlyCached && push?.(remote.upstream) !== undefined;
  const opened = onlyCached
    ? manifests.openCached(remote, reference.digest)
    : reference.kind === "digest" && exchange.header(peerHeader) !== undefined
      ? manifests.openForPeer(remote, reference.digest)
      : manifests.openAtOnce(remote, reference, asksPresence ? confirmTagAfter : undefined);
  let found = opened instanceof Promise ? await opened : opened;
  if (found.kind !== "found") return refused(exchange, found);
  const { accept } = exchange.request.headers;
  if (reference.kind === "tag" && accept !== undefined && !takes(accept, found.mediaType)) {
    if ("reader" in found) await found.reader.close();
    // What it is given is not for others, at a worker or in a cache before this mirror.
    exchange.grantNothing();
    exchange.always.vary = "accept";
    found = await manifests.openAs(remote, reference.tag, plainAccept(accept));
    if (found.kind !== "found") return refused(exchange, found);
  }
  if (asksPresence && reference.kind === "digest" && found.result === "hit") {
    const refusal = await confirmations.refusal(remote, reference.digest, "manifest");
    if (refusal !== undefined) return refused(exchange, refusal);
  }
  if (!exchange.isHead && !onlyCached) prefetch?.answered(remote, found.digest);
  if (exchange.takesGrant && !("reader" in found) && found.result === "hit") {
    const { digest, mediaType, body, age, freshFor, source } = found;
    exchange.findings.source = source;
    const { upstream, repository } = remote;
    exchange.grant(
      {
        kind: "manifest",
        upstream,
        repository,
        digest,
        mediaType,
        size: body.length,
        age,
        ...(freshFor === undefined ? {} : { freshFor }),
        heads: push?.(upstream) === undefined,
      },
      body,
    );
    return "served";
  }
  if ("relayed" in found) Object.assign(exchange.always, found.relayed);
  exchange.found("reader" in found ? { ...found, result: "pass" } : found);
  const { digest, mediaType } = found;
  const size = "reader" in found ? found.size : found.body.length;
  exchange.findings.content = { digest, mediaType, size };
  if ("reader" in found) {
    await relay(exchange, found, pool);
    return "served";
  }
  sendManifest(exchange, { ...found, size: found.body.length });
  return "served";
}

/** What is sent of a manifest; HEAD needs no body. `age` and `reason`: see OpenedManifest. */
export interface SentManifest extends Pick<OpenedManifest, "digest" | "mediaType" | "age" | "reason"> {
  readonly size: number;
  readonly body: Buffer | undefined;
}

/** The answer to GET and HEAD. */
export function sendManifest(exchange: Exchange, manifest: SentManifest): void {
  const { digest, mediaType, size, body, age, reason } = manifest;
  const headers = manifestHeaders(digest, mediaType);
  const seconds = Math.floor(age / 1000);
  headers.age = String(seconds);
  if (reason !== undefined)
    headers.warning = warning(
      `stale tag, confirmed ${seconds} s ago: the upstream registry failed (${reason.code})`,
    );
  if (matchesEtag(exchange.header("if-none-match"), etagOf(digest))) exchange.send(304, headers);
  else if (exchange.isHead) exchange.sendHead(200, headers, size);
  else exchange.send(200, headers, body);
}

/** Passes on a manifest that is too large to be kept. */
async function relay(exchange: Exchange, manifest: RelayedManifest, pool: BufferPool): Promise<void> {
  try {
    const headers = manifestHeaders(manifest.digest, manifest.mediaType);
    if (exchange.isHead) return exchange.sendHead(200, headers, manifest.size);
    if (exchange.closed) return;
    exchange.begin(200, headers, manifest.size);
    await sendBody(exchange, manifest.reader, 0, manifest.size, pool);
    exchange.end();
  } finally {
    await manifest.reader.close();
  }
}

/** The bare media type: a parameter breaks crane, a generic type breaks docker and podman (docs/clients.md 12). */
function manifestHeaders(digest: Digest, mediaType: string): OutgoingHttpHeaders {
  return {
    "content-type": mediaType,
    "docker-content-digest": digest,
    "docker-distribution-api-version": "registry/2.0",
    etag: etagOf(digest),
  };
}
