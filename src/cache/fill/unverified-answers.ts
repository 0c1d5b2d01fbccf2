// Who was answered with a part of a blob before its digest was known: should the digest then be wrong, each of them is
// named in the log.
import type { NoticeSink, UnverifiedAnswer } from "../../ports/event.ts";

/** Answers that are remembered by name; more are only counted. */
const maxNamed = 1_000;

export class UnverifiedAnswers {
  readonly #named: UnverifiedAnswer[] = [];
  #others = 0;

  add(answer: UnverifiedAnswer): void {
    if (this.#named.length < maxNamed) this.#named.push(answer);
    else this.#others++;
  }

  /** The digest is wrong. */
  report(upstream: string, digest: string, notices: NoticeSink): void {
    for (const answer of this.#named) notices({ kind: "wrong_range", upstream, digest, answers: 1, answer });
    if (this.#others > 0) notices({ kind: "wrong_range", upstream, digest, answers: this.#others });
  }
}
