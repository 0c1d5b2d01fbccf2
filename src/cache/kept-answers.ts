// What upstream answered besides manifests and blobs, kept on disk for when it is away: lists of tags and referrers, and
// that a manifest has no referrers or no signature tag. Clients ask for these with every pull: docker since 29.1 for the
// referrers of attested images; podman, cosign, oras and notation for signatures. Each takes 404 for "none" and fails on
// anything else. Without these answers an outage would fail pulls of images that are here whole.
import type { Digest } from "../oci/digest.ts";
import type { NoticeSink } from "../ports/event.ts";
import type { AnswerStore, StoredAnswer } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import { noticeOfStoreError } from "../ports/store-notice.ts";
import type { UpstreamError } from "../ports/upstream.ts";
import type { Refusal } from "../ports/upstream-answer.ts";
import type { Access } from "./access.ts";

/** The answers in a store that may fail: each failure is a notice and costs a question to upstream, nothing more. */
export class KeptAnswers {
  readonly #store: AnswerStore;
  readonly #access: Pick<Access, "linked">;
  readonly #notices: NoticeSink;

  constructor(store: AnswerStore, access: Pick<Access, "linked">, notices: NoticeSink) {
    this.#store = store;
    this.#access = access;
    this.#notices = notices;
  }

  /** This method and the next four: see AnswerStore. */
  get(scope: Scope, key: string): StoredAnswer | undefined {
    return this.#orNotice("answers.get", () => this.#store.get(scope, key));
  }

  put(scope: Scope, key: string, subject: Digest | undefined, answer: StoredAnswer): void {
    this.#orNotice("answers.put", () => this.#store.put(scope, key, subject, answer));
  }

  delete(scope: Scope, key: string): void {
    this.#orNotice("answers.delete", () => this.#store.delete(scope, key));
  }

  expire(scope: Scope, before: number): void {
    this.#orNotice("answers.expire", () => this.#store.expire(scope, before));
  }

  clear(scope: Scope, before: number): void {
    this.#orNotice("answers.clear", () => this.#store.clear(scope, before));
  }

  /**
   * The answer about referrers or signatures of `subject` when upstream is away (`reason`) and has never been asked: that
   * there are none, when the repository is known to hold the manifest. That lets pulls go on; a client that demands a
   * signature refuses an image without one. Rejects with `reason` otherwise.
   */
  async unknown(scope: Scope, subject: Digest, reason: UpstreamError): Promise<Refusal> {
    if (!(await this.#access.linked(scope, subject))) throw reason;
    return { kind: "absent", negative: true, reason };
  }

  #orNotice<Value>(op: string, work: () => Value): Value | undefined {
    try {
      return work();
    } catch (error) {
      this.#notices(noticeOfStoreError(op, error));
      return undefined;
    }
  }
}
