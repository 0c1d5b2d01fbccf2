// The Upstream port over HTTP: one method for each question the cache asks.
import { setTimeout as sleep } from "node:timers/promises";
import type { UpstreamConfig } from "../config/config.ts";
import type { Digest } from "../oci/digest.ts";
import { largestManifest } from "../oci/manifest.ts";
import { bareMediaType, manifestAccept } from "../oci/media-type.ts";
import type { Repository } from "../oci/name.ts";
import { type Reference, referenceText } from "../oci/reference.ts";
import type { CallerCredentials } from "../ports/caller-credentials.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { NoticeSink } from "../ports/event.ts";
import {
  type BlobAsk,
  type ClosableUpstream,
  type Pacer,
  type Upstream,
  UpstreamError,
} from "../ports/upstream.ts";
import {
  type AccountAnswer,
  type BlobAnswer,
  type BlobHead,
  type ManifestAnswer,
  type ManifestHead,
  nobodysAccount,
  type ReferrersAnswer,
  type Refusal,
  type TagsAnswer,
} from "../ports/upstream-answer.ts";
import { makePseudonym } from "../ports/via.ts";
import {
  cacheMarks,
  contentDigest,
  contentLength,
  contentRange,
  doubtOf,
  isRefusalStatus,
  refuseUnlessJson,
  unusable,
} from "./answer.ts";
import { createAuthorizer, createCallerAuthorizers } from "./auth/authorization.ts";
import { AccountRefused, NobodyAsks } from "./auth/authorizer.ts";
import { BlobHeads } from "./blob-head.ts";
import { BlobBody, discard, readBeginning, smallBodyTimeout } from "./body.ts";
import {
  type Ask,
  type Asker,
  MovedToHttps,
  type Reply,
  type SignedHeaders,
  statusOf,
  UpstreamClient,
} from "./client.ts";
import { asUpstreamError } from "./failure.ts";
import { type ListSource, listReferrers, listTags } from "./lists.ts";

/** Lets the process end while it waits. */
const ownPause: Pause = (milliseconds, signal) => sleep(milliseconds, undefined, { signal, ref: false });

export interface UpstreamOptions {
  readonly notices: NoticeSink;
  /** In milliseconds, for Retry-After dates and timings; left out: the machine's. */
  readonly clock?: Clock | undefined;
  /** Between the probes of an upstream that does not answer; left out: in real time. */
  readonly pause?: Pause | undefined;
  /** This mirror's name in Via; left out: a new one. */
  readonly pseudonym?: string;
  /** They go with every question. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly signed?: SignedHeaders | undefined;
  /** It is a cache, and asked for nothing but what it holds: its 504 says that it does not (RFC 9111, section 5.2.1.7). */
  readonly onlyIfCached?: boolean;
}

/** Connects to nothing before the first question. Throws the system's error for unreadable certificates. */
export function createUpstream(config: UpstreamConfig, options: UpstreamOptions): HttpUpstream {
  return new HttpUpstream(new Shared(createParts(config, options)));
}

function createParts(config: UpstreamConfig, options: UpstreamOptions): Parts {
  const { notices, clock = Date.now, pause = ownPause, pseudonym = makePseudonym() } = options;
  const { signed, onlyIfCached = false } = options;
  const headers = { ...(onlyIfCached ? { "cache-control": "only-if-cached" } : {}), ...options.headers };
  const authorizer = createAuthorizer(config, notices, clock);
  const callers =
    config.access === "passthrough" ? createCallerAuthorizers(config, notices, clock) : undefined;
  const client = new UpstreamClient({
    config,
    authorizer,
    callers,
    notices,
    clock,
    pause,
    pseudonym,
    signed,
    onlyIfCached,
  });
  const blobHeads = new BlobHeads(config.name, clock);
  const at = (url: URL): Parts =>
    createParts({ ...config, url }, { notices, clock, pause, pseudonym, headers, signed, onlyIfCached });
  return { config, client, notices, clock, blobHeads, headers, at };
}

interface Parts {
  readonly config: UpstreamConfig;
  readonly client: UpstreamClient;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly blobHeads: BlobHeads;
  readonly headers: NonNullable<Ask["headers"]>;
  /** The same for a registry that has turned out to be at another address. */
  readonly at: (url: URL) => Parts;
}

/** What an upstream and those made of it by `forwarding` have in common. */
class Shared {
  /** A reload replaces them: they are read for every question. */
  parts: Parts;
  /** Clients whose place was taken, until their last question is over. */
  readonly retiring = new Set<UpstreamClient>();

