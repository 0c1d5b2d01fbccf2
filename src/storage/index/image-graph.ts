// The image graph in the index (ImageGraph), of the rows that blobs.ts writes. What leads to what is followed here, a query
// for each manifest, because a query that follows it by itself has no bound.

import { type Role, roles } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import { mediaTypes } from "../../oci/media-type.ts";
import type { Repository } from "../../oci/name.ts";
import type { PageEnd } from "../../ports/datacenter/reported-images.ts";
import type {
  BlobUser,
  BlobUsers,
  ImageGraph,
  KnownPart,
  Leaving,
  ManifestPage,
  NamingTag,
  Some,
  UsedManifest,
} from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import { type Database, digestKey, digestOfKey, type Row } from "./database.ts";
import { repositoryId } from "./repositories.ts";

/** Values of `children.role`: they stay what they are in the files there are. */
export const roleNumbers: Readonly<Record<Role, number>> = { manifest: 0, config: 1, layer: 2 };

/** Manifests that are looked at for one answer. */
const maxExamined = 1_000;
/** Parts that are looked at for one answer: those of any image, and of the largest index with images of a usual size. */
const maxParts = 20_000;

/** Manifests in the order of last uses, which is that of an index: `blobs_manifests`. */
const manifests = "SELECT digest, size, media_type, used_at FROM blobs WHERE kind = 0";

/** Each finds its rows by an index. */
export const graphQueries = {
  tagsNaming: `SELECT tag FROM tags WHERE repository = ${repositoryId} AND digest = ? LIMIT ?`,
  parentsIn: `SELECT manifest FROM children JOIN links ON links.digest = children.manifest
    WHERE child = ? AND links.repository = ${repositoryId} LIMIT ?`,
  // Of a manifest stored before version 8 the role may not be known until it has been read again (stored-manifests.ts): what an
  // index names is a manifest until then, unless it is here as something else.
  parts: `SELECT child, children.size, platform, used_at, iif(kind = 0 OR kind IS NULL
      AND (SELECT graph_read FROM state) IS NOT NULL
      AND (SELECT media_type FROM blobs WHERE digest = ?1) IN ('${mediaTypes.ociIndex}', '${mediaTypes.dockerList}'),
    0, role) AS role FROM children LEFT JOIN blobs ON blobs.digest = child WHERE manifest = ?1 LIMIT ?2`,
  referrers: `SELECT manifest FROM subjects JOIN blobs ON blobs.digest = manifest WHERE subject = ? LIMIT ?`,
  parents: `SELECT manifest, used_at FROM children JOIN blobs ON blobs.digest = manifest WHERE child = ? LIMIT ?`,
  subject: `SELECT subject, used_at FROM subjects JOIN blobs ON blobs.digest = subject WHERE manifest = ?`,
  tags: `SELECT upstream, name, tag FROM tags JOIN repositories ON repositories.id = tags.repository
    WHERE digest = ? LIMIT ?`,
  tagged: `SELECT 1 FROM tags WHERE digest = ? LIMIT 1`,
  repositories: `SELECT upstream, name FROM links JOIN repositories ON repositories.id = links.repository
    WHERE digest = ? LIMIT ?`,
  blob: `SELECT size, kind, used_at FROM blobs WHERE digest = ?`,
  first: `${manifests} AND used_at >= ? ORDER BY used_at, size, digest LIMIT ?`,
  unreadAfter: "SELECT graph_read FROM state",
  readUpTo: "UPDATE state SET graph_read = ?",
  rows: "SELECT digest, size, media_type FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?",
  following: `${manifests} AND (used_at, size, digest) > (?, ?, ?) ORDER BY used_at, size, digest LIMIT ?`,
} as const;

interface LastUses {
  /** Writes those that are still in memory. */
  flush(): void;
}

export class SqliteImageGraph implements ImageGraph {
  readonly #lastUses: LastUses;
  readonly #queries: ReturnType<typeof prepareAll>;

  /** `lastUses` are written before manifests are looked at in their order. */
  constructor(database: Database, lastUses: LastUses) {
    this.#lastUses = lastUses;
    this.#queries = prepareAll(database);
  }

  tagsNaming(scope: Scope, digest: Digest, limit: number): readonly string[] {
    return this.#queries.tagsNaming
      .all(scope.upstream, scope.repository, digestKey(digest), limit)
      .map(({ tag }) => String(tag));
  }

