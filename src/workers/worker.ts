// One worker process of a node: it listens where the clients connect, and answers as answering.ts says. What it knows comes
// from its primary; when that is gone it ends (node:cluster sees to it).
import type { Worker } from "node:cluster";
import type { Writable } from "node:stream";
import { StoredReaders } from "../cache/stored-readers.ts";
import { BufferPool } from "../http/buffer-pool.ts";
import { type AnswerLimits, answerBounds, openAnswers } from "../http/client-limits.ts";
import type { FairQueue } from "../http/fair-queue.ts";
import { Listener, type ListenerRules } from "../http/listener.ts";
import { traced } from "../http/traced.ts";
import type { Digest } from "../oci/digest.ts";
import type { BlobReader, StoredBlob } from "../ports/blobs.ts";
import { BlockedError } from "../ports/block/verdict.ts";
import type { Clock } from "../ports/clock.ts";
import type { RequestTracing } from "../ports/tracing/span.ts";
import { type AnsweringOptions, answer, type WorkerFiles } from "./answering.ts";
import { EventWriter } from "./events.ts";
import { Grants } from "./grants.ts";
import { placesOf } from "./lent-places.ts";
import type { ToPrimary, ToWorker, WorkerOtel, WorkerSettings, WorkerTracing } from "./messages.ts";
import { PrimaryClient } from "./primary-client.ts";

/** Milliseconds between two signs of life. */
const aliveInterval = 1_000;
/** Milliseconds without a word from the primary after which probes are told so. */
const longestSilence = 10_000;

export interface WorkerOptions {
  /** This process, as node:cluster has it. */
  readonly worker: Pick<Worker, "send" | "on">;
  /** The files of a cache directory, to be read. */
  readonly openFiles: (directory: string) => WorkerFiles;
  /** Makes known that the cache directory is read by this process. Throws StoreError. */
  readonly lock: (directory: string) => void;
  /** Makes ready to send spans; `lost` is told of those that will never be sent. Rejects with why it cannot be done. */
  readonly openTracing?: (
    otel: WorkerOtel,
    lost: (spans: number, reason: string) => void,
  ) => Promise<WorkerTracing>;
  readonly maxConnections: number;
  /** Where its events go; see events.ts. */
  readonly events: Writable;
  /** A steady one. */
  readonly clock: Clock;
}

/** Runs until the process is ended from outside. */
export class WorkerNode {
  readonly #options: WorkerOptions;
  readonly #grants = new Grants();
  readonly #readers = new StoredReaders((digest) => this.#tell({ kind: "unreadable", digest }));
  readonly #events: EventWriter;
  #listener: Listener | undefined;
  #answers: FairQueue | undefined;
  #tracing: WorkerTracing | undefined;
  /** Spans that were lost, and of the last of them why, since the primary was told. */
  #spansLost = { spans: 0, reason: "" };
  #status: 200 | 404 | 503 = 503;
  #heardAt: number;
  /** Makes other settings count for the requests to come; undefined before the start. */
  #use: ((settings: WorkerSettings) => void) | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#heardAt = options.clock();
    this.#events = new EventWriter(options.events);
    options.worker.on("message", (message: ToWorker) => this.#heard(message));
    setInterval(() => {
      this.#tell({ kind: "alive", inFlight: this.#listener?.inFlight ?? 0 });
      this.#tellSpansLost();
    }, aliveInterval).unref();
  }

