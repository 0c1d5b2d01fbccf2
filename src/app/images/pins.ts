// Pinned images: those that were commanded (POST /api/v1/pins, in all nodes of the datacenter) and those that patterns of the
// configuration take. What is held for them is looked at every minute; what is missing is fetched, and tags are confirmed, by
// jobs in the background class.
import picomatch from "picomatch";
import type { Logger } from "pino";
import { subjectOfTag } from "../../cache/freshness.ts";
import { type PinFinding, type PinFindings, PinnedImages } from "../../cache/pins/pinned-images.ts";
import type { Config } from "../../config/config.ts";
import { largestShare } from "../../config/types/pin-types.ts";
import type { Digest } from "../../oci/digest.ts";
import { parseRepository, parseTag, splitTagPattern } from "../../oci/name.ts";
import type { PinReport, PinsReport } from "../../ops/pins/pin-report.ts";
import { type PinProblem, PinsApi } from "../../ops/pins/pins-api.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import { idOfUpstream, upstreamById } from "../../ports/datacenter/upstream-id.ts";
import type { NoticeSink } from "../../ports/event.ts";
import {
  type KnownTags,
  maxCommanded,
  type PinCommand,
  type PinnedName,
  type PinStore,
  pinnedText,
  type WantedPin,
} from "../../ports/pins/pins.ts";
import type { BlobIndex, ImageGraph, TagStore } from "../../ports/records.ts";
import { NextCall } from "../../ports/single-flight.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { Turns } from "../../ports/turns.ts";
import { scrub } from "../../telemetry/scrub.ts";
import type { Warm } from "./warm.ts";

/** Milliseconds between two looks, and between two questions to the other nodes. */
export const pinLookInterval = 60_000;
export const pinExchangeInterval = 30_000;
/** Milliseconds before something that could not be fetched is asked for again. */
const askAgainAfter = 600_000;
/** Milliseconds a command waits for the manifests of its image. */
const resolveTimeout = 30_000;
/** Repositories read at once, tags of one repository, and images that one job has. */
const repositoriesAtOnce = 500;
const tagsOfRepository = 1_000;
const imagesOfJob = 1_000;
/** Images named in a line of the log; characters of why something failed. */
const maxNamed = 10;
const longestReason = 500;

export interface PinsOptions {
  /** That of now. */
  readonly config: () => Config;
  readonly warm: Pick<Warm, "fetchPinned" | "manifestsOf" | "namesOf" | "jobs">;
  readonly log: Pick<Logger, "warn">;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
}

export interface PinsParts {
  readonly store: PinStore;
  readonly graph: Pick<ImageGraph, "parts" | "referrers">;
  readonly index: Pick<BlobIndex, "get">;
  /** Of the datacenter, and of this node. */
  readonly tags: Pick<TagStore, "get">;
  readonly ownTags: Pick<TagStore, "get"> & KnownTags;
  readonly neighbours: Neighbours;
}

/** An image whose manifests were asked for. `failure`: why some did not come. */
interface ResolvedImage {
  readonly name: PinnedName;
  readonly digest: Digest;
  readonly failure: string | undefined;
}

type AttachedParts = PinsParts & { readonly images: PinnedImages };

export class Pins {
  readonly api: PinsApi;
  readonly #options: PinsOptions;
  #parts: AttachedParts | undefined;
  #found: PinFindings | undefined;
  readonly #looks = new NextCall();
  /** By image, and by the steady clock, when its manifests and its blobs were last asked for. */
  #asked = new Map<string, { manifests?: number; blobs?: number }>();
  /** By image. */
  readonly #failures = new Map<string, string>();
  /** One pin after the other: two that only fit alone are not both taken. */
  readonly #turns = new Turns(1);
  #job: string | undefined;
  /** The images of the last warning. */
  #warned = "";

  constructor(options: PinsOptions) {
    this.#options = options;
    this.api = new PinsApi({
      list: () => this.#report(),
      pin: (image) => this.#pin(image),
      unpin: (image) => this.#unpin(image),
    });
  }

  attach(parts: PinsParts): void {
    this.#parts = { ...parts, images: new PinnedImages({ ...parts, budget: () => this.budget }) };
  }

