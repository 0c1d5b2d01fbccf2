// What this node knows about its own state: the checks of /readyz, what is wrong with the index, and the free disk space.
import { Health } from "../ops/health.ts";
import type { Notice } from "../ports/event.ts";
import { type FreeSpace, fullness } from "../storage/disk/store.ts";

export class NodeHealth {
  readonly checks = new Health();
  readonly #storeUnavailable: () => void;
  #index: string | undefined;
  #disk: string | undefined;
  #space: FreeSpace | undefined;

  /** `storeUnavailable` is called when a request has met a store that cannot be used. */
  constructor(storeUnavailable: () => void) {
    this.#storeUnavailable = storeUnavailable;
  }

  /** Of the cache's file system; undefined until it was first measured. */
  get space(): FreeSpace | undefined {
    return this.#space;
  }

  /** What is wrong, by the name of the part, for people. */
  get troubles(): { readonly index: string | undefined; readonly disk: string | undefined } {
    return { index: this.#index, disk: this.#disk };
  }

  /** `trouble` is undefined when the index is in order. */
  setIndex(trouble: string | undefined): void {
    this.#index = trouble;
    this.checks.set("index", trouble === undefined, trouble);
  }

  /** Returns what the disk has no more of when that was not so before. */
  setSpace(space: FreeSpace): string | undefined {
    const before = this.#disk;
    const full = fullness(space);
    this.#space = space;
    this.#disk = full;
    if (full !== undefined || before !== undefined) this.checks.set("disk", full === undefined, full);
    return before === undefined ? full : undefined;
  }

  /** For people who read /readyz: what an upstream does never decides readiness. */
  onNotice(notice: Notice): void {
    if (notice.kind === "index_lost") this.setIndex(lossText(notice));
    if (notice.kind === "store_error" && notice.op === "index.damaged")
      this.setIndex(`damaged, and replaced at the next start: ${notice.message}`);
    // Load balancers should know at once, not after the next check.
    if (notice.kind === "store_error" && notice.code === "unavailable") this.#storeUnavailable();
    if (notice.kind === "upstream_error" && notice.code !== "local")
      this.checks.set(`upstream ${notice.upstream}`, false, notice.code);
    if (notice.kind === "upstream_check")
      this.checks.set(`upstream ${notice.upstream}`, notice.trouble === undefined, notice.trouble?.code);
    if (notice.kind === "shared_store")
      this.checks.set(notice.store, notice.usable, notice.usable ? undefined : notice.message);
    // A token server that answers is no sign of life of the registry.
    if (notice.kind === "upstream_request" && notice.type !== "token" && notice.status < 400)
      this.checks.set(`upstream ${notice.upstream}`, true);
  }
}

function lossText({ reason, copiedAt }: Notice & { kind: "index_lost" }): string {
  const now =
    copiedAt === undefined
      ? "it was made anew from the store, without tags"
      : `its copy of ${new Date(copiedAt).toISOString()} is used`;
  return `could not be read at the start, and ${now}: ${reason}`;
}
