// What the primary of a node and its workers tell each other besides requests and events, over the channel Node opens
// between a process and those it starts.
import type { CertificateNaming } from "../gate/certificate-caller.ts";
import type { Digest } from "../oci/digest.ts";
import type { Blocked } from "../ports/block/blocked.ts";
import type { Bound, ListenPlace } from "../ports/listening.ts";
import type { ServerTls } from "../ports/tls-front.ts";
import type { RequestTracing } from "../ports/tracing/span.ts";
import type { CallerMatters } from "./answering.ts";
import type { Forget } from "./grants.ts";

/** How a worker sends its spans: settings of src/telemetry/otel, which are nothing to the code here. Plain data. */
export interface WorkerOtel {
  readonly headers: Readonly<Record<string, string>>;
}

/** The tracing of a worker, opened by who knows the settings. */
export interface WorkerTracing {
  readonly tracing: RequestTracing | undefined;
  /** Resolves when what waits is sent or lost, in bounded time. */
  flush(): Promise<void>;
}

/** What a worker needs to know. Plain data: it is sent as it is. */
export interface WorkerSettings {
  readonly listen: ListenPlace;
  /** Undefined: its clients speak plain HTTP. */
  readonly tls: ServerTls | undefined;
  /** Path of the unix socket at which the primary answers workers. */
  readonly socket: string;
  readonly cacheDirectory: string;
  readonly pseudonym: string;
  readonly via: boolean;
  readonly cacheStatus: boolean;
  readonly serverTiming: boolean;
  readonly trustedProxies: readonly string[];
  readonly exempt: readonly string[];
  readonly basePath: string;
  /** Of one client in all workers, of which there are so many: answers open at the same time. */
  readonly openAnswers: number;
  readonly workers: number;
  /** Requests of one client that wait, in each worker. */
  readonly waiting: number;
  /** Whether the Host header can name an upstream. */
  readonly hostMatters: boolean;
  /** See AnsweringOptions. */
  readonly callerMatters: CallerMatters;
  /** See ListenerOptions. */
  readonly certificates: CertificateNaming | undefined;
  /** Left out: nothing is traced. Read at the start. */
  readonly otel?: WorkerOtel | undefined;
}

export type ToWorker =
  | { readonly kind: "start"; readonly settings: WorkerSettings }
  /** For requests to come; where it listens and asks stays what it is. */
  | { readonly kind: "settings"; readonly settings: WorkerSettings }
  /** To be answered with `done` once nothing is answered any more from what is forgotten. */
  | { readonly kind: "forget"; readonly number: number; readonly forgets: readonly Forget[] }
  /** What is stored under the digest is something else: no client gets the rest of it. */
  | { readonly kind: "wrong"; readonly digest: Digest }
  /** They are given to nobody any more: no client gets the rest of them, and nothing is answered from what was granted before. */
  | { readonly kind: "blocked"; readonly digests: readonly (readonly [Digest, Blocked])[] }
  /** The status of /readyz; sent every second, as a sign of life of the primary. */
  | { readonly kind: "readiness"; readonly status: 200 | 404 | 503 }
  /** The client may have so many more answers open in this worker, until it gives them back. */
  | { readonly kind: "lent"; readonly network: string; readonly places: number }
  | { readonly kind: "drain" };

export type ToPrimary =
  | { readonly kind: "listening"; readonly bound: Bound }
  /** It cannot listen, or not lock the cache directory. */
  | {
      readonly kind: "failed";
      readonly message: string;
      /** What else the system's error says: code, syscall, address, port. */
      readonly error: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "done"; readonly number: number }
  /** It begins to send the stored blob to a client, or has ended. */
  | { readonly kind: "reading"; readonly digest: Digest; readonly change: 1 | -1 }
  /** The disk cannot give a part of the stored blob. */
  | { readonly kind: "unreadable"; readonly digest: Digest }
  /** The client has as many answers open as it may have here, and wants more (lent-places.ts). */
  | { readonly kind: "short"; readonly network: string }
  | { readonly kind: "returned"; readonly network: string; readonly places: number }
  /** Sent every second. */
  | { readonly kind: "alive"; readonly inFlight: number }
  /** So many of its spans will never be sent, since the last time it said so. */
  | { readonly kind: "spans_lost"; readonly spans: number; readonly reason: string }
  /** A bug of this program has shown itself. */
  | { readonly kind: "unexpected"; readonly message: string; readonly stack: string | undefined }
  /** Every answer has ended. */
  | { readonly kind: "drained" };
