// What operators have deleted from the caches of the datacenter: begun here, told to the other nodes, and done here when another node
// has begun it, now or while this one was away.
import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import type { Logger } from "pino";
import type { PlannedPart, PurgePlan } from "../../cache/purge/purge-plan.ts";
import { type PurgeOutcome, Purger, type PurgerOptions } from "../../cache/purge/purger.ts";
import type { Config } from "../../config/config.ts";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { parseRepository, parseTag } from "../../oci/name.ts";
import type { PurgeApiOptions } from "../../ops/purge/purge-api.ts";
import type { PurgeReport } from "../../ops/purge/purge-report.ts";
import { maxListed, maxNodes } from "../../ops/purge/purge-schema.ts";
import { parseRepositoryReference, type Unreadable } from "../../ops/stats/image-reference.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import { maxAsked, type Neighbours, type NodeCommands, nodePaths } from "../../ports/datacenter/nodes.ts";
import { idOfUpstream, upstreamById } from "../../ports/datacenter/upstream-id.ts";
import { inTime } from "../../ports/deadline.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { type PinLookup, pinnedText } from "../../ports/pins/pins.ts";
import {
  isBefore,
  maxParts,
  maxPurges,
  type Purge,
  type PurgeExchange,
  type PurgeStore,
  type PurgeSubject,
  readPurge,
  writePurge,
} from "../../ports/purge/purges.ts";
import type { BlobUser } from "../../ports/records.ts";
import type { Announcements } from "../../ports/shared.ts";
import { NextCall } from "../../ports/single-flight.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { isAway, type OtherNode, otherNodes } from "./other-nodes.ts";
import { referenceNames } from "./reference-names.ts";

/** Milliseconds between two looks at what other nodes have begun, when nobody tells of it. */
const lookInterval = 15_000;
/** Milliseconds for another node to say what it knows, and to do a purge. */
const askTimeout = 2_000;
const doTimeout = 30_000;
/** The same for this node, after which the answer says that it goes on; for what is pending at a start, and at a stop. */
const ownTimeout = 120_000;
const startTimeout = 5_000;
const stopTimeout = 2_000;
/**
 * Parts and tags of outcomes that are remembered, for who asks what has come of a purge, and for another try: about 60 MB. What is
 * not remembered is tried again after the next start.
 */
const maxRemembered = 200_000;
/** Digests that other nodes are asked about for one purge; of more it is not known who uses them there. */
const maxUsesAsked = 4_000;
const maxPins = 10;
/** Parts that pins are looked up for in one turn of the event loop. */
const pinsAtOnce = 500;

export interface PurgesOptions {
  /** That of now. */
  readonly config: () => Config;
  readonly log: Pick<Logger, "info" | "warn">;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly pause: Pause;
}

export interface PurgesParts {
  readonly purger: Omit<PurgerOptions, "usedElsewhere">;
  readonly list: PurgeStore;
  readonly pins: Pick<PinLookup, "pinsOf">;
  readonly exchange: PurgeExchange | undefined;
  readonly announcements: Announcements | undefined;
  readonly commands: NodeCommands | undefined;
  readonly neighbours: Neighbours;
}

interface Attached extends Omit<PurgesParts, "purger"> {
  readonly purger: Purger;
}

type Node = PurgeReport["nodes"][number];

