// The one event per request (docs/design.md, "Words": request origin), and the notices of everything else. Every metric,
// log line and page derives from them.

export const results = [
  "hit",
  "stale",
  "revalidated",
  "miss",
  "joined",
  "negative",
  "pass",
  "denied",
  "error",
  "aborted",
] as const;
/** How the answer came about; exclusive, one per request. */
export type Result = (typeof results)[number];

const asking: ReadonlySet<Result> = new Set(["stale", "revalidated", "miss", "joined", "pass"]);

/** Whether an answer with this result waited for upstream: its time to first byte is mostly upstream's. */
export function asksUpstream(result: Result): boolean {
  return asking.has(result);
}

export const routeKinds = [
  "ping",
  "token",
  "manifest_tag",
  "manifest_digest",
  "blob",
  "tags",
  "referrers",
  "catalog",
  "upload",
  "other",
] as const;
/** Bounded label: the route pattern, never the path. */
export type RouteKind = (typeof routeKinds)[number];

export const circuitStates = ["closed", "open", "half_open"] as const;
/** `closed`: the upstream is asked; `open`: it is not; `half_open`: a probe finds out whether it answers again. */
export type CircuitStateName = (typeof circuitStates)[number];

export const sharedStores = ["redis", "s3"] as const;
/** What the nodes of one datacenter share, where it is configured. */
export type SharedStoreName = (typeof sharedStores)[number];

/** Where the bytes came from. */
export type Source = "memory" | "disk" | "s3" | `sibling:${string}` | `upstream:${string}` | "none";

/** The content an answer gave or a write was about, as far as it is known. */
export interface EventContent {
  readonly digest: string;
  readonly mediaType: string | undefined;
  /** Of the whole content in bytes, whatever part of it was sent. */
  readonly size: number | undefined;
}

/** What a write has done upstream. */
export interface EventWrite {
  readonly action: "push" | "mount" | "delete";
  /** The repository a blob was mounted from. */
  readonly from: string | undefined;
}

/**
 * `node`: what another node of the datacenter asks of this one itself. `only_if_cached`: a mirror of another datacenter asks for
 * what is not held here.
 */
export const probes = ["livez", "readyz", "node", "only_if_cached"] as const;
export type Probe = (typeof probes)[number];

/** One finished request. Byte counts are of response bodies; times in milliseconds. */
export interface RequestEvent {
  readonly time: Date;
  /** The client's X-Request-Id where it may stand in a log, else ours; 1 to 64 of A-Z a-z 0-9 . _ - */
  readonly id: string;
  /** The trace the client's traceparent names, 32 hex digits. */
  readonly traceId: string | undefined;
  readonly method: string;
  /** A question for this node's health, or for what it holds and does not: it is no traffic, and only its own counter and the debug log show it. */
  readonly probe?: Probe | undefined;
  /** Another node of the datacenter asks, by its proof where nodes have one: what it is sent it sends on to a client of its own. */
  readonly ofNode?: true | undefined;
  /** A drill was on in which upstreams count as away for this client. */
  readonly drill?: true | undefined;
  readonly route: RouteKind;
  /** The path without its query; at most 1 KiB. */
  readonly path: string;
  readonly upstream: string | undefined;
  readonly repository: string | undefined;
  readonly reference: string | undefined;
  readonly status: number;
  readonly result: Result;
  readonly source: Source;
  /** Body bytes handed to the socket. */
  readonly bytesSent: number;
  /** Body bytes the headers announced; undefined when no length was announced. */
  readonly bytesExpected: number | undefined;
  readonly ttfbMs: number | undefined;
  readonly durationMs: number;
  readonly upstreamStatus: number | undefined;
  readonly abortedBy: "client" | "upstream" | "node" | undefined;
  /** A short reason for anything that is not a plain success; never a header value, URL or secret. */
  readonly detail: string | undefined;
  /** The client's address: that of the connection, or the one a trusted proxy has named (http/client-address.ts). */
  readonly client: string;
  /** The name of the caller, once it is proved; at most 255 bytes. Never a label: there may be any number of them. */
  readonly user?: string | undefined;
  /** X-Forwarded-For as it came, unverified; at most 256 characters. */
  readonly forwardedFor: string | undefined;
  readonly userAgent: string | undefined;
  /** The Host header; at most 300 characters. */
  readonly host?: string | undefined;
  readonly content?: EventContent | undefined;
  /** Only when upstream has confirmed it, whether or not the client got the answer. */
  readonly write?: EventWrite | undefined;
}