  constructor(parts: Parts) {
    this.parts = parts;
  }

  replace(parts: Parts): void {
    const { client: before } = this.parts;
    this.parts = parts;
    parts.client.continue(before);
    const retired = (): void => void this.retiring.delete(before);
    this.retiring.add(before);
    void before.retire().then(retired, retired);
  }

  /** Asks the registry where it is: an address over http that only leads to https is not asked a second time. */
  async ask(ask: Ask): Promise<Reply> {
    const { parts } = this;
    try {
      return await parts.client.ask(ask);
    } catch (error) {
      if (!(error instanceof MovedToHttps)) throw error;
      if (this.parts === parts) this.#move(error.url);
      return await this.parts.client.ask(ask);
    }
  }

  #move(url: URL): void {
    const { config, notices, at } = this.parts;
    this.replace(at(url));
    const { name } = config;
    const message = `${config.url.href} only redirects to ${url.href}, which is asked from now on: set url to it`;
    notices({ kind: "upstream_moved", upstream: name, message });
  }
}

export class HttpUpstream implements ClosableUpstream {
  readonly name: string;
  readonly caller: CallerCredentials | undefined;
  readonly #shared: Shared;
  readonly #via: string | undefined;
  readonly #traceparent: string | undefined;
  readonly #client: Asker;
  readonly #notices: NoticeSink;
  readonly #clock: Clock;

