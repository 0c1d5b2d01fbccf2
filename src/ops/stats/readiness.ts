// Whether the images that clients pulled lately could be pulled now if their registries were gone: every part is in the
// store at its size, the repository is known to have it, and the tag may still be served. The files are looked for, so that
// one that somebody has deleted is told. Upstream is never asked, and nothing counts as a use.
import { setImmediate as turn } from "node:timers/promises";
import type { Freshness } from "../../cache/freshness.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Tag } from "../../oci/name.ts";
import type { BlobInfo } from "../../ports/blobs.ts";
import type { Clock } from "../../ports/clock.ts";
import type { BlobIndex, ImageGraph, KnownPart, TagStore, UsedManifest } from "../../ports/records.ts";
import type { Scope } from "../../ports/scope.ts";
import type { Elsewhere } from "./elsewhere.ts";
import { imagesOf, withoutAttestations } from "./image-parts.ts";
import type { Obstacle, Readiness, UnreadyImage } from "./stats-document.ts";

export interface ReadinessOptions {
  readonly graph: Pick<ImageGraph, "parts" | "pulled" | "referrers" | "users">;
  readonly index: Pick<BlobIndex, "get" | "usedAt">;
  readonly store: { info(digest: Digest): Promise<BlobInfo | undefined> };
  /** Begins the questions of one answer about what is not on the disk. */
  readonly elsewhere: () => Elsewhere;
  readonly tags: Pick<TagStore, "get">;
  /** Whether the repository may read it without upstream; see Access.linked. */
  readonly linked: (scope: Scope, digest: Digest) => boolean | Promise<boolean>;
  readonly freshness: () => Pick<Freshness, "ttl" | "state">;
  readonly clock: Clock;
  /** Whether an answer made now does not know of all there is, and so is none for metrics. */
  readonly partial: () => boolean;
}

/** Manifests looked at in one turn of the event loop, and in all. */
const perTurn = 50;
const maxManifests = 20_000;
const maxUnready = 500;
const maxObstacles = 20;
const maxNames = 10;
const maxReferrers = 100;
/** Files that are remembered while one answer is made: layers that many images share are looked for once. */
const maxKnown = 200_000;
const day = 86_400_000;

/** Days that metrics are about. */
export const usualDays = 7;
export const daysExpected = "days: expected a whole number from 1 to 365, such as ?days=7";
/** Answers about other days that may wait for the one that is being made. */
const maxWaiting = 3;

/** Undefined for what is no number of days. */
export function daysOf(text: string | null): number | undefined {
  const days = /^\d{1,3}$/.test(text ?? "") ? Number(text) : 0;
  return days >= 1 && days <= 365 ? days : undefined;
}

/** Answers are made one at a time; whoever asks about the same days meanwhile shares one. */
export class ReadinessCheck {
  readonly #options: ReadinessOptions;
  /** By days: the one that is being made, and those that wait for it. */
  readonly #asked = new Map<number, Promise<Readiness>>();
  #before: Promise<unknown> = Promise.resolve();
  #last: Readiness | undefined;

  constructor(options: ReadinessOptions) {
    this.#options = options;
  }

  /**
   * Of images pulled in the last `days` days; undefined when too many answers wait already. Rejects with StoreError when index
   * or store cannot be read.
   */
  async run(days: number): Promise<Readiness | undefined> {
    const asked = this.#asked.get(days);
    if (asked !== undefined) return await asked;
    if (this.#asked.size > maxWaiting) return undefined;
    const made = this.#before.then(() => this.#make(days));
    this.#asked.set(days, made);
    this.#before = made.catch(() => {});
    return await made;
  }

  async #make(days: number): Promise<Readiness> {
    try {
      const partial = this.#options.partial();
      const made = await new Run(this.#options).run(days);
      if (days === usualDays) this.#last = partial || made.truncated ? undefined : made;
      return made;
    } finally {
      this.#asked.delete(days);
    }
  }

  /**
   * The last answer about the usual number of days; undefined until there is one, and when it was partial or truncated: the
   * images in use are looked at last.
   */
  get last(): Readiness | undefined {
    return this.#last;
  }
}

type Absence = Extract<Obstacle["kind"], "missing" | "damaged" | "unknown">;

interface Name extends Scope {
  readonly text: string;
  readonly expired: boolean;
}

class Run {
  readonly #options: ReadinessOptions;
  readonly #known = new Map<Digest, Absence | undefined>();
  readonly #elsewhere: Elsewhere;

  constructor(options: ReadinessOptions) {
    this.#options = options;
    this.#elsewhere = options.elsewhere();
  }

  async run(days: number): Promise<Readiness> {
    const { graph, clock } = this.#options;
    const at = clock();
    const since = at - days * day;
    // An image that is used meanwhile comes twice.
    const seen = new Set<Digest>();
    const unready: UnreadyImage[] = [];
    let ready = 0;
    let looked = 0;
    let after: UsedManifest | undefined;
    do {
      const page = graph.pulled(since, after, perTurn);
      for (const image of page.manifests) {
        if (seen.has(image.digest)) continue;
        seen.add(image.digest);
        const found = await this.#unready(image, since);
        if (found === undefined) ready++;
        else if (unready.length < maxUnready) unready.push(found);
      }
      looked += perTurn;
      after = page.next;
      await turn();
    } while (after !== undefined && looked < maxManifests);
    return { schema: 1, at, days, pulled: seen.size, ready, truncated: after !== undefined, unready };
  }