/**
 * What came of a question to a mirror of another datacenter. `hit`: it had it; `miss`: it had not; `failed`: it did not answer,
 * or broke off; `slow`: it was given up in the middle, since the registry is faster; `wrong`: what it sent is not what the
 * digest says.
 */
export const siblingResults = ["hit", "miss", "failed", "slow", "wrong"] as const;
export type SiblingResult = (typeof siblingResults)[number];

/** What a limit of requests a second did to one. */
export const callerLimitResults = ["waited", "refused"] as const;
export type CallerLimitResult = (typeof callerLimitResults)[number];

/** The formats of webhooks that are read, by the product that sends them: the closed list of a label. */
export const webhookSources = [
  "distribution",
  "artifactory",
  "harbor",
  "dockerhub",
  "quay",
  "generic",
] as const;
export type WebhookSource = (typeof webhookSources)[number];

export const bitRotFinders = ["scrub", "read", "open", "upload", "start"] as const;
/**
 * What found stored bytes that are not what their digest says: the scrubber, a client's read, the check of the size when
 * a blob was opened, an upload to the shared store, the comparison of index and store after a start.
 */
export type BitRotFinder = (typeof bitRotFinders)[number];

export const webhookResults = ["applied", "ignored", "duplicate", "unknown", "refused", "failed"] as const;
/**
 * `ignored`: it concerns nothing that is kept here; `unknown`: no known format, or no upstream of the configuration;
 * `refused`: the secret is wrong; `failed`: too large, too many at once, or broken off.
 */
export type WebhookResult = (typeof webhookResults)[number];

export const notificationResults = ["delivered", "failed", "dropped"] as const;
/** `failed`: an attempt failed, and the events stay queued; `dropped`: they are lost. */
export type NotificationResult = (typeof notificationResults)[number];

export const tagRefreshResults = [
  "confirmed",
  "moved",
  "refused",
  "failed",
  "rate_limited",
  "busy",
  "elsewhere",
] as const;
/**
 * What became of the confirmation of a tag that nobody waited for. `refused`: upstream has it no more, or does not say what it
 * is; `rate_limited`: not asked, or asked to stop; `busy`: no connection was free, it is tried again; `elsewhere`: another
 * node has confirmed it.
 */
export type TagRefreshResult = (typeof tagRefreshResults)[number];

export const tagRefreshOccasions = ["ahead", "stale"] as const;
/** Before the tag expired, or after a client was given what had expired (RFC 5861, section 3). */
export type TagRefreshOccasion = (typeof tagRefreshOccasions)[number];

export const prefetchResults = ["used", "unused"] as const;
/** Of a layer that was fetched before the client asked for it: whether somebody asked for it then. */
export type PrefetchResult = (typeof prefetchResults)[number];

/** What is wrong with an upstream: an UpstreamErrorCode, or that there is no registry at its url. */
export interface UpstreamTrouble {
  readonly code: string;
  /** One line for people, with the likely fix where one is known. */
  readonly message: string;
}

export const jobOrigins = ["request", "schedule", "webhook", "pin"] as const;
/** What asked for images ahead of clients: an operator, the configuration, a registry that told of a push, pins. */
export type JobOrigin = (typeof jobOrigins)[number];

export const jobResults = ["done", "failed", "cancelled"] as const;
/** `failed`: some part of it is not here. */
export type JobResult = (typeof jobResults)[number];

/** An answer with a part of a blob whose digest is not known yet: how the event of its request names it. */
export type UnverifiedAnswer = Pick<RequestEvent, "id" | "client" | "repository" | "userAgent">;

export const blockedBecause = ["itself", "names", "part"] as const;
/**
 * Why something is refused: it is blocked itself; it names what is, as a manifest does, or has no image that does not, as an
 * index; it is part of refused images alone.
 */
export type BlockedBecause = (typeof blockedBecause)[number];

/** Takes every event; must not throw and must not block. */
export type EventSink = (event: RequestEvent) => void;

/**
 * What happens besides requests. Numbers in bytes and milliseconds. `message` is for people and carries no secret: never
 * a header value, a query string or credentials.
 */
