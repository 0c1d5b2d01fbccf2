// A mirror of another datacenter, asked as one of its clients for what it holds (ports/datacenter/siblings.ts).
import type { SiblingConfig, UpstreamConfig } from "../config/config.ts";
import type { Digest } from "../oci/digest.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { Sibling } from "../ports/datacenter/siblings.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { Scope } from "../ports/scope.ts";
import type { ClosableUpstream } from "../ports/upstream.ts";
import type { BlobAnswer, ManifestAnswer } from "../ports/upstream-answer.ts";
import { createUpstream } from "./http-upstream.ts";

/** Milliseconds of silence in the middle of an answer after which the rest comes from elsewhere, as a rule. */
const usualIdleTimeout = 2_000;

export interface HttpSiblingOptions {
  /** How this node names itself in Via. */
  readonly pseudonym: string;
  /** The configuration of an upstream with nothing special about it. */
  readonly plain: (name: string, url: URL) => UpstreamConfig;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

/** Connects to nothing before the first question. Throws the system's error for unreadable certificates. */
export class HttpSibling implements Sibling {
  readonly name: string;
  readonly timeout: number;
  readonly #config: SiblingConfig;
  readonly #options: HttpSiblingOptions;
  /** By name of the upstream here: as many as there have been in the configuration. */
  readonly #clients = new Map<string, ClosableUpstream>();

  constructor(config: SiblingConfig, options: HttpSiblingOptions) {
    this.name = config.name;
    this.timeout = config.timeout;
    this.#config = config;
    this.#options = options;
  }

  /** One address answers for all upstreams: where one question fails the others would. */
  get available(): boolean {
    return [...this.#clients.values()].every(({ available }) => available);
  }

  knows(upstream: string): boolean {
    const { upstreams } = this.#config;
    return upstreams === undefined || Object.hasOwn(upstreams, upstream);
  }

  hasRoom(upstream: string): boolean {
    return this.#at(upstream).active < this.#config.maxConnections;
  }

  async open(
    { upstream, repository }: Scope,
    digest: Digest,
    from: number,
    signal: AbortSignal,
    to?: number,
  ): Promise<BlobAnswer> {
    return await this.#at(upstream).openBlob(repository, digest, from, signal, { to });
  }

  async manifest({ upstream, repository }: Scope, digest: Digest): Promise<ManifestAnswer> {
    return await this.#at(upstream).getManifest(repository, { kind: "digest", digest });
  }

  /** Ends every transfer and closes every connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }

  #at(upstream: string): ClosableUpstream {
    const known = this.#clients.get(upstream);
    if (known !== undefined) return known;
    const made = this.#client(upstream);
    this.#clients.set(upstream, made);
    return made;
  }

  #client(upstream: string): ClosableUpstream {
    const { name, url, upstreams, auth, tls, timeout, maxConnections } = this.#config;
    const { idleTimeout = usualIdleTimeout } = this.#config;
    const { plain, notices, clock, pause, pseudonym } = this.#options;
    const there = new URL(url);
    there.pathname = `${there.pathname.replace(/\/+$/, "")}/${upstreams?.[upstream] ?? upstream}`;
    const config: UpstreamConfig = {
      ...plain(name, there),
      auth,
      tls,
      connectTimeout: timeout,
      firstByteTimeout: timeout,
      idleTimeout,
      // What is asked beyond those that are used waits nowhere: some of an upstream's are for small questions alone.
      maxConnections: maxConnections + Math.ceil(maxConnections / 7) + 1,
      segments: 1,
    };
    // Whoever asks says what has come of the question; the bytes count apart from those of upstreams.
    const counted: NoticeSink = (notice) => {
      if (notice.kind === "upstream_bytes")
        notices({ kind: "sibling_bytes", sibling: name, bytes: notice.bytes });
      else if (notice.kind === "secret_problem") notices(notice);
    };
    return createUpstream(config, { notices: counted, clock, pause, pseudonym, onlyIfCached: true });
  }
}