  #tellSpansLost(): void {
    const { spans, reason } = this.#spansLost;
    if (spans === 0) return;
    this.#spansLost = { spans: 0, reason: "" };
    this.#tell({ kind: "spans_lost", spans, reason });
  }

  #tell(message: ToPrimary): void {
    // The primary is gone when it cannot be told: then this process is about to end.
    this.#options.worker.send(message, () => {});
  }

  #heard(message: ToWorker): void {
    switch (message.kind) {
      case "start":
        void this.#start(message.settings);
        return;
      case "settings":
        this.#use?.(message.settings);
        return;
      case "forget":
        for (const forget of message.forgets) this.#grants.forget(forget);
        this.#tell({ kind: "done", number: message.number });
        return;
      case "wrong":
        this.#grants.forget({});
        this.#readers.cut(message.digest);
        return;
      case "blocked":
        this.#grants.forget({});
        for (const [digest, blocked] of message.digests) this.#readers.cut(digest, new BlockedError(blocked));
        return;
      case "readiness":
        this.#status = message.status;
        this.#heardAt = this.#options.clock();
        return;
      case "lent":
        this.#answers?.lend(message.network, message.places);
        return;
      case "drain":
        void this.#drain();
        return;
    }
  }

  async #start(settings: WorkerSettings): Promise<void> {
    const { openFiles, lock, maxConnections, clock } = this.#options;
    const files = openFiles(settings.cacheDirectory);
    const answers = openAnswers(limitsOf(settings), {
      ask: (network) => this.#tell({ kind: "short", network }),
      giveBack: (network, places) => this.#tell({ kind: "returned", network, places }),
    });
    this.#answers = answers;
    const lasting = {
      grants: this.#grants,
      primary: new PrimaryClient(settings.socket),
      files: {
        open: async (digest) => this.#counted(digest, await files.open(digest)),
        openSpool: async (digest, path, size) =>
          this.#counted(digest, await files.openSpool(digest, path, size)),
      },
      readers: this.#readers,
      pool: new BufferPool(),
      answers,
      readiness: () => (this.#primaryLives() ? this.#status : 503),
      liveness: () => (this.#primaryLives() ? 200 : 503),
      clock,
      unexpected: (error) => this.#unexpected(error),
    } satisfies Omit<AnsweringOptions, "hostMatters" | "callerMatters">;
    const { pseudonym, listen, tls, otel } = settings;
    try {
      if (otel !== undefined)
        this.#tracing = await this.#options.openTracing?.(otel, (spans, reason) => {
          this.#spansLost = { spans: this.#spansLost.spans + spans, reason };
        });
    } catch (error) {
      return this.#failed(error);
    }
    const tracing = this.#tracing?.tracing;
    const listener = new Listener({
      ...rulesOf(settings, lasting, tracing),
      unexpected: lasting.unexpected,
      onEvent: (event) => this.#events.add(event),
      pseudonym,
      maxConnections,
      tls,
    });
    this.#listener = listener;
    this.#use = (next) => {
      answers.bound(answerBounds(limitsOf(next)));
      listener.prepare(rulesOf(next, lasting, tracing))();
      if (next.tls !== undefined) listener.useTls(next.tls);
    };
    try {
      lock(settings.cacheDirectory);
      this.#tell({ kind: "listening", bound: await listener.listen(listen) });
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    const { message, ...rest } = error as Error & Record<string, unknown>;
    this.#tell({ kind: "failed", message, error: rest });
  }

  /** Without a word from it the node is as good as dead, whatever this process can still answer. */
  #primaryLives(): boolean {
    return this.#options.clock() - this.#heardAt <= longestSilence;
  }

  /** The primary evicts nothing that is being read. */
  #counted(digest: Digest, blob: StoredBlob | undefined): StoredBlob | undefined {
    if (blob === undefined) return undefined;
    this.#tell({ kind: "reading", digest, change: 1 });
    let open = true;
    const close: BlobReader["close"] = async () => {
      if (open) this.#tell({ kind: "reading", digest, change: -1 });
      open = false;
      await blob.close();
    };
    return { size: blob.size, read: (position, scratch) => blob.read(position, scratch), close };
  }

  async #drain(): Promise<void> {
    await this.#listener?.drain();
    await this.#events.flush();
    await this.#tracing?.flush();
    this.#tellSpansLost();
    this.#tell({ kind: "drained" });
  }

  #unexpected(error: unknown): void {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    this.#tell({ kind: "unexpected", message, stack });
  }
}

/** Those of one worker. A request that waits for the primary's word is not yet one too many. */
function limitsOf({ openAnswers, workers, waiting }: WorkerSettings): AnswerLimits {
  const { own } = placesOf(openAnswers, workers);
  return { openAnswers: own, waiting: waiting + openAnswers - own };
}

function rulesOf(
  {
    hostMatters,
    callerMatters,
    certificates,
    trustedProxies,
    exempt,
    basePath,
    cacheStatus,
    serverTiming,
    via,
  }: WorkerSettings,
  lasting: Omit<AnsweringOptions, "hostMatters" | "callerMatters">,
  tracing: RequestTracing | undefined,
): ListenerRules {
  const options = { ...lasting, hostMatters, callerMatters };
  return {
    serve: traced((exchange) => void answer(exchange, options), tracing),
    certificates,
    trustedProxies,
    exempt,
    basePath,
    cacheStatus,
    serverTiming,
    via,
  };
}