export type Notice =
  | {
      readonly kind: "upstream_request";
      readonly upstream: string;
      /** `token`: to upstream's token server. */
      readonly type: "manifest" | "blob" | "tags" | "token";
      readonly method: "GET" | "HEAD" | "POST";
      readonly status: number;
      readonly ttfbMs: number;
    }
  | {
      readonly kind: "upstream_bytes";
      readonly upstream: string;
      readonly type: "manifest" | "blob" | "tags" | "token";
      readonly bytes: number;
      /** By its name there; undefined for what is about none. */
      readonly repository?: string | undefined;
      /** The name of the caller for whom upstream was asked; undefined: without a name, not known, or nobody waited. */
      readonly user?: string | undefined;
    }
  | {
      readonly kind: "upstream_error";
      readonly upstream: string;
      /** An UpstreamErrorCode. */
      readonly code: string;
      readonly status: number | undefined;
      readonly message: string;
    }
  /** Nobody has had an answer of the upstream lately, so this node has asked whether it is there and takes its account. */
  | {
      readonly kind: "upstream_check";
      readonly upstream: string;
      /** What is wrong; undefined: nothing. */
      readonly trouble: UpstreamTrouble | undefined;
      /** The check before found something else, or there was none. */
      readonly changed: boolean;
    }
  /** A file with credentials cannot be used, and what it held before still is. */
  | { readonly kind: "secret_problem"; readonly upstream: string; readonly message: string }
  /** The upstream is asked at another address than the configured one, which only redirects there. */
  | { readonly kind: "upstream_moved"; readonly upstream: string; readonly message: string }
  | {
      readonly kind: "circuit";
      readonly upstream: string;
      readonly state: CircuitStateName;
      readonly previous: CircuitStateName;
    }
  /** A mirror of another datacenter was asked for something. `message`: what has failed, or went wrong. */
  | {
      readonly kind: "sibling";
      readonly sibling: string;
      readonly result: SiblingResult;
      readonly message?: string;
    }
  | {
      readonly kind: "sibling_bytes";
      readonly sibling: string;
      readonly bytes: number;
    }
  | {
      readonly kind: "rate_limit";
      readonly upstream: string;
      /** Requests upstream still allows us, as its last answer says. */
      readonly remaining: number;
    }
  /** A request had to wait for its turn, or was refused, by the rule of that number (`limits.rules`, from 1 on). */
  | { readonly kind: "caller_limit"; readonly rule: number; readonly result: CallerLimitResult }
  /** From now on the digest is given to nobody, or it may be given out again. `origin`: a command, or the file of this node. */
  | {
      readonly kind: "block";
      readonly action: "blocked" | "unblocked";
      readonly digest: string;
      readonly reason: string;
      readonly origin: "command" | "file";
      /** Where it was commanded. */
      readonly node: string | undefined;
    }
  /** Something was not given to a client, a job or another node, because of what is blocked. */
  | {
      readonly kind: "block_refusal";
      readonly upstream: string;
      readonly as: "manifest" | "blob";
      readonly digest: string;
      readonly because: BlockedBecause;
    }
  /** The directory of users (access.ldap) answers, or none of its servers does; told when that is another than before. */
  | { readonly kind: "login_directory"; readonly usable: boolean }
  /** From now on large blobs of the upstream come in this many transfers at once, as measured transfer rates suggest. */
  | { readonly kind: "segments"; readonly upstream: string; readonly width: number }
  | {
      readonly kind: "fill";
      /**
       * `discarded`: the bytes were wrong or incomplete; `not_stored`: served, but the store failed; `resumable`: no
       * client was left, and the bytes so far are kept for a while.
       */
      readonly result: "committed" | "discarded" | "not_stored" | "resumable";
      readonly upstream: string;
      readonly digest: string;
      /** Without those an earlier fill had kept. */
      readonly bytes: number;
      /** Of these, the bytes that came after the last client had left; left out: none. */
      readonly unattendedBytes?: number;
      readonly durationMs: number;
    }
  | {
      readonly kind: "eviction";
      readonly reason: "lru" | "low_disk" | "corrupt";
      readonly digest: string;
      readonly bytes: number;
      readonly ageMs: number;
      /** Manifests still here that name the evicted blob. */
      readonly orphaned: number;
    }
  /** Stored bytes are not what their digest says. */
  | {
      readonly kind: "bit_rot";
      readonly by: BitRotFinder;
      readonly digest: string;
      readonly bytes: number;
      /** Taken out of the store. False while so much is wrong that the disk or the memory must be faulty. */
      readonly quarantined: boolean;
    }
  /** The digest of a blob is wrong of which parts were answered before it was known. */
  | {
      readonly kind: "wrong_range";
      readonly upstream: string;
      readonly digest: string;
      /** Answers this is about. */
      readonly answers: number;
      /** The one it is about; left out: those beyond the number that is remembered. */
      readonly answer?: UnverifiedAnswer;
    }
  /** All bytes stored under a digest have been hashed. */
  | {
      readonly kind: "blob_check";
      readonly by: BitRotFinder;
      readonly result: "sound" | "wrong";
      readonly digest: string;
      readonly bytes: number;
    }
  /** The scrubber has hashed all that was due. Numbers of this round alone. */
  | {
      readonly kind: "scrubbed";
      readonly blobs: number;
      readonly bytes: number;
      readonly wrong: number;
      readonly durationMs: number;
    }
  /** The cache directory can be used from now on, or cannot: it is gone, replaced, or not writable. */
  | { readonly kind: "store"; readonly usable: boolean; readonly message: string }
  /** So many blobs in a row read wrong that nothing more is taken out; or that is over. */
  | { readonly kind: "bit_rot_alarm"; readonly raised: boolean }
  /** The shared store has been listed, and blobs beyond its budget deleted. Numbers of blobs and bytes. */
  | {
      readonly kind: "shared_eviction";
      readonly store: "s3";
      readonly deleted: number;
      readonly freed: number;
      /** Bytes left. */
      readonly bytes: number;
    }
  | { readonly kind: "store_error"; readonly op: string; readonly code: string; readonly message: string }
  /** The index could not be read at the start: it is rebuilt from its last copy and what is in the store. */
  | {
      readonly kind: "index_lost";
      readonly reason: string;
      /** When the copy was made, in milliseconds since the epoch; undefined: there is no usable one. */
      readonly copiedAt: number | undefined;
    }
  /** What the nodes share can be used from now on, or cannot; meanwhile each node works alone. */
  | {
      readonly kind: "shared_store";
      readonly store: SharedStoreName;
      readonly usable: boolean;
      /** Why it cannot be used. */
      readonly message: string;
    }
  | {
      readonly kind: "stale_served";
      readonly upstream: string;
      readonly repository: string;
      readonly tag: string;
      readonly ageMs: number;
      readonly reason: string;
    }
  /** A tag that was pulled through here names another digest than before, by the word of its upstream. */
  | {
      readonly kind: "tag_moved";
      readonly upstream: string;
      readonly repository: string;
      readonly tag: string;
      readonly from: string;
      readonly to: string;
      /** Who asked when it was noticed: a name, else an address; undefined: nobody waited. */
      readonly by: string | undefined;
    }
  | {
      readonly kind: "tag_refresh";
      readonly upstream: string;
      readonly when: TagRefreshOccasion;
      readonly result: TagRefreshResult;
    }
  /** What became of a layer that was fetched ahead of the client that pulls its image. */
  | {
      readonly kind: "prefetch";
      readonly upstream: string;
      readonly result: PrefetchResult;
      readonly digest: string;
      /** Of the layer; of one that was given up: that had come. */
      readonly bytes: number;
    }
  /** What became of notifications to an endpoint of the configuration. */
  | {
      readonly kind: "notification";
      readonly endpoint: string;
      readonly result: NotificationResult;
      readonly events: number;
      readonly message?: string | undefined;
    }
  | { readonly kind: "webhook"; readonly source: WebhookSource; readonly result: WebhookResult }
  /** A job is over. `failed`: something of it is not here, or was left out. */
  | {
      readonly kind: "job";
      readonly job: string;
      readonly origin: JobOrigin;
      readonly result: JobResult;
      readonly images: number;
      readonly imagesFailed: number;
      /** Asked for beyond the most of one job. */
      readonly imagesLeftOut: number;
    }
  /** An image of a job is done with. */
  | {
      readonly kind: "sync_job";
      readonly job: string;
      readonly origin: JobOrigin;
      /** As it was asked for. */
      readonly image: string;
      readonly result: JobResult;
      /** Where it comes from; undefined when that was not found out. */
      readonly from: { readonly upstream: string; readonly repository: string } | undefined;
      /** Fetched for it; without what had been here. */
      readonly bytes: number;
      readonly durationMs: number;
      /** Questions that were asked again after an outage. */
      readonly retries: number;
      /** The first of what failed; undefined: nothing. */
      readonly reason: string | undefined;
    };

/** Takes every notice; must not throw and must not block. */
export type NoticeSink = (notice: Notice) => void;
