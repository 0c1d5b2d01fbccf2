// The answers of an upstream, as values. That something is absent or denied is an answer too; a failure to answer is an
// UpstreamError (upstream.ts).
import type { Digest } from "../oci/digest.ts";
import type { Blocked } from "./block/blocked.ts";

/** Statuses of a read that are upstream's decision, besides 404 and 410: nothing stale is given against them. */
export const refusalStatuses = [400, 403, 406, 409, 412, 413, 418, 422, 423, 451] as const;
export type RefusalStatus = (typeof refusalStatuses)[number];

/** What upstream wrote beside a refusal, to be passed on. */
export interface RefusalWords {
  /** An error code: at most 64 of A-Z and _. */
  readonly code?: string;
  /** At most 1 KiB, without control characters. */
  readonly message: string;
}

/**
 * Upstream's authoritative no: 404 and 410 (absent), and what it will not give (denied), with 403 when no status is here;
 * 401 when it takes the caller's credentials for nobody's.
 * `negative`: remembered, not asked again. `reason`: why upstream could not be asked again.
 */
export type Refusal = { readonly words?: RefusalWords; readonly relayed?: RelayedHeaders } & (
  | { readonly kind: "absent"; readonly negative?: true; readonly reason?: { readonly code: string } }
  | {
      readonly kind: "denied";
      readonly negative?: undefined;
      readonly status?: RefusalStatus | 401;
      /** It is this mirror that does not give it: no other upstream is asked for it. */
      readonly blocked?: Blocked;
    }
);

/** Upstream takes the caller's credentials for nobody's. */
export const nobodysAccount: Refusal = { kind: "denied", status: 401 };

/** Whether the answer is upstream's no. */
export function isRefusal(answer: { readonly kind: string }): answer is Refusal {
  return answer.kind === "absent" || answer.kind === "denied";
}

/** Whether upstream says that there is no such repository, and not only nothing of what was asked for in it. */
export function isRepositoryUnknown(answer: {
  readonly kind: string;
  readonly words?: RefusalWords;
}): boolean {
  return answer.kind === "absent" && answer.words?.code === "NAME_UNKNOWN";
}

/** Warning and RateLimit headers of upstream's answer, for the clients that asked: each at most 1 KiB of printable ASCII. */
export type RelayedHeaders = Readonly<Record<string, string>>;

/** What a cache between us and the registry said of the answer, when there is one. */
export interface CacheMarks {
  /** Seconds since the registry itself gave or confirmed the answer (RFC 9111, section 5.1); 0 to 2^31. */
  readonly age?: number;
  /** The Cache-Status header (RFC 9211): at most 1 KiB of printable ASCII. */
  readonly cacheStatus?: string;
  readonly relayed?: RelayedHeaders;
}

export type ManifestHead =
  | ({
      readonly kind: "found";
      readonly digest: Digest | undefined;
      readonly mediaType: string | undefined;
      readonly size: number | undefined;
    } & CacheMarks)
  | Refusal;

export type ManifestAnswer =
  | ({
      readonly kind: "found";
      readonly digest: Digest | undefined;
      readonly mediaType: string | undefined;
      readonly body: Buffer;
    } & CacheMarks)
  | OversizeAnswer
  | Refusal;

/** A manifest above 4 MiB, which holds a connection until its body has been read or thrown away. */
export interface OversizeAnswer {
  readonly kind: "oversize";
  readonly digest: Digest | undefined;
  readonly mediaType: string | undefined;
  readonly size: number | undefined;
  /** All of the body, once. It rejects with UpstreamError; the signal ends the transfer. */
  readonly read: (signal: AbortSignal) => AsyncIterable<Buffer>;
  /** Instead of reading it. */
  readonly discard: () => void;
}

export type BlobHead =
  | ({
      readonly kind: "found";
      readonly size: number | undefined;
      /** As in BlobAnswer: without more, it proves nothing. */
      readonly doubt?: string;
    } & CacheMarks)
  | Refusal;

/**
 * A body upstream is sending, from `offset` (0 when upstream ignored the range asked for). `size` is that of the
 * whole blob. The body rejects with UpstreamError; leaving the iteration early closes the transfer.
 */
export type BlobAnswer =
  | ({
      readonly kind: "found";
      readonly size: number | undefined;
      readonly offset: number;
      /** Where the body ends (exclusive), when that is not the end of the blob. */
      readonly end?: number;
      /**
       * What the body may be instead of the blob, by its labels, as a message goes on after upstream's name: nothing is
       * announced to a client, and no right granted, before the digest is verified.
       */
      readonly doubt?: string;
      readonly body: AsyncIterable<Buffer>;
    } & CacheMarks)
  | Refusal;

export type AccountAnswer = { readonly kind: "found" } | Refusal;

export type TagsAnswer =
  | ({
      readonly kind: "found";
      /** In ASCII order. */
      readonly tags: readonly string[];
      /** There may be more after the last tag. */
      readonly more: boolean;
      /** All tags of the repository in order, from an upstream that does not give pages as they are asked for. */
      readonly whole?: readonly string[];
    } & CacheMarks)
  | Refusal;

export type ReferrersAnswer =
  | ({
      readonly kind: "found";
      /** An image index, as upstream sent it. */
      readonly body: Buffer;
      /** The OCI-Filters-Applied header, when upstream sent one. */
      readonly filtersApplied: string | undefined;
    } & CacheMarks)
  | Refusal;
