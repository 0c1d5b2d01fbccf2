// The images that clients pulled through this node lately, with what they are made of as far as it is known here and by which
// names they may be had. For the readiness of the datacenter every node tells it of its own. Upstream is never asked, and
// nothing counts as a use.
import type { Freshness } from "../../cache/freshness.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { Clock } from "../../ports/clock.ts";
import {
  maxImageChildren,
  maxImageNames,
  maxImageParts,
  maxPageParts,
  maxUnproved,
  type PageEnd,
  type ReportedImage,
  type ReportedPage,
} from "../../ports/datacenter/reported-images.ts";
import type { BlobIndex, ImageGraph, KnownPart, TagStore, UsedManifest } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { imagesOf, withoutAttestations } from "./image-parts.ts";

export interface ReportedImagesOptions {
  readonly graph: Pick<ImageGraph, "parts" | "pulled" | "referrers" | "users">;
  readonly index: Pick<BlobIndex, "get" | "usedAt">;
  readonly tags: Pick<TagStore, "get">;
  /** Whether the repository may read it without upstream; see Access.linked. */
  readonly linked: (scope: Scope, digest: Digest) => boolean | Promise<boolean>;
  readonly freshness: () => Pick<Freshness, "ttl" | "state">;
  readonly clock: Clock;
}

/** Manifests looked at for one page. */
export const perPage = 50;
const maxReferrers = 100;

interface Needed {
  readonly parts: ReadonlyMap<Digest, KnownPart>;
  readonly children: readonly { readonly digest: Digest; readonly platform: string | null }[];
  readonly needsChild: boolean;
}

export class ReportedImages {
  readonly #options: ReportedImagesOptions;

  constructor(options: ReportedImagesOptions) {
    this.#options = options;
  }

  /**
   * Images used at `since` or later, in the order of their last use; one that is used meanwhile may come twice. Rejects with
   * StoreError.
   */
  async page(since: number, after: PageEnd | undefined): Promise<ReportedPage> {
    const page = this.#options.graph.pulled(since, after, perPage);
    const images: ReportedImage[] = [];
    let parts = 0;
    for (const manifest of page.manifests) {
      const image = await this.#image(manifest, since);
      images.push(image);
      parts += image.parts.length + image.children.length;
      const { digest, size, usedAt } = manifest;
      if (parts >= maxPageParts && manifest !== page.manifests.at(-1))
        return { images, next: { digest, size, usedAt } };
    }
    if (page.next === undefined) return { images, next: null };
    const { digest, size, usedAt } = page.next;
    return { images, next: { digest, size, usedAt } };
  }

  async #image({ digest, usedAt }: UsedManifest, since: number): Promise<ReportedImage> {
    const { parts, children, needsChild } = this.#needed(digest, usedAt, since);
    const all = [...parts.values()].slice(0, maxImageParts);
    return {
      digest,
      usedAt,
      names: await this.#namesOf(digest, all),
      parts: all.map(({ digest, role, size, platform }) => {
        return { digest, role, size: size ?? null, platform: platform ?? null };
      }),
      children,
      needsChild,
    };
  }

  /**
   * The manifest and, of an index, the images that were pulled since then, or those that are here if none was, with the
   * attestations among its images that were pulled; with the referrers that were pulled since then, such as signatures and
   * attestations. Whether there are any needs nothing here: an answer about referrers is kept with the manifest, and is that
   * there are none when upstream was never asked.
   */
  #needed(digest: Digest, usedAt: number, since: number): Needed {
    const { graph, index } = this.#options;
    const isUsed = (at: number | undefined): at is number => at !== undefined && at >= since;
    const parts = new Map<Digest, KnownPart>();
    const children: { readonly digest: Digest; readonly platform: string | null }[] = [];
    let needsChild = false;
    const need = (part: KnownPart): void => {
      if (!parts.has(part.digest)) parts.set(part.digest, part);
    };
    const manifest = (of: Digest, at: number | undefined, platform?: string): void =>
      need({ digest: of, role: "manifest", size: index.get(of)?.size, platform, usedAt: at });
    const pull = (of: Digest, at: number, isImage: boolean): void => {
      manifest(of, at);
      const images = imagesOf(graph, of, at);
      const used = images.filter((image) => isUsed(image.usedAt));
      const platforms = withoutAttestations(images);
      const here = platforms.filter((image) => image.usedAt !== undefined);
      const pulled = platforms.filter((image) => isUsed(image.usedAt));
      const known = [pulled, here].find(({ length }) => length > 0);
      const chosen = known ?? (isImage ? [] : platforms);
      for (const image of new Set([...chosen, ...used])) {
        const { platform } = image;
        manifest(image.digest, image.usedAt, platform);
        for (const part of image.parts) need({ ...part, platform });
      }
      if (!isImage) return;
      needsChild = known === undefined;
      for (const image of platforms)
        if (image.usedAt === undefined && children.length < maxImageChildren)
          children.push({ digest: image.digest, platform: image.platform ?? null });
    };
    pull(digest, usedAt, true);
    for (const { digest: subject, role } of [...parts.values()])
      if (role === "manifest")
        for (const referrer of graph.referrers(subject, maxReferrers)) {
          const at = index.usedAt(referrer);
          if (isUsed(at)) pull(referrer, at, false);
        }
    return { parts, children, needsChild };
  }

  async #namesOf(digest: Digest, parts: readonly KnownPart[]): Promise<ReportedImage["names"]> {
    const { graph, tags, freshness, clock } = this.#options;
    const users = graph.users(digest, maxImageNames);
    const rules = freshness();
    const names: ReportedImage["names"][number][] = [];
    for (const { upstream, repository, tag, digest: named } of users.tags) {
      const scope = { upstream, repository };
      const record = await tags.get(scope, tag as Tag);
      // By what another node has told since it may name another image.
      if (record?.digest !== named) continue;
      const expired = rules.state(scope, record, rules.ttl(scope, tag), clock()) === "expired";
      const text = `${upstream}/${repository}:${tag}`;
      names.push({ text, expired, unproved: await this.#unproved(parts, scope) });
    }
    if (names.length > 0) return names;
    for (const scope of users.repositories) {
      const text = `${scope.upstream}/${scope.repository}@${digest}`;
      names.push({ text, expired: false, unproved: await this.#unproved(parts, scope) });
    }
    return names;
  }

  async #unproved(parts: readonly KnownPart[], scope: Scope): Promise<Digest[]> {
    const unproved: Digest[] = [];
    for (const { digest } of parts) {
      if (await this.#options.linked(scope, digest)) continue;
      if (unproved.push(digest) === maxUnproved) break;
    }
    return unproved;
  }
}