export class Purges {
  readonly #options: PurgesOptions;
  readonly #outcomes = new LRUCache<string, PurgeOutcome>({
    max: maxPurges,
    maxSize: maxRemembered,
    sizeCalculation: ({ plan }) => 1 + plan.goes.length + plan.stays.length + plan.tags.length,
  });
  /** Those that have been done here, as far as they could be, since the start. */
  readonly #applied = new LRUCache<string, true>({ max: maxPurges });
  /** Those that this node has heard of from others since the start. */
  readonly #heard = new LRUCache<string, true>({ max: maxPurges });
  #parts: Attached | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #looks = new NextCall();
  readonly #heardOthers = Promise.withResolvers<void>();

  constructor(options: PurgesOptions) {
    this.#options = options;
  }

  /** From now on purges are done. Resolves when those that began while the node was away have been, or after five seconds. */
  async attach(parts: PurgesParts): Promise<void> {
    const purger = new Purger({
      ...parts.purger,
      usedElsewhere: (...asked) => this.#usedElsewhere(...asked),
    });
    this.#parts = { ...parts, purger };
    this.#timer = setInterval(() => void this.look(), lookInterval).unref();
    parts.announcements?.subscribe(
      (announcement) => (announcement.kind === "purged" ? this.look() : undefined),
      () => void this.look(),
    );
    await inTime(this.look(), startTimeout, this.#options.pause);
  }

  /** Resolves when what was begun has ended, in two seconds at most: what is left is done after the next start. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#heardOthers.resolve();
    this.#parts = undefined;
    await inTime(this.#looks.last, stopTimeout, this.#options.pause);
  }

  /** Resolves once what the other nodes had begun has been heard and done, or the node stops. */
  get heardOthers(): Promise<void> {
    return this.#heardOthers.promise;
  }

  /** See Purger. */
  async known(subject: PurgeSubject): Promise<PurgePlan | undefined> {
    return await this.#parts?.purger.known(subject);
  }

  /**
   * Hears what other nodes have begun, and does what has not been done here. A call while one runs waits for another one after it.
   * Never rejects.
   */
  look(): Promise<void> {
    return this.#looks.run(() =>
      this.#look().catch((error: unknown) => {
        this.#options.notices(noticeOfStoreError("purge", error));
      }),
    );
  }

  async #look(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined) return;
    const { list, exchange } = parts;
    const { clock } = this.#options;
    const own = list.ids(clock());
    // Who cannot be asked says so elsewhere; what is known here is done all the same.
    const asked = exchange?.exchange(own, (id) => list.get(id), clock()) ?? Promise.resolve([]);
    const heard = await asked.catch(() => undefined);
    for (const purge of heard ?? []) {
      this.#heard.set(purge.id, true);
      list.put(purge, false);
    }
    list.ids(clock());
    for (const purge of list.undone()) await this.#do(parts, purge);
    if (heard !== undefined) this.#heardOthers.resolve();
  }

  /** Tries again later what cannot be reached now, and that alone: clients may have fetched the image anew meanwhile. */
  async #do({ list, purger }: Attached, purge: Purge): Promise<void> {
    const before = this.#outcomes.get(purge.id);
    if (before === undefined && this.#applied.has(purge.id)) return;
    const isOwn = !this.#heard.has(purge.id);
    const reach = { isOwn, links: isOwn || isBefore(purge, this.#options.clock()) };
    const outcome = before ? await purger.retry(purge, before) : await purger.apply(purge, reach);
    const isDone = outcome.left === undefined;
    if (isDone) list.done(purge.id);
    this.#applied.set(purge.id, true);
    this.#outcomes.set(purge.id, outcome);
    if (before !== undefined && !isDone) return;
    const { plan, parts, bytes, newer } = outcome;
    this.#options.log.info(
      {
        purge: purge.id,
        ...subjectOf(purge),
        tags: plan.tags.length,
        parts,
        bytes,
        kept: plan.stays.length,
        newer,
        done: isDone,
      },
      "purged from the cache",
    );
  }

  // ---- begun here ---------------------------------------------------------------------------------------------

  readonly purge: PurgeApiOptions["purge"] = async ({ reference, dryRun, force }) => {
    const parts = this.#parts;
    const read = this.#read(reference);
    if ("problem" in read) return read;
    if (parts === undefined) return undefined;
    const known = await this.#partsElsewhere(read.subject);
    const plan = await parts.purger.plan(read.subject, known);
    const pinnedBy = await pinsOf(parts.pins, plan);
    const planned = { ...this.#report(read, plan), pinnedBy };
    if (dryRun) return { ...planned, nodes: await this.#plannedNodes(plan, planned.sums) };
    if (pinnedBy.length > 0 && !force) return { pinned: planned };
    const purge = this.#begun(read.subject, plan);
    parts.list.put(purge, false);
    const others = this.#tell(purge);
    await inTime(this.look(), ownTimeout, this.#options.pause);
    const outcome = this.#outcomes.get(purge.id);
    const own: Node = {
      ...this.#self,
      state: outcome !== undefined && outcome.left === undefined ? "done" : "partly",
      parts: outcome?.parts ?? null,
      bytes: outcome?.bytes ?? null,
    };
    return {
      ...this.#report(read, outcome?.plan ?? plan),
      id: purge.id,
      at: purge.at,
      pinnedBy,
      nodes: [own, ...(await others)].slice(0, maxNodes),
    };
  };

  #read(text: string): { readonly subject: PurgeSubject; readonly chosenBy: string | null } | Unreadable {
    const digest = parseDigest(text.trim());
    if (digest !== undefined)
      return { subject: { scope: undefined, tag: undefined, digest }, chosenBy: null };
    const read = parseRepositoryReference(text, referenceNames(this.#options.config()));
    if ("problem" in read) return read;
    const { upstream, repository, chosenBy } = read;
    const tag = read.digest === undefined && read.tag !== undefined ? parseTag(read.tag) : undefined;
    if (read.digest === undefined && read.tag !== undefined && tag === undefined)
      return { problem: `found ${JSON.stringify(read.tag)}, expected a tag, a digest, or a repository` };
    return { subject: { scope: { upstream, repository }, tag, digest: read.digest }, chosenBy };
  }

  #begun(subject: PurgeSubject, { goes, tags }: PurgePlan): Purge {
    const at = this.#options.clock();
    const id = `${String(at).padStart(13, "0")}-${randomBytes(6).toString("hex")}`;
    const isWhole = subject.tag === undefined && subject.digest === undefined;
    const parts = isWhole ? [] : goes.slice(0, maxParts).map(({ digest }) => digest);
    const named = subject.tag === undefined ? undefined : tags[0]?.digest;
    return { ...subject, digest: subject.digest ?? named, id, at, parts };
  }

  get #self(): Pick<Node, "name" | "self"> {
    return { name: this.#options.config().node.name, self: true };
  }

  #report(
    { subject, chosenBy }: { readonly subject: PurgeSubject; readonly chosenBy: string | null },
    plan: PurgePlan,
  ): Omit<PurgeReport, "pinnedBy" | "nodes"> & { nodes: Node[] } {
    const { scope, tag, digest } = subject;
    const { tags, goes, stays, truncated } = plan;
    const here = goes.filter((part) => part.here);
    const images = here.filter(({ role }) => role === "manifest").length;
    return {
      schema: 1,
      id: null,
      at: this.#options.clock(),
      kind: tag !== undefined ? "tag" : digest !== undefined ? "image" : "repository",
      upstream: scope?.upstream ?? null,
      repository: scope?.repository ?? null,
      tag: tag ?? null,
      digest: digest ?? null,
      chosenBy,
      tags: tags.slice(0, maxListed).map((each) => ({
        upstream: each.upstream,
        repository: each.repository,
        tag: each.tag,
        digest: each.digest ?? null,
      })),
      goes: goes.slice(0, maxListed).map(listed),
      stays: stays.slice(0, maxListed).map((part) => ({ ...listed(part), why: whyOf(part.user) })),
      sums: {
        tags: tags.length,
        images,
        layers: here.length - images,
        bytes: bytesOf(here),
        staysParts: stays.length,
        staysBytes: bytesOf(stays.filter((part) => part.here)),
      },
      truncated,
      s3: this.#options.config().s3 !== undefined,
      nodes: [],
    };
  }

  // ---- the other nodes ----------------------------------------------------------------------------------------

  #others(): readonly OtherNode[] {
    return otherNodes(this.#options.config(), this.#parts?.neighbours.list() ?? []);
  }

  async #tell(purge: Purge): Promise<Node[]> {
    const parts = this.#parts;
    if (parts === undefined) return [];
    const { exchange, announcements, commands, list } = parts;
    const { clock } = this.#options;
    // So that the others find it where they look.
    if (announcements !== undefined)
      await exchange?.exchange(list.ids(clock()), (id) => list.get(id), clock()).catch(() => []);
    const heard = announcements?.publish({ kind: "purged", id: purge.id });
    const asked = this.#others().map(async ({ name, address }): Promise<Node> => {
      const node = { name, self: false, parts: null, bytes: null };
      if (address === null) return { ...node, state: "away" };
      if (commands === undefined) return { ...node, state: "told" };
      try {
        const text = writePurge(purge, (upstream) => this.#idOf(upstream)) ?? "";
        const query = new URLSearchParams({ purge: text });
        const answer = await commands.command(address, nodePaths.purgeNow, query, doTimeout);
        const { done, parts, bytes } = answer as Partial<Record<string, unknown>>;
        if (typeof done !== "boolean") return { ...node, state: "told" };
        return { ...node, state: done ? "done" : "partly", parts: numberOf(parts), bytes: numberOf(bytes) };
      } catch (error) {
        return { ...node, state: isAway(error) ? "away" : "partly" };
      }
    });
    const [nodes] = await Promise.all([Promise.all(asked), heard]);
    return nodes;
  }

  /** Parts that other nodes know to go with it: they may have manifests that are not here. */
  async #partsElsewhere(subject: PurgeSubject): Promise<readonly Digest[]> {
    const answers = await this.#askAll(nodePaths.purgeParts, this.#queryOf(subject), askTimeout);
    const digests = answers.flatMap(({ answer }) => digestsIn(answer, "digests"));
    return [...new Set(digests)].slice(0, maxParts);
  }

  async #usedElsewhere(
    subject: PurgeSubject,
    digests: readonly Digest[],
  ): Promise<ReadonlyMap<Digest, string>> {
    const used = new Map<Digest, string>();
    for (let at = 0; at < Math.min(digests.length, maxUsesAsked); at += maxAsked) {
      const some = digests.slice(at, at + maxAsked);
      const query = this.#queryOf(subject);
      query?.set("digests", some.join(","));
      const asked = new Set(some);
      for (const { name, answer } of await this.#askAll(nodePaths.purgeUses, query, askTimeout))
        for (const digest of digestsIn(answer, "digests")) if (asked.has(digest)) used.set(digest, name);
    }
    return used;
  }

  async #plannedNodes({ goes }: PurgePlan, sums: PurgeReport["sums"]): Promise<Node[]> {
    const { neighbours } = this.#parts ?? {};
    const sizes = new Map(goes.slice(0, maxAsked).map(({ digest, size }) => [digest, size ?? 0]));
    const own: Node = {
      ...this.#self,
      state: "planned",
      parts: sums.images + sums.layers,
      bytes: sums.bytes,
    };
    const others = this.#others().map(async ({ name, address }): Promise<Node> => {
      const node = { name, self: false, parts: null, bytes: null };
      if (address === null) return { ...node, state: "away" };
      if (neighbours?.nodes === undefined) return { ...node, state: "planned" };
      try {
        const held = await neighbours.nodes.holding(address, [...sizes.keys()]);
        const bytes = [...held].reduce((sum, digest) => sum + (sizes.get(digest) ?? 0), 0);
        return { ...node, state: "planned", parts: held.size, bytes };
      } catch {
        return { ...node, state: "away" };
      }
    });
    return [own, ...(await Promise.all(others))].slice(0, maxNodes);
  }

  /** What the nodes that answer in time say. */
  async #askAll(path: string, query: URLSearchParams | undefined, timeout: number) {
    const { commands } = this.#parts ?? {};
    if (commands === undefined || query === undefined) return [];
    const asked = this.#others().flatMap(({ name, address }) =>
      address === null
        ? []
        : [commands.command(address, path, query, timeout).then((answer) => ({ name, answer }))],
    );
    const answers = await Promise.allSettled(asked);
    return answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  }

  /** As other nodes read it; undefined for an upstream that there is no more. */
  #queryOf({ scope, tag, digest }: PurgeSubject): URLSearchParams | undefined {
    const query = new URLSearchParams();
    if (scope !== undefined) {
      const id = this.#idOf(scope.upstream);
      if (id === undefined) return undefined;
      query.set("upstream", id);
      query.set("repository", scope.repository);
    }
    if (tag !== undefined) query.set("tag", tag);
    if (digest !== undefined) query.set("digest", digest);
    return query;
  }

  // ---- asked by other nodes -----------------------------------------------------------------------------------

  /** See NodeQuestionsOptions.command. */
  async command(path: string, query: URLSearchParams): Promise<object | undefined> {
    const parts = this.#parts;
    if (parts === undefined) return undefined;
    const { list, purger } = parts;
    const id = query.get("id") ?? "";
    if (path === nodePaths.purges) return { ids: list.ids(this.#options.clock()) };
    if (path === nodePaths.purge) {
      const purge = list.get(id);
      const text = purge && writePurge(purge, (upstream) => this.#idOf(upstream));
      return text === undefined ? undefined : { purge: text };
    }
    if (path === nodePaths.purgeNow) {
      const purge = readPurge(query.get("purge") ?? "", (upstream) => this.#nameOf(upstream));
      if (purge !== undefined && list.get(purge.id) === undefined) {
        this.#heard.set(purge.id, true);
        list.put(purge, false);
      }
      await this.look();
      const outcome = this.#outcomes.get(purge?.id ?? "");
      return outcome === undefined
        ? {}
        : { done: outcome.left === undefined, parts: outcome.parts, bytes: outcome.bytes };
    }
    if (path !== nodePaths.purgeParts && path !== nodePaths.purgeUses) return undefined;
    const subject = this.#subjectIn(query);
    if (subject === undefined) return { digests: [] };
    if (path === nodePaths.purgeParts) {
      // Of a repository each node knows its own.
      if (subject.tag === undefined && subject.digest === undefined) return { digests: [] };
      const { goes, stays } = await purger.known(subject);
      return { digests: [...goes, ...stays].slice(0, maxParts).map(({ digest }) => digest) };
    }
    const asked = (query.get("digests") ?? "").split(",", maxAsked);
    const used = await purger.used(
      subject,
      asked.flatMap((text) => parseDigest(text) ?? []),
    );
    return { digests: [...used.keys()] };
  }

  #nameOf(id: string): string | undefined {
    return upstreamById(this.#options.config().upstreams, id)?.name;
  }

  #idOf(name: string): string | undefined {
    return idOfUpstream(this.#options.config().upstreams, name);
  }

  /** Undefined for an upstream that this node does not have. */
  #subjectIn(query: URLSearchParams): PurgeSubject | undefined {
    const [id, repository] = [query.get("upstream"), parseRepository(query.get("repository") ?? "")];
    const tag = parseTag(query.get("tag") ?? "");
    const digest = parseDigest(query.get("digest") ?? "");
    if (id === null) return digest && { scope: undefined, tag: undefined, digest };
    const upstream = this.#nameOf(id);
    return upstream === undefined || repository === undefined
      ? undefined
      : { scope: { upstream, repository }, tag, digest };
  }
}

function subjectOf({ scope, tag, digest }: PurgeSubject): object {
  return { upstream: scope?.upstream, repository: scope?.repository, tag, digest };
}

async function pinsOf(pins: Pick<PinLookup, "pinsOf">, { goes }: PurgePlan): Promise<string[]> {
  const found = new Set<string>();
  for (const [at, { digest }] of goes.entries()) {
    // Requests have their turn meanwhile.
    if (at % pinsAtOnce === pinsAtOnce - 1) await setImmediate();
    for (const pin of pins.pinsOf(digest, maxPins)) found.add(pinnedText(pin));
    if (found.size >= maxPins) break;
  }
  return [...found].slice(0, maxPins);
}

function listed({ digest, role, size, here }: PlannedPart): PurgeReport["goes"][number] {
  return { digest, role, sizeBytes: size ?? null, here };
}

function whyOf(user: BlobUser | { readonly by: "node"; readonly name: string }): string {
  switch (user.by) {
    case "tag":
      return `${user.upstream}/${user.repository}:${user.tag} uses it`;
    case "manifest":
      return `${user.digest} names it`;
    case "repository":
      return `it is in ${user.upstream}/${user.repository} as well`;
    case "node":
      return `node ${user.name} knows who uses it`;
    case "many":
      return "more than 1,000 manifests use it";
  }
}

function bytesOf(parts: readonly PlannedPart[]): number {
  return parts.reduce((sum, { size }) => sum + (size ?? 0), 0);
}

function numberOf(value: unknown): number | null {
  return typeof value === "number" && value >= 0 ? value : null;
}

function digestsIn(answer: unknown, member: string): Digest[] {
  const values = (answer as Partial<Record<string, unknown>> | null)?.[member];
  if (!Array.isArray(values)) return [];
  return values.flatMap((value) => (typeof value === "string" ? (parseDigest(value) ?? []) : []));
}
