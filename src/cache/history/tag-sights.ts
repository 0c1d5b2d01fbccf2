// What upstream says of tags goes into their history. A tag that names another digest than before is told of: tags are believed to
// stay, and those that are moved behind one's back are how images are replaced by bad ones.
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { TagHistory } from "../../ports/history/tag-history.ts";
import type { TagRecord } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { orNotice } from "../../ports/store-notice.ts";
import { isBackground, type OnBehalfOf, type RemoteRepository } from "../../ports/upstream.ts";

export interface TagSightsOptions {
  readonly history: TagHistory;
  readonly notices: NoticeSink;
}

/** A failure of the store is a notice: nothing here rejects. An answer waits where something is written, as for a tag's record. */
export class TagSights {
  readonly #options: TagSightsOptions;

  constructor(options: TagSightsOptions) {
    this.#options = options;
  }

  /** Upstream, asked at `at`, has said what the tag names. `known`: the record of before. */
  async named(
    remote: RemoteRepository,
    tag: Tag,
    digest: Digest,
    at: number,
    known: TagRecord | undefined,
  ): Promise<void> {
    if (known?.digest === digest) return;
    const { history, notices } = this.#options;
    const by = isBackground(remote) ? undefined : askerOf(remote.onBehalfOf);
    const from = await orNotice("history.put", notices, () =>
      history.named(remote, tag, { digest, at, by }, wordOf(known, at)),
    );
    if (from === undefined) return;
    const { upstream, repository } = remote;
    notices({ kind: "tag_moved", upstream, repository, tag, from, to: digest, by });
  }

  /** Upstream, asked at `at`, has said that there is no such tag. */
  async gone(scope: Scope, tag: Tag, at: number, known: TagRecord | undefined): Promise<void> {
    const { history, notices } = this.#options;
    await orNotice("history.put", notices, () => history.gone(scope, tag, at, wordOf(known, at)));
  }
}

/** A record from the future counts as of now: the clock has been set back. */
function wordOf(known: TagRecord | undefined, now: number) {
  return known && { digest: known.digest, at: Math.min(known.checkedAt, now) };
}

/** The key of a client without a name is its address; those of others have a blank, and are no address. */
function askerOf(asker: OnBehalfOf | undefined): string | undefined {
  const { user, key = "" } = asker ?? {};
  return user ?? (key === "" || key.includes(" ") ? undefined : key);
}