  /** Undefined for an image that is ready. */
  async #unready({ digest, usedAt }: UsedManifest, since: number): Promise<UnreadyImage | undefined> {
    const parts = this.#needed(digest, usedAt, since);
    const names = await this.#namesOf(digest);
    const obstacles = await this.#absent(parts);
    if (obstacles.length === 0) obstacles.push(...(await this.#unreachable(parts, names)));
    if (obstacles.length === 0) return undefined;
    const texts = names.length > 0 ? names.map(({ text }) => text) : [`@${digest}`];
    return { digest, names: texts, usedAt, obstacles };
  }

  /**
   * The manifest and, of an index, the images that were pulled since then, or those that are here if none was, with the
   * attestations among its images that were pulled; with the referrers that were pulled since then, such as signatures and
   * attestations. Whether there are any needs nothing here: an answer about referrers is kept with the manifest, and is that
   * there are none when upstream was never asked.
   */
  #needed(digest: Digest, usedAt: number, since: number): readonly KnownPart[] {
    const { graph, index } = this.#options;
    const isUsed = (at: number | undefined): at is number => at !== undefined && at >= since;
    const needed = new Map<Digest, KnownPart>();
    const need = (part: KnownPart): void => {
      if (!needed.has(part.digest)) needed.set(part.digest, part);
    };
    const manifest = (of: Digest, at: number | undefined, platform?: string): void =>
      need({ digest: of, role: "manifest", size: index.get(of)?.size, platform, usedAt: at });
    const pull = (of: Digest, at: number): void => {
      manifest(of, at);
      const images = imagesOf(graph, of, at);
      const used = images.filter((image) => isUsed(image.usedAt));
      const platforms = withoutAttestations(images);
      const here = platforms.filter((image) => image.usedAt !== undefined);
      const pulled = platforms.filter((image) => isUsed(image.usedAt));
      const chosen = [pulled, here].find(({ length }) => length > 0) ?? platforms;
      for (const image of new Set([...chosen, ...used])) {
        const { platform } = image;
        manifest(image.digest, image.usedAt, platform);
        for (const part of image.parts) need({ ...part, platform });
      }
    };
    pull(digest, usedAt);
    for (const { digest: subject, role } of [...needed.values()])
      if (role === "manifest")
        for (const referrer of graph.referrers(subject, maxReferrers)) {
          const at = index.usedAt(referrer);
          if (isUsed(at)) pull(referrer, at);
        }
    return [...needed.values()];
  }

  async #namesOf(digest: Digest): Promise<readonly Name[]> {
    const { graph, tags, freshness, clock } = this.#options;
    const users = graph.users(digest, maxNames);
    const rules = freshness();
    const names: Name[] = [];
    for (const { upstream, repository, tag, digest: named } of users.tags) {
      const scope = { upstream, repository };
      const record = await tags.get(scope, tag as Tag);
      // By what another node has told since it may name another image.
      if (record?.digest !== named) continue;
      const expired = rules.state(record, rules.ttl(scope, tag), clock()) === "expired";
      names.push({ ...scope, text: `${upstream}/${repository}:${tag}`, expired });
    }
    if (names.length > 0) return names;
    return users.repositories.map(({ upstream, repository }) => {
      return { upstream, repository, text: `${upstream}/${repository}@${digest}`, expired: false };
    });
  }

  /** Parts that are in no store, or not known to be in one. */
  async #absent(parts: readonly KnownPart[]): Promise<Obstacle[]> {
    const found = new Map<Digest, Absence>();
    const notHere: Digest[] = [];
    for (const { digest } of parts) {
      const known = this.#known.has(digest) ? this.#known.get(digest) : await this.#hereOf(digest);
      if (known === "missing" && !this.#known.has(digest)) notHere.push(digest);
      else if (known !== undefined) found.set(digest, known);
    }
    const places = notHere.length === 0 ? undefined : await this.#elsewhere(notHere);
    for (const digest of notHere) {
      const at = places?.get(digest);
      const state = at === undefined ? "unknown" : at.length > 0 ? undefined : "missing";
      this.#remember(digest, state);
      if (state !== undefined) found.set(digest, state);
    }
    return parts
      .flatMap((part) => {
        const kind = found.get(part.digest);
        return kind === undefined ? [] : [obstacle(kind, part)];
      })
      .slice(0, maxObstacles);
  }

  /** By the disk alone: `missing` is what may be elsewhere, and is not remembered. */
  async #hereOf(digest: Digest): Promise<Absence | undefined> {
    const { store, index } = this.#options;
    const [row, file] = [index.get(digest), await store.info(digest)];
    if (file === undefined) return "missing";
    // A file without a row is one that has just been stored, or whose index is being repaired.
    const state = row !== undefined && row.size !== file.size ? "damaged" : undefined;
    this.#remember(digest, state);
    return state;
  }

  #remember(digest: Digest, state: Absence | undefined): void {
    if (this.#known.size < maxKnown) this.#known.set(digest, state);
  }

  /** Why it cannot be had by any of its names; nothing when it can by one. */
  async #unreachable(parts: readonly KnownPart[], names: readonly Name[]): Promise<Obstacle[]> {
    const [root] = parts;
    if (root === undefined) return [];
    let first: Obstacle | undefined;
    for (const name of names) {
      const unproved = name.expired ? undefined : await this.#unproved(parts, name);
      if (!name.expired && unproved === undefined) return [];
      first ??= unproved === undefined ? obstacle("tag_expired", root) : obstacle("unproved", unproved);
    }
    return [first ?? obstacle("unproved", root)];
  }

  async #unproved(parts: readonly KnownPart[], scope: Scope): Promise<KnownPart | undefined> {
    for (const part of parts) if (!(await this.#options.linked(scope, part.digest))) return part;
    return undefined;
  }
}

function obstacle(kind: Obstacle["kind"], { role, digest, platform, size }: KnownPart): Obstacle {
  return { kind, role, digest, platform: platform ?? null, sizeBytes: size ?? null };
}
