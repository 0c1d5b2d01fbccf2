// One tag or image asked for again on demand (`entrepot refresh`): of a tag what upstream says it is now, whatever its time to live;
// of a digest whether what is stored still has it. On every node of the datacenter, as far as they can be asked.
import type { Logger } from "pino";
import type { BlobCache } from "../../cache/blob-cache.ts";
import type { Confirmations } from "../../cache/confirmations.ts";
import type { Listings } from "../../cache/listings.ts";
import type { LocalBlobs } from "../../cache/local-blobs.ts";
import type { Manifests } from "../../cache/manifests.ts";
import type { NegativeAnswers } from "../../cache/negative-answers.ts";
import type { PurgePlan } from "../../cache/purge/purge-plan.ts";
import type { Config } from "../../config/config.ts";
import { parseRepository, type Tag } from "../../oci/name.ts";
import { parseReference, type Reference, referenceText } from "../../oci/reference.ts";
import type { PurgeApiOptions } from "../../ops/purge/purge-api.ts";
import { type RefreshedNode, refreshedStates } from "../../ops/purge/purge-report.ts";
import { maxNodes } from "../../ops/purge/purge-schema.ts";
import { type ImageReference, parseImageReference } from "../../ops/stats/image-reference.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import { type Neighbours, type NodeCommands, nodePaths } from "../../ports/datacenter/nodes.ts";
import { idOfUpstream, upstreamById } from "../../ports/datacenter/upstream-id.ts";
import { inTime } from "../../ports/deadline.ts";
import type { PurgeSubject } from "../../ports/purge/purges.ts";
import type { TagStore } from "../../ports/records.ts";
import { eachAtOnce } from "../../ports/turns.ts";
import { type RemoteRepository, remoteRepository, type Upstream } from "../../ports/upstream.ts";
import { scrub } from "../../telemetry/scrub.ts";
import { isAway, otherNodes } from "./other-nodes.ts";
import { referenceNames } from "./reference-names.ts";

/** Milliseconds for an answer of upstream and for hashing, after which the answer says that it goes on; and for another node's. */
const patience = 20_000;
const askTimeout = 25_000;
/** Parts hashed at once. */
const atOnce = 2;
/** Images hashed at once, for this node's operators and other nodes. */
const maxVerified = 4;
const longestProblem = 500;

export interface RefreshParts {
  /** Those of now. */
  readonly upstreams: () => readonly Upstream[];
  readonly tags: Pick<TagStore, "get">;
  readonly manifests: Pick<Manifests, "refreshNow" | "open">;
  readonly blobs: Pick<BlobCache, "open">;
  readonly local: Pick<LocalBlobs, "checks">;
  readonly negative: Pick<NegativeAnswers, "forget">;
  readonly listings: Pick<Listings, "forget">;
  readonly confirmations: Pick<Confirmations, "forget">;
  /** What an image has. */
  readonly known: (subject: PurgeSubject) => Promise<PurgePlan | undefined>;
  readonly commands: NodeCommands | undefined;
  readonly neighbours: Neighbours;
}

export interface RefreshOptions {
  /** That of now. */
  readonly config: () => Config;
  readonly log: Pick<Logger, "warn">;
  readonly clock: Clock;
  readonly pause: Pause;
}

type Outcome = Omit<RefreshedNode, "name" | "self">;

const nothing = { was: null, is: null, checked: 0, wrong: 0, bytes: 0, problem: null } as const;

export class Refreshes {
  readonly #options: RefreshOptions;
  #parts: RefreshParts | undefined;
  #verifying = 0;

  constructor(options: RefreshOptions) {
    this.#options = options;
  }

  attach(parts: RefreshParts): void {
    this.#parts = parts;
  }

  stop(): void {
    this.#parts = undefined;
  }