  parentsIn(scope: Scope, digest: Digest, limit: number): readonly Digest[] {
    return this.#queries.parentsIn
      .all(digestKey(digest), scope.upstream, scope.repository, limit)
      .map(({ manifest }) => digestOfKey(manifest));
  }

  parents(digest: Digest, limit: number): readonly Digest[] {
    return this.#queries.parents.all(digestKey(digest), limit).map(({ manifest }) => digestOfKey(manifest));
  }

  parts(manifest: Digest, limit: number): readonly KnownPart[] {
    return this.#queries.parts.all(digestKey(manifest), limit).map((row) => ({
      digest: digestOfKey(row.child),
      size: numberOf(row.size),
      role: roles.find((role) => roleNumbers[role] === row.role) ?? "layer",
      platform: row.platform === null ? undefined : String(row.platform),
      usedAt: numberOf(row.used_at),
    }));
  }

  referrers(manifest: Digest, limit: number): readonly Digest[] {
    return this.#queries.referrers.all(digestKey(manifest), limit).map((row) => digestOfKey(row.manifest));
  }

  missing(manifest: Digest, limit: number): Some<KnownPart> {
    const found: KnownPart[] = [];
    const usedAt = numberOf(this.#queries.blob.get(digestKey(manifest))?.used_at);
    const root: KnownPart = {
      digest: manifest,
      size: undefined,
      role: "manifest",
      platform: undefined,
      usedAt,
    };
    const parts = new Map<Digest, KnownPart>([[manifest, root]]);
    let looked = 0;
    // What is added while it is gone through is gone through as well.
    for (const part of parts.values()) {
      if (part.usedAt === undefined) {
        if (found.length === limit) return { found, truncated: true };
        found.push(part);
      } else if (part.role === "manifest") {
        if (++looked > maxExamined) return { found, truncated: true };
        for (const child of this.parts(part.digest, maxParts)) {
          if (parts.has(child.digest)) continue;
          if (parts.size === maxParts) return { found, truncated: true };
          parts.set(child.digest, { ...child, platform: child.platform ?? part.platform });
        }
      }
    }
    return { found, truncated: false };
  }

  users(digest: Digest, limit: number): BlobUsers {
    const most = Math.min(limit, maxExamined);
    const above: Digest[] = [];
    for (const each of this.#leadingTo(digest, most)) if (above.push(each) > most + 1) break;
    const tags: NamingTag[] = [];
    for (const each of above.slice(0, most + 1)) {
      const rows = this.#queries.tags.all(digestKey(each), limit - tags.length + 1);
      for (const row of rows) tags.push({ ...scopeOf(row), tag: String(row.tag), digest: each });
      if (tags.length > limit) break;
    }
    const repositories = this.#queries.repositories.all(digestKey(digest), limit + 1).map(scopeOf);
    return {
      manifests: above.slice(1, most + 1),
      tags: tags.slice(0, limit),
      repositories: repositories.slice(0, limit),
      truncated: above.length > most + 1 || tags.length > limit || repositories.length > limit,
    };
  }

  tagged(digest: Digest): boolean {
    let looked = 0;
    for (const each of this.#leadingTo(digest, maxExamined))
      if (this.#isNamedByTag(each) || ++looked > maxExamined) return true;
    return false;
  }

  untagged(after: PageEnd | undefined, limit: number): ManifestPage {
    const page = this.#page(0, after, limit);
    return { ...page, manifests: page.manifests.filter(({ digest }) => !this.tagged(digest)) };
  }

  pulled(since: number, after: PageEnd | undefined, limit: number): ManifestPage {
    const page = this.#page(since, after, limit);
    const usedThen = (row: Row | undefined): boolean => row !== undefined && Number(row.used_at) >= since;
    const isPart = ({ digest }: UsedManifest): boolean =>
      usedThen(this.#queries.subject.get(digestKey(digest))) ||
      this.#queries.parents.all(digestKey(digest), maxExamined).some(usedThen);
    return { ...page, manifests: page.manifests.filter((manifest) => !isPart(manifest)) };
  }

  userBesides(digest: Digest, leaving: Leaving): BlobUser | undefined {
    const seen = new Set([digest]);
    for (const each of seen) {
      if (leaving.unused.has(each) || (each !== digest && leaving.regardless.has(each))) continue;
      if (seen.size > maxExamined) return { by: "many" };
      const key = digestKey(each);
      const tags = this.#queries.tags.all(key, maxParts);
      for (const row of tags) {
        const tag = { ...scopeOf(row), tag: String(row.tag), digest: each };
        if (!leaving.tagGoes(tag)) return { by: "tag", ...tag };
      }
      const repositories = this.#queries.repositories.all(key, maxParts).map(scopeOf);
      for (const scope of repositories) if (!leaving.loses(scope)) return { by: "repository", ...scope };
      const parents = this.#queries.parents.all(key, maxParts).map(({ manifest }) => digestOfKey(manifest));
      // What refers to an image stays as long as the image.
      const subject = this.#queries.subject.get(key);
      if (subject !== undefined) parents.push(digestOfKey(subject.subject));
      for (const parent of parents) {
        if (!leaving.digests.has(parent)) {
          // For people, the name of an image that it is of.
          const [tag] = this.users(parent, 1).tags;
          return tag === undefined ? { by: "manifest", digest: parent } : { by: "tag", ...tag };
        }
        if (!leaving.unused.has(parent)) seen.add(parent);
      }
      if (Math.max(tags.length, repositories.length, parents.length) >= maxParts) return { by: "many" };
    }
    for (const each of seen) leaving.unused.add(each);
    return undefined;
  }

  /** The row after which manifests are still to be read (stored-manifests.ts); undefined when all have been. */
  unreadAfter(): Uint8Array | undefined {
    const after = this.#queries.unreadAfter.get()?.graph_read;
    return after instanceof Uint8Array ? after : undefined;
  }

  /** The manifests among the next `limit` rows; `next`: after which the following ones are. */
  unread(
    after: Uint8Array,
    limit: number,
  ): { readonly manifests: readonly Omit<UsedManifest, "usedAt">[]; readonly next: Uint8Array | undefined } {
    const rows = this.#queries.rows.all(after, limit);
    const manifests = rows.flatMap(({ digest, size, media_type: mediaType }) =>
      mediaType === null
        ? []
        : [{ digest: digestOfKey(digest), size: Number(size), mediaType: String(mediaType) }],
    );
    const last = rows.length < limit ? undefined : rows.at(-1)?.digest;
    return { manifests, next: last instanceof Uint8Array ? last : undefined };
  }

  /** Those up to this row have been read; undefined: all. */
  readUpTo(row: Uint8Array | undefined): void {
    this.#queries.readUpTo.run(row ?? null);
  }

  #isNamedByTag(digest: Digest): boolean {
    return this.#queries.tagged.get(digestKey(digest)) !== undefined;
  }

  /** The digest, and manifests here that lead to it, nearest first: more than `most` when there are more. */
  *#leadingTo(digest: Digest, most: number): Generator<Digest> {
    const seen = new Set([digest]);
    for (const each of seen) {
      yield each;
      if (seen.size > most + 1) continue;
      const key = digestKey(each);
      for (const { manifest } of this.#queries.parents.all(key, most + 1)) seen.add(digestOfKey(manifest));
      const subject = this.#queries.subject.get(key);
      if (subject !== undefined) seen.add(digestOfKey(subject.subject));
    }
  }

  #page(from: number, after: PageEnd | undefined, limit: number): ManifestPage {
    if (after === undefined) this.#lastUses.flush();
    const rows =
      after === undefined
        ? this.#queries.first.all(Math.floor(from), limit)
        : this.#queries.following.all(after.usedAt, after.size, digestKey(after.digest), limit);
    const manifests = rows.map((row) => ({
      digest: digestOfKey(row.digest),
      size: Number(row.size),
      mediaType: String(row.media_type),
      usedAt: Number(row.used_at),
    }));
    return { manifests, next: manifests.length < limit ? undefined : manifests.at(-1) };
  }
}

function scopeOf(row: Row): Scope {
  return { upstream: String(row.upstream), repository: row.name as Repository };
}

function numberOf(value: unknown): number | undefined {
  return value === null || value === undefined ? undefined : Number(value);
}

function prepareAll(database: Database) {
  const prepared = Object.entries(graphQueries).map(([name, sql]) => [name, database.prepare(sql)]);
  return Object.fromEntries(prepared) as Record<keyof typeof graphQueries, ReturnType<Database["prepare"]>>;
}
