// Mirrors of other datacenters. Unlike nodes they know nothing of each other: each is asked as its clients ask it, with an
// account where it wants one, and for nothing but what it holds (Cache-Control: only-if-cached, RFC 9111 section 5.2.1.7), so
// that mirrors that ask each other never make each other ask anybody.
import type { Digest } from "../../oci/digest.ts";
import type { Scope } from "../scope.ts";
import type { BlobAnswer, ManifestAnswer } from "../upstream-answer.ts";

export interface Sibling {
  readonly name: string;
  /** Milliseconds in which it has to begin an answer. */
  readonly timeout: number;
  /** False while it is known not to answer. */
  readonly available: boolean;
  /** Whether it is asked about the upstream of that name. */
  knows(upstream: string): boolean;
  /** Whether a question about the upstream would be sent at once; otherwise it would wait for a connection. */
  hasRoom(upstream: string): boolean;
  /** As Upstream.openBlob; `absent` also for what it only could fetch. Rejects with UpstreamError. */
  open(scope: Scope, digest: Digest, from: number, signal: AbortSignal, to?: number): Promise<BlobAnswer>;
  /** As Upstream.getManifest. */
  manifest(scope: Scope, digest: Digest): Promise<ManifestAnswer>;
}