  readonly refresh: PurgeApiOptions["refresh"] = async (text) => {
    const { config, clock } = this.#options;
    const image = parseImageReference(text, referenceNames(config()));
    if ("problem" in image) return image;
    if (this.#parts === undefined) return undefined;
    const { upstream, repository, reference, chosenBy } = image;
    const others = this.#others(image);
    const own = { name: config().node.name, self: true, ...(await this.#here(image)) };
    return {
      schema: 1,
      at: clock(),
      upstream,
      repository,
      reference: referenceText(reference),
      chosenBy,
      nodes: [own, ...(await others)].slice(0, maxNodes),
    };
  };

  /** What another node asks this one to do; see NodeQuestionsOptions.command. */
  async command(path: string, query: URLSearchParams): Promise<object | undefined> {
    if (path !== nodePaths.refresh || this.#parts === undefined) return undefined;
    const upstream = upstreamById(this.#options.config().upstreams, query.get("upstream"))?.name;
    const repository = parseRepository(query.get("repository") ?? "");
    const reference = parseReference(query.get("reference") ?? "");
    if (upstream === undefined || repository === undefined || reference === undefined) return undefined;
    return await this.#here({ upstream, repository, reference });
  }

  async #others(image: ImageReference): Promise<RefreshedNode[]> {
    const { commands, neighbours } = this.#parts ?? {};
    const upstream = idOfUpstream(this.#options.config().upstreams, image.upstream);
    if (commands === undefined || neighbours === undefined || upstream === undefined) return [];
    const query = new URLSearchParams({
      upstream,
      repository: image.repository,
      reference: referenceText(image.reference),
    });
    const asked = otherNodes(this.#options.config(), neighbours.list()).map(
      async ({ name, address }): Promise<RefreshedNode> => {
        const node = { name, self: false };
        if (address === null) return { ...node, ...nothing, state: "away" };
        try {
          const answer = await commands.command(address, nodePaths.refresh, query, askTimeout);
          return { ...node, ...readOutcome(answer) };
        } catch (error) {
          if (isAway(error)) return { ...node, ...nothing, state: "away" };
          const problem = error instanceof Error ? error.message : String(error);
          return { ...node, ...nothing, state: "failed", problem: scrub(problem, longestProblem) };
        }
      },
    );
    return await Promise.all(asked);
  }

  async #here(image: Pick<ImageReference, "upstream" | "repository" | "reference">): Promise<Outcome> {
    const parts = this.#parts;
    const upstream = parts?.upstreams().find(({ name }) => name === image.upstream);
    if (parts === undefined || upstream === undefined)
      return { ...nothing, state: "failed", problem: "the node is not serving" };
    const remote = remoteRepository(upstream, image.repository);
    try {
      return await this.#refreshed(parts, remote, image.reference);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return { ...nothing, state: "failed", problem: scrub(message, longestProblem) };
    }
  }

  async #refreshed(parts: RefreshParts, remote: RemoteRepository, reference: Reference): Promise<Outcome> {
    const { negative, listings, confirmations } = parts;
    listings.forget(remote);
    confirmations.forget(remote);
    await negative.forget(remote);
    if (reference.kind === "digest") return await this.#verified(parts, remote, reference);
    const config = this.#options.config().upstreams.find(({ name }) => name === remote.upstream);
    if (config?.access === "passthrough" && config.auth.kind === "none")
      return {
        ...nothing,
        state: "failed",
        problem: "it is asked with its callers' credentials alone (access: passthrough)",
      };
    return await tagNow(parts, remote, reference.tag);
  }

  async #verified(
    parts: RefreshParts,
    remote: RemoteRepository,
    reference: Reference & { readonly kind: "digest" },
  ): Promise<Outcome> {
    const { upstream, repository } = remote;
    const subject = { scope: { upstream, repository }, tag: undefined, digest: reference.digest };
    const plan = await parts.known(subject);
    const all = [...(plan?.goes ?? []), ...(plan?.stays ?? [])];
    let [checked, wrong, bytes] = [0, 0, 0];
    if (this.#verifying >= maxVerified)
      return { ...nothing, state: "failed", problem: "four images are being hashed; ask again later" };
    this.#verifying++;
    const hashing = eachAtOnce(all, atOnce, async ({ digest, role, size = 0, here }) => {
      const result = here ? await parts.local.checks.check(digest, "read") : "absent";
      if (result === "sound" || result === "wrong") {
        checked++;
        bytes += size;
      }
      // What of it was never asked for is none of it.
      if (result === "sound" || result === "unknown" || (!here && digest !== reference.digest)) return;
      wrong++;
      const byDigest: Reference = { kind: "digest", digest };
      const opened =
        role === "manifest" || digest === reference.digest
          ? await parts.manifests.open(remote, byDigest)
          : await parts.blobs.open(remote, digest);
      if (opened.kind === "found" && "reader" in opened) {
        try {
          await opened.reader.arrived?.(opened.size ?? Number.MAX_SAFE_INTEGER);
        } finally {
          await opened.reader.close();
        }
      } else if (opened.kind !== "found" && opened.kind !== "elsewhere")
        throw new Error(`${digest} was ${here ? "wrong" : "not here"}, and upstream does not give it`);
    });
    // Those that go on after their answers count as well.
    const work = hashing.finally(() => this.#verifying--);
    const inPatience = await inTime(work, patience, this.#options.pause);
    if (inPatience) await work;
    else
      work.catch((error: unknown) => {
        const problem = scrub(error instanceof Error ? error.message : String(error), longestProblem);
        this.#options.log.warn(
          { upstream, repository, digest: reference.digest, problem },
          "a refresh that went on after its answer has failed",
        );
      });
    const state = !inPatience ? "running" : wrong > 0 ? "fetched" : "sound";
    return { ...nothing, state, was: reference.digest, is: reference.digest, checked, wrong, bytes };
  }
}

async function tagNow(parts: RefreshParts, remote: RemoteRepository, tag: Tag): Promise<Outcome> {
  const before = await parts.tags.get(remote, tag);
  const was = before?.digest ?? null;
  const opened = await parts.manifests.refreshNow(remote, tag);
  if (opened.kind !== "found") return { ...nothing, state: "gone", was };
  if ("reader" in opened) await opened.reader.close();
  const { digest: is } = opened;
  return { ...nothing, state: was === null ? "new" : was === is ? "unchanged" : "moved", was, is };
}

/** What another node has answered. Throws for what it cannot be. */
function readOutcome(answer: unknown): Outcome {
  const { state, was, is, checked, wrong, bytes, problem } = (answer ?? {}) as Partial<
    Record<string, unknown>
  >;
  // No node says of itself that it is away.
  const known = refreshedStates.find((each) => each === state && each !== "away");
  if (known === undefined) throw new Error("it says something else");
  const text = (value: unknown) => (typeof value === "string" ? value.slice(0, longestProblem) : null);
  const count = (value: unknown) => (typeof value === "number" && value >= 0 ? value : 0);
  return {
    state: known,
    was: text(was),
    is: text(is),
    checked: count(checked),
    wrong: count(wrong),
    bytes: count(bytes),
    problem: text(problem),
  };
}