  /** Sends `via`, members of Via that go before this mirror's own, and `traceparent` with every question. */
  constructor(shared: Shared, via?: string, traceparent?: string, caller?: CallerCredentials) {
    const { config, headers, notices, clock } = shared.parts;
    this.name = config.name;
    this.#shared = shared;
    this.#via = via;
    this.#traceparent = traceparent;
    this.caller = caller;
    const added = { ...(via === undefined ? {} : { via }), ...(caller === undefined ? {} : { caller }) };
    const always = { ...headers, ...(traceparent === undefined ? {} : { traceparent }) };
    this.#client = {
      ask: (ask) => shared.ask({ ...ask, ...added, headers: { ...always, ...ask.headers } }),
    };
    this.#notices = notices;
    this.#clock = clock;
  }

  /**
   * From now on every question is asked as `by` would ask it, also for requests and downloads that hold this upstream
   * already. Those under way end as they began, and their connections are closed then. `by`, of the same name and not
   * used yet, becomes a part of this one.
   */
  replace(by: HttpUpstream): void {
    this.#shared.replace(by.#shared.parts);
  }

  forwarding(via: string | undefined, traceparent?: string): Upstream {
    return new HttpUpstream(this.#shared, via, traceparent, this.caller);
  }

  forCaller(caller: CallerCredentials | undefined): Upstream {
    return new HttpUpstream(this.#shared, this.#via, this.#traceparent, caller);
  }

  get active(): number {
    return this.#parts.client.active;
  }

  get available(): boolean {
    return this.cut === undefined && this.#parts.client.circuit.state === "closed";
  }

  get cut(): "offline" | undefined {
    return this.#config.offline === true ? "offline" : undefined;
  }

  get segments(): number {
    return this.#config.segments;
  }

  get roundTrip(): number | undefined {
    return this.#parts.client.roundTrip;
  }

  get spare(): boolean {
    return this.#parts.client.spare;
  }

  get allowance(): number {
    return this.#parts.client.allowance;
  }

  get circuit(): ClosableUpstream["circuit"] {
    return this.#parts.client.circuit;
  }

  async close(): Promise<void> {
    const clients = [this.#parts.client, ...this.#shared.retiring];
    await Promise.all(clients.map((client) => client.close()));
  }

  get #parts(): Parts {
    return this.#shared.parts;
  }

  get #config(): UpstreamConfig {
    return this.#shared.parts.config;
  }

  checkAccount(): Promise<AccountAnswer> {
    return this.#reporting<AccountAnswer>(async () => {
      const reply = await this.#client.ask({
        method: "GET",
        type: "token",
        repository: undefined,
        endpoint: "",
      });
      if (reply.account === "accepted") {
        discard(reply.body);
        return { kind: "found" };
      }
      const refusal = await statusOf(this.name, reply, [200], this.#clock());
      if (refusal?.kind === "denied") return refusal;
      if (refusal === undefined) discard(reply.body);
      const doubt = refusal === undefined ? doubtOf(reply) : "has no registry there";
      if (doubt !== undefined) throw unusable(this.name, doubt, reply.status);
      return { kind: "found" };
    });
  }

  /** What nobody waits for is not asked a second time, by GET. */
  headManifest(repository: Repository, reference: Reference, use?: "background"): Promise<ManifestHead> {
    return this.#reporting(async () => {
      const ask = manifestAsk("HEAD", repository, reference);
      let reply = await this.#client.ask(use === undefined ? ask : { ...ask, use });
      // Some registries refuse HEAD only, and the text of a refusal comes with a GET only.
      const unknown = reply.status === 404 && reference.kind === "tag";
      const refused = reply.status === 401 ? reply.account === "accepted" : isRefusalStatus(reply.status);
      if (use === undefined && (reply.status === 405 || refused || unknown)) {
        discard(reply.body);
        reply = await this.#client.ask(manifestAsk("GET", repository, reference));
      }
      const refusal = await statusOf(this.name, reply, [200], this.#clock());
      if (refusal !== undefined) return refusal;
      discard(reply.body);
      const doubt = doubtOf(reply);
      const head = this.#manifestHeaders(reply);
      // Only a registry names a digest. Of a tag the manifest is fetched then, and shows what it is.
      if (doubt !== undefined && head.digest === undefined && reference.kind === "digest")
        throw unusable(this.name, doubt, reply.status);
      // No manifest is empty: servers that do not know the length of a HEAD say 0.
      const size = doubt === undefined ? contentLength(this.name, reply.headers) || undefined : undefined;
      return { kind: "found", size, ...head, ...cacheMarks(reply) };
    });
  }

  getManifest(
    repository: Repository,
    reference: Reference,
    accept: string = manifestAccept,
    user?: string,
  ): Promise<ManifestAnswer> {
    return this.#reporting(async () => {
      const reply = await this.#client.ask(manifestAsk("GET", repository, reference, accept));
      const refusal = await statusOf(this.name, reply, [200], this.#clock());
      if (refusal !== undefined) return refusal;
      return await this.#whileOpen(reply, async () => {
        const head = this.#manifestHeaders(reply);
        const size = contentLength(this.name, reply.headers);
        // Undefined until the caller reads on.
        let reader: AbortSignal | undefined;
        const body = new BlobBody(reply.body, {
          expected: size,
          received: (bytes) => this.#received("manifest", bytes, repository, user),
          failure: (cause) => this.#bodyFailure(cause, reader),
        });
        const limit = size !== undefined && size > largestManifest ? 0 : largestManifest;
        const beginning = await readBeginning(body, limit, this.#smallBodyTimeout);
        if (beginning.complete) {
          const bytes = Buffer.concat(beginning.chunks);
          refuseUnlessJson(this.name, reply, bytes);
          return { kind: "found", body: bytes, ...head, ...cacheMarks(reply) };
        }
        const doubt = doubtOf(reply);
        if (doubt !== undefined) throw unusable(this.name, doubt, reply.status);
        const read = (signal: AbortSignal): AsyncIterable<Buffer> => {
          reader = signal;
          signal.addEventListener("abort", () => reply.body.destroy(), { once: true });
          return joined(beginning.chunks, body);
        };
        return { kind: "oversize", size, ...head, read, discard: () => void body.return() };
      });
    });
  }

  headBlob(repository: Repository, digest: Digest): Promise<BlobHead> {
    return this.#reporting(() => this.#parts.blobHeads.head(this.#client, repository, digest));
  }

  /** The body must be iterated, or the signal aborted: until then it holds a connection. */
  openBlob(
    repository: Repository,
    digest: Digest,
    from: number,
    signal: AbortSignal,
    { endpoint = "blobs", use, to, yields, pacer, user }: BlobAsk = {},
  ): Promise<BlobAnswer> {
    return this.#reporting(async () => {
      const ask = (range: object): Promise<Reply> =>
        this.#client.ask({
          method: "GET",
          type: "blob",
          repository,
          endpoint: `${endpoint}/${digest}`,
          headers: { ...(endpoint === "manifests" ? { accept: manifestAccept } : {}), ...range },
          signal,
          yields,
          ...(use === undefined ? {} : { use }),
        });
      let ranged = from > 0 || to !== undefined;
      let reply = await ask(ranged ? { range: `bytes=${from}-${to === undefined ? "" : to - 1}` } : {});
      if (ranged && reply.status === 416) {
        // No client asked for the range: then all of it, as from an upstream that ignores ranges.
        discard(reply.body);
        ranged = false;
        reply = await ask({});
      }
      const refusal = await statusOf(this.name, reply, ranged ? [200, 206] : [200], this.#clock());
      if (refusal !== undefined) return refusal;
      return await this.#whileOpen(reply, async () => {
        // No gateway answers with a part.
        const doubt = reply.status === 200 ? doubtOf(reply, digest) : undefined;
        if (doubt !== undefined && from > 0) throw unusable(this.name, doubt, reply.status);
        const doubted = doubt === undefined ? {} : { doubt };
        const length = contentLength(this.name, reply.headers);
        const { offset, size, ...range } =
          reply.status === 206
            ? contentRange(this.name, reply.headers, from, to)
            : { offset: 0, size: length };
        // Without `to` the body has to reach the end of the blob, even if upstream announces a shorter part.
        const end = to !== undefined && "end" in range ? range.end : size;
        const expected = end === undefined ? undefined : end - offset;
        const received = (bytes: number): void => this.#received("blob", bytes, repository, user);
        const body = this.#blobBody(reply, expected, signal, { pacer, received });
        const part = end === size || end === undefined ? {} : { end };
        return { kind: "found", size, offset, ...part, ...doubted, body, ...cacheMarks(reply) };
      });
    }, signal);
  }

  listTags(repository: Repository, n: number | undefined, last: string | undefined): Promise<TagsAnswer> {
    return this.#reporting(() => listTags(this.#listOf(repository), repository, n, last));
  }

  listReferrers(
    repository: Repository,
    digest: Digest,
    artifactType: string | undefined,
  ): Promise<ReferrersAnswer> {
    return this.#reporting(() => listReferrers(this.#listOf(repository), repository, digest, artifactType));
  }

  #listOf(repository: Repository): ListSource {
    return {
      client: this.#client,
      upstream: this.name,
      clock: this.#clock,
      pageTimeout: this.#smallBodyTimeout,
      listTimeout: this.#config.firstByteTimeout + this.#smallBodyTimeout,
      received: (bytes: number) => this.#received("tags", bytes, repository),
    };
  }

  get #smallBodyTimeout(): number {
    return smallBodyTimeout(this.#config.idleTimeout);
  }

  #manifestHeaders(reply: Reply): { digest: Digest | undefined; mediaType: string | undefined } {
    return {
      digest: contentDigest(this.name, reply.headers),
      mediaType: bareMediaType(reply.headers["content-type"]),
    };
  }

  #blobBody(
    reply: Reply,
    expected: number | undefined,
    signal: AbortSignal,
    more: { readonly pacer: Pacer | undefined; readonly received: (bytes: number) => void },
  ): BlobBody {
    return new BlobBody(reply.body, {
      ...more,
      expected,
      failure: (cause) => this.#bodyFailure(cause, signal),
    });
  }

  /**
   * What a body rejects with that has not come to its end, for `cause`, or undefined for one of another length. `signal` is
   * its reader's; without a reader yet, the question itself fails and reports it.
   */
  #bodyFailure(cause: unknown, signal: AbortSignal | undefined): Error {
    if (signal?.aborted) return signal.reason;
    const error =
      cause === undefined
        ? new UpstreamError("truncated", `upstream ${this.name} sent a body of another length than announced`)
        : asUpstreamError(cause, "body", this.name);
    if (signal !== undefined) this.#report(error);
    return error;
  }

  /** Destroys the body when its headers turn out to be unusable. */
  async #whileOpen<T>(reply: Reply, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      reply.body.destroy();
      throw error;
    }
  }

  /** Reports a failure once, unless the caller's own signal has ended the question. */
  async #reporting<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T | Refusal> {
    try {
      return await ask();
    } catch (error) {
      // Wrong credentials of a caller are no failure of upstream, and nothing stale is given against them.
      if (this.caller !== undefined && error instanceof AccountRefused) return nobodysAccount;
      if (error instanceof NobodyAsks) throw error;
      // That it is not asked is no failure.
      if (error instanceof UpstreamError && error.code !== "offline" && !signal?.aborted) this.#report(error);
      throw error;
    }
  }

  #report({ code, status, message }: UpstreamError): void {
    this.#notices({ kind: "upstream_error", upstream: this.name, code, status, message });
  }

  #received(type: "manifest" | "blob" | "tags", bytes: number, repository: Repository, user?: string): void {
    if (bytes > 0)
      this.#notices({ kind: "upstream_bytes", upstream: this.name, type, bytes, repository, user });
  }
}

function manifestAsk(
  method: "GET" | "HEAD",
  repository: Repository,
  reference: Reference,
  accept: string = manifestAccept,
): Ask {
  const endpoint = `manifests/${referenceText(reference)}`;
  return { method, type: "manifest", repository, endpoint, headers: { accept } };
}

async function* joined(chunks: readonly Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield* chunks;
  yield* rest;
}