  stop(): void {
    this.#parts = undefined;
  }

  /** Bytes that pinned images may have. */
  get budget(): number {
    const { pin, cache } = this.#options.config();
    const { budget = { share: 0.5 } } = pin ?? {};
    const share = "bytes" in budget ? budget.bytes / cache.maxSize : budget.share;
    return Math.floor(Math.min(share, largestShare) * cache.maxSize);
  }

  /** What was last found; undefined until there is something. */
  get counts(): { readonly images: number; readonly whole: number; readonly heldBytes: number } | undefined {
    const found = this.#found;
    return (
      found && {
        images: found.images.length + found.leftOut,
        whole: found.images.filter(({ state }) => state === "whole").length,
        heldBytes: found.heldBytes,
      }
    );
  }

  /** Holds what is pinned now, and begins to fetch what is missing. One that waits is shared. Never rejects. */
  look(): Promise<void> {
    return this.#looks.run(() =>
      this.#look().catch((error: unknown) => this.#options.notices(noticeOfStoreError("pins.look", error))),
    );
  }

  /** Hears from the other nodes what was commanded there, also while this one was away. Never rejects. */
  async exchange(): Promise<void> {
    const parts = this.#parts;
    const { nodes, list } = parts?.neighbours ?? {};
    if (parts === undefined || nodes === undefined) return;
    const heard = (list?.() ?? []).map(async ({ address }) => {
      const told = address === null ? [] : await nodes.pins(address);
      return told.flatMap((command) => this.#fromOthers(command) ?? []);
    });
    // Who does not answer is asked again.
    const answers = await Promise.allSettled(heard);
    const commands = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    try {
      if (parts.store.command(commands, this.#options.clock()) > 0) await this.look();
    } catch (error) {
      this.#options.notices(noticeOfStoreError("pins.command", error));
    }
  }

  /** For the other nodes. Throws StoreError. */
  told(): readonly PinCommand[] {
    const { upstreams } = this.#options.config();
    return (this.#parts?.store.commands() ?? []).flatMap((command) => {
      const upstream = idOfUpstream(upstreams, command.upstream);
      return upstream === undefined ? [] : [{ ...command, upstream }];
    });
  }

  #fromOthers(command: PinCommand): PinCommand | undefined {
    const upstream = upstreamById(this.#options.config().upstreams, command.upstream);
    return upstream && { ...command, upstream: upstream.name };
  }

  // ---- commands -----------------------------------------------------------------------------------------------

  async #pin(image: string): Promise<PinReport | PinProblem> {
    const { warm } = this.#options;
    const names = warm.namesOf(image);
    if ("problem" in names)
      return { kind: "unreadable", problem: `image ${JSON.stringify(image)}: ${names.problem}` };
    const parts = this.#parts;
    if (parts === undefined) return { kind: "later", problem: "the node is not serving yet, or no more" };
    const signal = AbortSignal.timeout(resolveTimeout);
    const late = { problem: `its manifests have not come within ${resolveTimeout / 1000} s` };
    const found = await warm.manifestsOf(image, signal).catch(() => late);
    if ("problem" in found)
      return { kind: "refused", problem: `${image} is not pinned: ${scrub(found.problem, longestReason)}` };
    return await this.#turns.run(() => this.#command(parts, found));
  }

  /** Pins it, if it fits. */
  async #command(
    { store, images }: AttachedParts,
    { name, digest, failure }: ResolvedImage,
  ): Promise<PinReport | PinProblem> {
    const { clock } = this.#options;
    const cost = await images.costOf(name, digest);
    const text = pinnedText(name);
    if (cost.unknownManifests > 0)
      return {
        kind: "refused",
        problem: `${text} is not pinned: what it would come to is not known, for not all of its manifests could be fetched (${scrub(failure ?? "they are gone again", longestReason)})`,
      };
    if (cost.tooLarge)
      return {
        kind: "refused",
        problem: `${text} is not pinned: it has more parts than a pinned image may have`,
      };
    const { budget } = this;
    if (cost.totalBytes > budget)
      return {
        kind: "refused",
        problem: `${text} is not pinned: pinned images would come to ${cost.totalBytes} bytes, with ${cost.addedBytes} for this one, and pin.budget is ${budget} bytes`,
      };
    const known = store.commands();
    const before = known.find((command) => pinnedText(command) === text);
    if (before?.pinned !== true && known.filter(({ pinned }) => pinned).length >= maxCommanded)
      return {
        kind: "refused",
        problem: `${text} is not pinned: ${maxCommanded} images are pinned by command already`,
      };
    if (before?.pinned !== true) {
      const at = Math.max(clock(), (before?.at ?? 0) + 1);
      store.command([{ ...name, pinned: true, at }], clock());
    }
    await this.look();
    const finding = this.#found?.images.find((each) => pinnedText(each) === text);
    if (finding !== undefined) return this.#reportOf(finding);
    return { kind: "later", problem: `${text} is pinned, and was not looked at yet` };
  }

  async #unpin(
    image: string,
  ): Promise<{ readonly image: string; readonly stillConfigured: boolean } | PinProblem> {
    const { warm, clock } = this.#options;
    const { store } = this.#parts ?? {};
    if (store === undefined) return { kind: "later", problem: "the node is not serving yet, or no more" };
    const names = warm.namesOf(image);
    const texts = "problem" in names ? [image] : [image, ...names.map(pinnedText)];
    const command = store.commands().find((each) => each.pinned && texts.includes(pinnedText(each)));
    if (command !== undefined) {
      store.command([{ ...command, pinned: false, at: Math.max(clock(), command.at + 1) }], clock());
      await this.look();
    }
    const configured = this.#found?.images.find((each) => texts.includes(pinnedText(each)));
    if (command !== undefined)
      return { image: pinnedText(command), stillConfigured: configured !== undefined };
    if (configured !== undefined)
      return {
        kind: "refused",
        problem: `${pinnedText(configured)} is pinned by the configuration: pin.images has a pattern for it`,
      };
    if ("problem" in names)
      return { kind: "unreadable", problem: `image ${JSON.stringify(image)}: ${names.problem}` };
    return { kind: "unknown", problem: `${image} is not pinned` };
  }

  // ---- what is pinned -----------------------------------------------------------------------------------------

  async #look(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined) return;
    const wanted = new Map<string, WantedPin>();
    const want = (pin: WantedPin): void => {
      const text = pinnedText(pin);
      if (!wanted.has(text)) wanted.set(text, pin);
    };
    // Nothing is held for an upstream that is configured no more; the command stays, should it come back.
    const names = new Set(this.#options.config().upstreams.map(({ name }) => name));
    for (const { pinned, at, ...name } of parts.store.commands())
      if (pinned && names.has(name.upstream)) want({ ...name, origin: "command", at });
    for await (const name of this.#configured(parts.ownTags))
      want({ ...name, origin: "configuration", at: undefined });
    const found = await parts.images.look([...wanted.values()]);
    this.#found = found;
    for (const text of this.#failures.keys()) if (!wanted.has(text)) this.#failures.delete(text);
    this.#asked = new Map([...this.#asked].filter(([text]) => wanted.has(text)));
    this.#warn(found);
    this.#fetch(found);
  }

  /** The images that patterns take: those that are named as a whole, and tags that this node has records of. */
  async *#configured(known: KnownTags): AsyncGenerator<PinnedName> {
    const { pin, upstreams } = this.#options.config();
    const patterns = pin?.images ?? [];
    const matchers: { isRepository: (name: string) => boolean; isTag: (tag: string) => boolean }[] = [];
    for (const pattern of patterns) {
      const [repositories, tags] = splitTagPattern(pattern);
      const slash = repositories.indexOf("/");
      const [upstream, repository, reference] = [
        repositories.slice(0, Math.max(0, slash)),
        parseRepository(repositories.slice(slash + 1)),
        parseTag(tags),
      ];
      if (repository === undefined || reference === undefined)
        matchers.push({ isRepository: picomatch(repositories), isTag: picomatch(tags) });
      else if (upstreams.some(({ name }) => name === upstream)) yield { upstream, repository, reference };
    }
    if (matchers.length === 0) return;
    for (let after = 0; ; ) {
      const page = known.repositories(after, repositoriesAtOnce);
      for (const { id, upstream, repository } of page) {
        const own = matchers.filter(({ isRepository }) => isRepository(`${upstream}/${repository}`));
        if (own.length === 0 || !upstreams.some(({ name }) => name === upstream)) continue;
        // What refers to an image is held with it.
        for (const reference of known.tagsOf(id, tagsOfRepository))
          if (subjectOfTag(reference) === undefined && own.some(({ isTag }) => isTag(reference)))
            yield { upstream, repository, reference };
      }
      after = page.at(-1)?.id ?? after;
      if (page.length < repositoriesAtOnce) return;
    }
  }

  /** Once for each change of what does not fit. */
  #warn({ images, leftOut, neededBytes }: PinFindings): void {
    const over = images
      .filter(({ state }) => state === "over_budget" || state === "too_large")
      .map(pinnedText);
    const warned = leftOut + over.length === 0 ? "" : `${over.join(" ")} ${leftOut}`;
    if (warned !== "" && warned !== this.#warned)
      this.#options.log.warn(
        {
          budget: this.budget,
          needed: neededBytes,
          images: over.slice(0, maxNamed),
          not_pinned: over.length + leftOut,
        },
        "pinned images do not fit in pin.budget, or are too many: some are not pinned; entrepot pins names them",
      );
    this.#warned = warned;
  }

  /** Manifests first, so that what an image would come to is known before its layers are fetched; one job at a time. */
  #fetch({ images }: PinFindings): void {
    const { warm, steady, config } = this.#options;
    if (this.#job !== undefined && warm.jobs.get(this.#job)?.endedAt === null) return;
    const now = steady();
    const refresh = config().pin?.refresh ?? 3_600_000;
    const isDue = (last: number | undefined, after: number): boolean =>
      last === undefined || now - last >= after;
    const manifests = images.filter((image) => {
      const { manifests: last } = this.#asked.get(pinnedText(image)) ?? {};
      const isUnknown = image.state === "unknown" || image.unknownManifests > 0;
      if (isUnknown) return isDue(last, Math.min(askAgainAfter, refresh));
      // A digest names the same for ever, and what refers to it may come.
      return isDue(last, refresh);
    });
    const blobs = images.filter((image) => {
      const { blobs: last } = this.#asked.get(pinnedText(image)) ?? {};
      return image.state === "incomplete" && image.unknownManifests === 0 && isDue(last, askAgainAfter);
    });
    const chosen = (manifests.length > 0 ? manifests : blobs).slice(0, imagesOfJob);
    if (chosen.length === 0) return;
    let left = chosen.length;
    this.#job = warm.fetchPinned(chosen, manifests.length > 0, (pin, failure) => {
      const text = pinnedText(pin);
      if (failure === undefined) this.#failures.delete(text);
      else this.#failures.set(text, scrub(failure, longestReason));
      left--;
      // The job itself ends after its last image.
      if (left === 0) setImmediate(() => void this.look());
    });
    if (this.#job === undefined) return;
    for (const image of chosen) {
      const text = pinnedText(image);
      const asked = this.#asked.get(text) ?? {};
      this.#asked.set(text, manifests.length > 0 ? { ...asked, manifests: now } : { ...asked, blobs: now });
    }
  }

  // ---- what is told -------------------------------------------------------------------------------------------

  async #report(): Promise<PinsReport | undefined> {
    if (this.#found === undefined) await this.look();
    const found = this.#found;
    if (this.#parts === undefined || found === undefined) return undefined;
    const { images, heldBytes, neededBytes, leftOut } = found;
    return {
      schema: 1,
      at: this.#options.clock(),
      budgetBytes: this.budget,
      heldBytes,
      neededBytes,
      leftOut,
      pins: images.map((image) => this.#reportOf(image)),
    };
  }

  #reportOf(finding: PinFinding): PinReport {
    const { upstream, repository, reference, origin, at, state, digest, parts, sizeBytes, hereBytes } =
      finding;
    const image = pinnedText(finding);
    return {
      image,
      upstream,
      repository,
      reference,
      origin,
      pinnedAt: at ?? null,
      state,
      digest: digest ?? null,
      parts,
      sizeBytes,
      hereBytes,
      reason: this.#failures.get(image) ?? null,
    };
  }
}
