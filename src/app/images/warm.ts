// Images that are fetched before clients ask for them: on demand (POST /api/v1/jobs), by the schedules of the configuration, what
// webhooks tell of, and pinned ones. Each is a job whose images are asked for as a client's request is routed.
import { Cron } from "croner";
import type { Logger } from "pino";
import type { DeniedDigests } from "../../cache/denied-digests.ts";
import { ByteRate } from "../../cache/warm/byte-rate.ts";
import { ImageWarmer, type WarmRequest, type WarmTarget } from "../../cache/warm/image-warmer.ts";
import { WarmProgress } from "../../cache/warm/warm-progress.ts";
import type { Config } from "../../config/config.ts";
import type { Router, Target } from "../../http/routing.ts";
import type { Digest } from "../../oci/digest.ts";
import { parseImageName, referenceOf } from "../../oci/image-name.ts";
import type { Repository } from "../../oci/name.ts";
import { parsePlatform } from "../../oci/platform.ts";
import { parseReference, type Reference, referenceText } from "../../oci/reference.ts";
import type { JobTransfer } from "../../ops/jobs/job-report.ts";
import {
  type ImageRun,
  type ImageState,
  type JobSettings,
  Jobs,
  maxImages,
  type WantedImage,
} from "../../ops/jobs/jobs.ts";
import { type AskedImages, type BegunJob, JobsApi } from "../../ops/jobs/jobs-api.ts";
import {
  parseImageReference,
  parseRepositoryReference,
  type RepositoryReference,
} from "../../ops/stats/image-reference.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import type { Neighbours, PulledImage, PulledImages } from "../../ports/datacenter/nodes.ts";
import { upstreamById } from "../../ports/datacenter/upstream-id.ts";
import type { NoticeSink } from "../../ports/event.ts";
import { type PinnedName, pinnedText } from "../../ports/pins/pins.ts";
import type { Pace, RemoteRepository, Upstream } from "../../ports/upstream.ts";
import { scrub } from "../../telemetry/scrub.ts";
import type { Policy } from "../policy.ts";
import { createRouter } from "../router.ts";
import { referenceNames } from "./reference-names.ts";
import { tagsOfPattern } from "./tags-of-pattern.ts";

/** Transfers of one image that are told. */
const maxTransfers = 8;
/** Characters of why something failed. */
const longestReason = 500;
/** Milliseconds between two looks at the schedules, at most: a reload may have brought a sooner one. */
const longestWait = 60_000;

export interface WarmOptions {
  /** That of now. */
  readonly config: () => Config;
  readonly notices: NoticeSink;
  readonly log: Pick<Logger, "warn">;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
}

export interface WarmParts {
  /** Those of now, in the order of the configuration. */
  readonly upstreams: () => readonly Upstream[];
  readonly policy: Pick<Policy, "manifests" | "blobs" | "listings" | "local">;
  readonly denied: Pick<DeniedDigests, "denies">;
  readonly neighbours: Neighbours;
}

/** Where an image comes from, or why from nowhere. */
type RoutedImage =
  | { readonly targets: readonly WarmTarget[]; readonly reference: Reference }
  | { readonly refused: string };

/** What all images of a job have in common. */
interface SharedByImages {
  /** See WarmRequest. */
  readonly away: Set<string>;
  readonly pace: Pace | undefined;
}

export class Warm {
  readonly jobs: Jobs;
  readonly api: JobsApi;
  readonly #options: WarmOptions;
  readonly #stopping = new AbortController();
  #parts: (WarmParts & { readonly warmer: ImageWarmer }) | undefined;
  #router: { readonly of: Config; readonly router: Router } | undefined;
  #keepsTime = false;
  readonly #shared = new WeakMap<JobSettings, SharedByImages>();
  /** The last job of each schedule, by what the schedule says. */
  readonly #lastJobs = new Map<string, string>();
  /** Schedules whose lists of tags are waited for: their jobs have not begun yet. At most one entry for each. */
  readonly #starting = new Set<string>();

  constructor(options: WarmOptions) {
    this.#options = options;
    this.jobs = new Jobs(options);
    this.api = new JobsApi({ jobs: this.jobs, begin: (...asked) => this.#begin(...asked) });
  }

  /** From now on jobs run. */
  attach(parts: WarmParts): void {
    const { pause } = this.#options;
    const { policy, denied } = parts;
    const warmer = new ImageWarmer({ ...policy, denies: (...asked) => denied.denies(...asked), pause });
    this.#parts = { ...parts, warmer };
    this.keepTime();
  }

  /** Ends all jobs, and begins none any more. */
  stop(): void {
    this.#stopping.abort(new Error("this node is stopping"));
    this.#parts = undefined;
    this.jobs.stop();
  }

  async #begin(asked: AskedImages, settings: JobSettings): Promise<BegunJob | undefined> {
    if ("fromNode" in asked) return await this.#beginOfNode(asked, settings);
    const { images } = asked;
    for (const image of images) {
      const name = parseImageName(image);
      if (name === undefined || referenceOf(name) === undefined)
        return {
          problem: `images: found ${JSON.stringify(image)}, expected a reference such as team/app:1.0`,
        };
    }
    if (this.#parts === undefined) return undefined;
    const id = this.jobs.add(
      images.map((image) => this.#wanted(image)),
      settings,
    );
    return id === undefined ? undefined : { id };
  }

  /** What another node's clients have pulled from it; asked for again it is what they have pulled by then. */
  async #beginOfNode(
    { fromNode, days }: Extract<AskedImages, { fromNode: string }>,
    settings: JobSettings,
  ): Promise<BegunJob | undefined> {
    const { neighbours } = this.#parts ?? {};
    if (neighbours === undefined) return undefined;
    const { nodes } = neighbours;
    const known = neighbours.list();
    if (nodes === undefined)
      return {
        problem: "fromNode: nodes ask each other nothing here: all of them need node.address and node.secret",
      };
    const names = [...new Set(known.map(({ name }) => name))].sort().join(", ");
    const node = known.find(({ name }) => name === fromNode);
    if (node === undefined)
      return {
        problem: `fromNode: found ${JSON.stringify(fromNode)}, expected another node of this datacenter: ${names || "none is known"}`,
      };
    if (node.address === null) return { unanswered: `node ${fromNode} is unreachable, or says no address` };
    let pulled: PulledImages;
    try {
      pulled = await nodes.pulled(node.address, days);
    } catch (error) {
      return {
        unanswered: `node ${fromNode} does not tell what was pulled from it: ${(error as Error).message}`,
      };
    }
    if (this.#parts === undefined) return undefined;
    const wanted = pulled.images.map((image) => this.#wantedOfNode(fromNode, image));
    const id = this.jobs.add(wanted, settings, pulled.leftOut);
    return id === undefined ? undefined : { id };
  }

  /** The manifest of a tag that a webhook tells of, where nobody has to be asked for whom. */
  manifest(remote: RemoteRepository, reference: Reference): void {
    const { registry: upstream, repository } = remote;
    if (this.#asksForCallers(upstream.name)) return;
    const target = {
      upstream,
      repository,
      allowed: true,
      onAbsent: false,
      onDenied: false,
      onFailure: false,
    };
    const image = `${remote.upstream}/${repository}:${referenceText(reference)}`;
    const routed = { targets: [target], reference };
    const begin = (): ImageRun => this.#run({ ...routed, platforms: [], manifestOnly: true });
    this.jobs.add([{ image, begin }], { origin: "webhook", platforms: [], bytesPerSecond: undefined });
  }

  // ---- for pins -----------------------------------------------------------------------------------------------

  /**
   * Begins to fetch pinned images, or their manifests alone; `over` is called for each that is done with, with why something
   * failed. Gives the job; undefined when too many wait.
   */
  fetchPinned(
    pins: readonly PinnedName[],
    withoutBlobs: boolean,
    over: (pin: PinnedName, failure: string | undefined) => void,
  ): string | undefined {
    const wanted = pins.map((pin): WantedImage => {
      const { begin, image } = this.#wanted(pinnedText(pin), () => this.#routePinned(pin), [], withoutBlobs);
      return {
        image,
        begin: (job) => {
          const run = begin(job);
          const ended = (): void => {
            const [first] = run.report().failures;
            over(pin, first && `${first.part}: ${first.reason}`);
          };
          return { ...run, run: (signal) => run.run(signal).finally(ended) };
        },
      };
    });
    return this.jobs.add(wanted, { origin: "pin", platforms: [], bytesPerSecond: undefined });
  }

  /** Asks its upstream once for all manifests of an image. `failure`: something of it has failed. Rejects with the signal's reason. */
  async manifestsOf(
    image: string,
    signal: AbortSignal,
  ): Promise<
    | { readonly name: PinnedName; readonly digest: Digest; readonly failure: string | undefined }
    | { readonly problem: string }
  > {
    const [routed, parts] = [this.#route(image), this.#parts];
    if ("refused" in routed) return { problem: routed.refused };
    if (parts === undefined) return { problem: "the node is not serving yet, or no more" };
    const away = new Set(routed.targets.map(({ upstream }) => upstream.name));
    const progress = new WarmProgress();
    await parts.warmer.warm({ ...routed, platforms: [], withoutBlobs: true, away }, progress, signal);
    const { origin, digest } = progress;
    const [first] = progress.failures;
    if (origin === undefined || digest === undefined)
      return { problem: first?.reason ?? "it cannot be found" };
    const { upstream } = origin;
    const name = {
      upstream,
      repository: origin.repository as Repository,
      reference: referenceText(routed.reference),
    };
    return { name, digest, failure: first && `${first.part}: ${first.reason}` };
  }

  /** The names an image may be pinned by: one for each upstream that may be asked for it. */
  namesOf(image: string): readonly PinnedName[] | { readonly problem: string } {
    const read = parseImageReference(image, referenceNames(this.#options.config()));
    if ("problem" in read) return read;
    const reference = referenceText(read.reference);
    const routed = this.#route(image);
    const others = "refused" in routed ? [] : routed.targets;
    const scopes = [
      read,
      ...others.map((each) => ({ upstream: each.upstream.name, repository: each.repository })),
    ];
    return scopes.flatMap(({ upstream, repository }) =>
      repository === undefined ? [] : [{ upstream, repository, reference }],
    );
  }

  #routePinned({ upstream, repository, reference: text }: PinnedName): RoutedImage {
    const reference = parseReference(text);
    if (reference === undefined) return { refused: "no reference" };
    const tag = reference.kind === "tag" ? reference.tag : undefined;
    const targets = this.#targets({ upstream, written: repository }, tag);
    // What another upstream has under the name is not what is pinned.
    return typeof targets === "string" ? { refused: targets } : { targets: targets.slice(0, 1), reference };
  }

  // ---- one image ----------------------------------------------------------------------------------------------

  /** `usual`: the platforms, unless the job names some. */
  #wanted(
    image: string,
    route = () => this.#route(image),
    usual: readonly string[] = [],
    withoutBlobs = false,
  ): WantedImage {
    return {
      image,
      begin: (job) => {
        const routed = route();
        if ("refused" in routed) return refusedRun(image, routed.refused);
        const named = job.platforms.length > 0 ? job.platforms : usual;
        const platforms = named.flatMap((text) => parsePlatform(text) ?? []);
        const { away, pace } = this.#sharedBy(job);
        const onBehalfOf = pace && ({ key: `job ${job.id}`, exempt: false, background: true, pace } as const);
        return this.#run({ ...routed, platforms, onBehalfOf, away, withoutBlobs });
      },
    };
  }

  #wantedOfNode(node: string, { upstream: id, repository, reference, platforms }: PulledImage): WantedImage {
    const [named = ""] = id.split("@", 1);
    const image = `${named}/${repository}${reference.kind === "tag" ? ":" : "@"}${referenceText(reference)}`;
    const route = (): RoutedImage => {
      const upstream = upstreamById(this.#options.config().upstreams, id);
      if (upstream === undefined)
        return {
          refused: `upstream ${named} of node ${node} is none of this node: its name or its url is another one`,
        };
      const tag = reference.kind === "tag" ? reference.tag : undefined;
      const targets = this.#targets({ upstream: upstream.name, written: repository }, tag);
      return typeof targets === "string" ? { refused: targets } : { targets, reference };
    };
    return this.#wanted(image, route, platforms);
  }

  #sharedBy(job: JobSettings): SharedByImages {
    const known = this.#shared.get(job);
    if (known !== undefined) return known;
    const { bytesPerSecond } = job;
    const { steady, pause } = this.#options;
    const made: SharedByImages = {
      away: new Set(),
      pace:
        bytesPerSecond === undefined
          ? undefined
          : new ByteRate(bytesPerSecond, steady, pause, this.#stopping.signal),
    };
    this.#shared.set(job, made);
    return made;
  }

  #run(request: WarmRequest): ImageRun {
    const progress = new WarmProgress();
    const parts = this.#parts;
    return {
      report: () => stateOf(progress, parts?.policy.blobs.fillings ?? []),
      recheck: () => parts?.warmer.recheck(progress),
      async run(signal) {
        if (parts === undefined) progress.fail(referenceText(request.reference), "the node is stopping");
        else await parts.warmer.warm(request, progress, signal);
      },
    };
  }

  #route(image: string): RoutedImage {
    const read = parseImageReference(image, referenceNames(this.#options.config()));
    if ("problem" in read) return { refused: read.problem };
    const { reference } = read;
    const targets = this.#targets(read, reference.kind === "tag" ? reference.tag : undefined);
    return typeof targets === "string" ? { refused: targets } : { targets, reference };
  }

  /** As a client's request by that name is routed; text says why it cannot be. */
  #targets(
    { upstream, written }: Pick<RepositoryReference, "upstream" | "written">,
    tag: string | undefined,
  ): readonly Target[] | string {
    const targets = this.#currentRouter().below(upstream, written, tag);
    if (targets === undefined) return "it names no upstream of this mirror";
    if (targets.some(({ upstream }) => this.#asksForCallers(upstream.name)))
      return `upstream ${targets[0].upstream.name} is asked with its callers' credentials alone (access: passthrough), and has no account for what no caller waits for`;
    return targets;
  }

  #asksForCallers(name: string): boolean {
    const upstream = this.#options.config().upstreams.find((each) => each.name === name);
    return upstream?.access === "passthrough" && upstream.auth.kind === "none";
  }

  #currentRouter(): Router {
    const config = this.#options.config();
    if (this.#router?.of !== config)
      this.#router = { of: config, router: createRouter(config, this.#parts?.upstreams() ?? []) };
    return this.#router.router;
  }

  // ---- schedules ----------------------------------------------------------------------------------------------

  /** To be called when there may be schedules where there were none. */
  keepTime(): void {
    if (this.#keepsTime || this.#parts === undefined || this.#schedules.length === 0) return;
    this.#keepsTime = true;
    void this.#watch()
      .catch(() => {})
      .finally(() => {
        this.#keepsTime = false;
      });
  }

  get #schedules() {
    return this.#options.config().warm ?? [];
  }

  /** What was due while the node did not run is left out. Rejects when the node stops. */
  async #watch(): Promise<void> {
    const { clock, pause } = this.#options;
    for (let seen = clock(); this.#schedules.length > 0; ) {
      const next = this.#schedules.map(({ at }) => dueAfter(at, seen));
      await pause(
        Math.max(1, Math.min(longestWait, ...next.map((at) => at - clock()))),
        this.#stopping.signal,
      );
      const now = clock();
      for (const schedule of this.#schedules)
        if (dueAfter(schedule.at, seen) <= now) void this.#start(schedule);
      // The clock may have been set back.
      seen = now;
    }
  }

  /** Begins the job of a schedule, unless the last one still runs. Never rejects. */
  async #start(schedule: NonNullable<Config["warm"]>[number]): Promise<void> {
    const key = JSON.stringify(schedule);
    const { at, images, platforms, bandwidth: bytesPerSecond } = schedule;
    const last = this.#lastJobs.get(key);
    const runs = last !== undefined && this.jobs.get(last)?.endedAt === null;
    if (runs || this.#starting.has(key)) {
      this.#options.log.warn(
        { at, job: runs ? last : undefined },
        "the last job of a schedule of warm still runs: this one is left out",
      );
      return;
    }
    this.#starting.add(key);
    const lists = Promise.all(images.map((image) => this.#expanded(image)));
    const wanted = (await lists.finally(() => this.#starting.delete(key))).flat();
    const id = this.jobs.add(wanted, { origin: "schedule", platforms, bytesPerSecond });
    const leftOut = wanted.length - maxImages;
    if (id === undefined)
      this.#options.log.warn({ at }, "too many jobs wait: a schedule of warm is left out");
    else if (leftOut > 0)
      this.#options.log.warn(
        { at, job: id, leftOut },
        `a job has at most ${maxImages} images: the others of a schedule of warm are left out; divide it`,
      );
    // No more than there are schedules; those of before a reload go with it.
    const known = new Set(this.#schedules.map((each) => JSON.stringify(each)));
    for (const each of this.#lastJobs.keys()) if (!known.has(each)) this.#lastJobs.delete(each);
    if (id !== undefined) this.#lastJobs.set(key, id);
  }

  /** The images of a pattern; one that fails where they cannot be found out. */
  async #expanded(image: string): Promise<WantedImage[]> {
    const name = parseRepositoryReference(image, referenceNames(this.#options.config()));
    if ("problem" in name || name.tag === undefined || referenceOf(name) !== undefined)
      return [this.#wanted(image)];
    const failed = (reason: string): WantedImage[] => [{ image, begin: () => refusedRun(image, reason) }];
    const targets = this.#targets(name, undefined);
    if (typeof targets === "string") return failed(targets);
    if (this.#parts === undefined) return [];
    const { listings } = this.#parts.policy;
    const listed = await tagsOfPattern(listings, targets, name.tag).catch((error: Error) => error.message);
    if (typeof listed === "string") return failed(listed);
    const before = image.trim().slice(0, image.trim().lastIndexOf(":"));
    return listed.map((tag) => this.#wanted(`${before}:${tag}`));
  }
}

/** When, in milliseconds since the epoch; Infinity for never. */
function dueAfter(at: string, time: number): number {
  return new Cron(at).nextRun(new Date(time))?.getTime() ?? Number.POSITIVE_INFINITY;
}

function refusedRun(image: string, reason: string): ImageRun {
  const progress = new WarmProgress();
  return {
    report: () => stateOf(progress, []),
    recheck() {},
    async run() {
      progress.fail(image, reason);
    },
  };
}

function stateOf(progress: WarmProgress, fillings: Policy["blobs"]["fillings"]): ImageState {
  const fills = new Map(fillings.map(({ fill }) => [fill.digest as string, fill]));
  const transfers: JobTransfer[] = [];
  let [partsHere, sizeBytes, hereBytes, fetchedBytes] = [0, 0, 0, 0];
  for (const { kind, name, size, state, fetched } of progress.parts) {
    const fill = kind === "blob" && state === "fetching" ? fills.get(name) : undefined;
    const here = state === "here" ? (size ?? 0) : (fill?.received ?? 0);
    if (state === "here") partsHere++;
    sizeBytes += Math.max(size ?? 0, here);
    hereBytes += here;
    if (fetched) fetchedBytes += here;
    if (fill !== undefined && transfers.length < maxTransfers)
      transfers.push({ digest: name, receivedBytes: here, sizeBytes: size ?? fill.size ?? null });
  }
  const { origin, digest = null, count: parts, retries, failures, failed } = progress;
  const { upstream = null, repository = null } = origin ?? {};
  return {
    ...{ upstream, repository, digest, parts, partsHere, sizeBytes, hereBytes, fetchedBytes, retries },
    transfers,
    failures: failures.map(({ part, reason }) => ({ part, reason: scrub(reason, longestReason) })),
    failed,
  };
}
