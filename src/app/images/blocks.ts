// Blocked digests (src/gate/verdict.ts says what follows from them): those of the file of this node, and those that were commanded
// here or on another node, now or while this one was away. A change counts here before anybody is told of it.
import type { Logger } from "pino";
import type { BlobCache } from "../../cache/blob-cache.ts";
import type { BlockFileConfig, Config } from "../../config/config.ts";
import { type BlockFile, isSameBlockFile, largestBlockFile, parseBlockFile } from "../../gate/block-file.ts";
import { type BlockChanges, BlockList } from "../../gate/block-list.ts";
import { BlockVerdicts } from "../../gate/verdict.ts";
import { WatchedFile } from "../../gate/watched-file.ts";
import { type Digest, parseDigest } from "../../oci/digest.ts";
import { BlockApi, type BlockProblem } from "../../ops/block/block-api.ts";
import type { BlockChange, BlocksReport } from "../../ops/block/block-report.ts";
import type { Health } from "../../ops/health.ts";
import type { Blocked } from "../../ports/block/blocked.ts";
import {
  type BlockCommand,
  type BlockExchange,
  type BlockStore,
  maxBlocks,
  merged,
  partsOf,
  readBlock,
  writeBlock,
} from "../../ports/block/blocks.ts";
import { blockedText } from "../../ports/block/verdict.ts";
import type { Clock, Pause } from "../../ports/clock.ts";
import { type Neighbours, type NodeCommands, nodePaths } from "../../ports/datacenter/nodes.ts";
import { inTime } from "../../ports/deadline.ts";
import type { NoticeSink } from "../../ports/event.ts";
import type { ImageGraph } from "../../ports/records.ts";
import type { Announcements } from "../../ports/shared.ts";
import { NextCall } from "../../ports/single-flight.ts";
import { noticeOfStoreError } from "../../ports/store-notice.ts";
import { AskedBlocks, maxBlocksAsked } from "../../upstream/node-blocks.ts";
import type { Workers } from "../../workers/workers.ts";
import { isAway, otherNodes } from "./other-nodes.ts";

/** Milliseconds between two looks at what other nodes know, when nobody tells of it. */
export const blockLookInterval = 15_000;
/** Milliseconds for another node to answer, and in which all that is done at a start has to be. */
const askTimeout = 1_000;
/** Digests of one change that have a line each in the log. */
const maxTold = 100;
/** Parts of one manifest, and images that a blocked layer is in, whose parts are looked up. */
const maxChildren = 4_000;
const maxImages = 50;

export interface BlocksOptions {
  /** That of now. */
  readonly config: () => Config;
  readonly health: Pick<Health, "set">;
  readonly log: Pick<Logger, "info" | "error">;
  readonly notices: NoticeSink;
  readonly clock: Clock;
  readonly steady: Clock;
  readonly pause: Pause;
}

export interface BlocksParts {
  readonly blobs: Pick<BlobCache, "beingSent" | "cut">;
  /** Left out: this process answers clients itself. */
  readonly workers?: Pick<Workers, "beingSent" | "block" | "forget"> | undefined;
  /** Undefined where nodes share nothing. */
  readonly exchange: BlockExchange | undefined;
  readonly announcements: Announcements | undefined;
  /** Undefined where no other node can be asked. */
  readonly commands: NodeCommands | undefined;
  readonly neighbours: Neighbours;
}

type Graph = Pick<ImageGraph, "parents" | "parts">;
type Node = BlockChange["nodes"][number];

export class Blocks {
  readonly api: BlockApi;
  readonly list = new BlockList();
  readonly verdicts: BlockVerdicts;
  readonly #options: BlocksOptions;
  readonly #looks = new NextCall();
  /** Manifests whose parts have become known since the last look at them. */
  readonly #stored = new Set<Digest>();
  readonly #stopping = new AbortController();
  #graph: Graph | undefined;
  #store: BlockStore | undefined;
  #parts: BlocksParts | undefined;
  #asked: BlockExchange | undefined;
  /** What nodes share could be reached the last time. */
  #isShared = false;
  #timer: NodeJS.Timeout | undefined;
  /** Ends the watch of the file that is used now. */
  #watching: { readonly path: string; readonly end: AbortController } | undefined;

  constructor(options: BlocksOptions) {
    this.#options = options;
    this.verdicts = new BlockVerdicts({
      list: this.list,
      graph: {
        parents: (...asked) => this.#graph?.parents(...asked) ?? [],
        parts: (...asked) => this.#graph?.parts(...asked) ?? [],
      },
      sharedElsewhere: (digest) => this.#isSharedElsewhere(digest),
      notices: options.notices,
      clock: options.steady,
    });
    this.api = new BlockApi({
      list: () => this.#report(),
      block: (digest, reason) => this.#command(digest, true, reason),
      unblock: (digest) => this.#command(digest, false, ""),
    });
  }

  /** Takes over what this node knows, before anything can be answered. Throws StoreError. */
  open(store: BlockStore, graph: Graph): void {
    this.#store = store;
    this.#graph = graph;
    this.list.take(store.all(), this.#options.clock());
    this.useFile(this.#options.config().block?.file);
  }

  /** From now on changes reach whoever is being answered, and the other nodes. Resolves when these were heard, or after a second. */
  async attach(parts: BlocksParts): Promise<void> {
    this.#parts = parts;
    const { announcements, commands, neighbours, exchange } = parts;
    const addresses = (): string[] => neighbours.list().flatMap(({ address }) => address ?? []);
    this.#asked = commands && new AskedBlocks({ nodes: commands, addresses });
    this.#timer = setInterval(() => void this.look(), blockLookInterval).unref();
    announcements?.subscribe(
      (announcement) => (announcement.kind === "blocked" ? this.look() : undefined),
      () => void this.look(),
    );
    if (exchange === undefined) return;
    this.#setHeard(false);
    await inTime(this.look(), askTimeout, this.#options.pause);
  }

  stop(): void {
    this.#stopping.abort();
    clearInterval(this.#timer);
    this.#watching?.end.abort();
    this.#parts = undefined;
  }

  #setHeard(heard: boolean): void {
    const detail = "what other nodes have blocked is not known yet: none could be asked, it is tried again";
    this.#options.health.set("blocks", heard, heard ? undefined : detail);
  }

  /** What is blocked by the file of this configuration, from now on. */
  useFile(file: BlockFileConfig | undefined): void {
    if (file?.path === this.#watching?.path) return;
    this.#watching?.end.abort();
    this.#watching = undefined;
    this.#changeFile(file?.digests ?? new Map());
    if (file === undefined) return;
    const end = new AbortController();
    this.#watching = { path: file.path, end };
    const { log, health, pause } = this.#options;
    const watched = new WatchedFile<BlockFile>({
      path: file.path,
      name: file.name,
      largest: largestBlockFile,
      parse: parseBlockFile,
      isSame: isSameBlockFile,
      changed: (next) => this.#changeFile(next),
      usable: () => health.set("block file", true),
      unusable: (problem) => {
        log.error({ problem }, "the file of blocked digests cannot be used: those read before stay");
        health.set("block file", false, `${problem}; those read before stay`);
      },
      content: file.digests,
    });
    void watched.watch(pause, end.signal);
  }

  #changeFile(digests: BlockFile): void {
    void this.#applied({ put: [], gone: [], leftOut: 0, ...this.list.useFile(digests) });
  }

  /** What a manifest names has become known. */
  readonly childrenSet = (manifest: Digest): void => {
    if (this.list.isEmpty) return;
    this.verdicts.changed();
    if (this.#stored.size === 0) setImmediate(() => this.#lookAtStored());
    this.#stored.add(manifest);
  };

  /** Of those that are refused, what goes with them is kept with what is blocked: other nodes do not know the manifest. */
  #lookAtStored(): void {
    const manifests = [...this.#stored];
    this.#stored.clear();
    this.verdicts.changed();
    const found = new Map<Digest, BlockCommand>();
    let isRefused = false;
    for (const manifest of manifests) {
      const verdict = this.#here(manifest);
      isRefused ||= verdict !== undefined;
      const command = verdict && this.list.command(verdict.digest);
      if (command === undefined) continue;
      const next = this.#withParts(found.get(command.digest) ?? command, manifest);
      if (next !== command) found.set(command.digest, next);
    }
    if (isRefused) void this.#parts?.workers?.forget({});
    if (found.size > 0) void this.#take([...found.values()]);
  }

  #here(digest: Digest): Blocked | undefined {
    try {
      const verdict = this.verdicts.here(digest);
      return verdict.kind === "allowed" ? undefined : verdict;
    } catch {
      // Told by a notice; who asks for it gets nothing meanwhile.
      return undefined;
    }
  }

  /** With what it names, or what is in the images that it is part of. */
  #withAllParts(command: BlockCommand): BlockCommand {
    let found = this.#withParts(command, command.digest);
    try {
      for (const image of this.#graph?.parents(command.digest, maxImages) ?? [])
        found = this.#withParts(found, image);
    } catch (error) {
      this.#options.notices(noticeOfStoreError("block.parts", error));
    }
    return found;
  }

  /** The command with what the manifest names, and what that names. Nodes that cannot be asked are told of no parts. */
  #withParts(command: BlockCommand, manifest: Digest): BlockCommand {
    if (this.#cannotAsk) return command;
    try {
      const children = this.#graph?.parts(manifest, maxChildren) ?? [];
      const below = children.flatMap(({ digest, role }) =>
        role === "manifest" ? (this.#graph?.parts(digest, maxChildren) ?? []) : [],
      );
      const named = [...children, ...below].map(({ digest }) => digest);
      return merged(command, { ...command, parts: partsOf(named.filter((each) => each !== command.digest)) });
    } catch (error) {
      this.#options.notices(noticeOfStoreError("block.parts", error));
      return command;
    }
  }

  /** There are other nodes, and no secret by which they answer: then a part that they share with other images would be refused. */
  get #cannotAsk(): boolean {
    return this.#parts?.exchange !== undefined && this.#parts.commands === undefined;
  }

  // ---- changes ------------------------------------------------------------------------------------------------

  /** Resolves when nothing that is refused now is given out here any more. Never rejects. */
  #take(commands: readonly BlockCommand[]): Promise<void> {
    const { clock, log } = this.#options;
    const changes = this.list.take(commands, clock());
    if (changes.leftOut > 0)
      log.error(
        { leftOut: changes.leftOut },
        `more than ${maxBlocks} digests are blocked by command: the others are not; use block.file`,
      );
    return this.#applied(changes);
  }

  async #applied({ put, gone, blocked, unblocked }: BlockChanges): Promise<void> {
    const { notices, log } = this.#options;
    if (put.length + gone.length + blocked.length + unblocked.length === 0) return;
    this.verdicts.changed();
    const cut = this.#cut(blocked);
    try {
      if (put.length > 0) this.#store?.put(put);
      if (gone.length > 0) this.#store?.remove(gone);
    } catch (error) {
      // It holds as long as this process runs, and longer on the other nodes.
      notices(noticeOfStoreError("block.put", error));
    }
    const changed = [...blocked, ...unblocked];
    if (changed.length > maxTold)
      log.info({ digests: changed.length, told: maxTold }, "many digests are blocked, or are no more");
    for (const digest of changed.slice(0, maxTold)) {
      const command = this.list.command(digest);
      notices({
        kind: "block",
        action: blocked.includes(digest) ? "blocked" : "unblocked",
        digest,
        reason: this.list.reasonOf(digest) ?? "",
        origin: command === undefined ? "file" : "command",
        node: command?.node,
      });
    }
    // A worker may hold what is refused only by what a command has brought of parts.
    if (put.length > 0) await this.#parts?.workers?.forget({});
    await cut;
  }

  /** Ends what is being sent of what is refused now. */
  async #cut(blocked: readonly Digest[]): Promise<void> {
    const { blobs, workers } = this.#parts ?? {};
    if (blobs === undefined) return;
    const sent = new Set([...blobs.beingSent, ...(workers?.beingSent ?? [])]);
    const parts = blocked.flatMap((digest) => this.list.command(digest)?.parts ?? []);
    const own: (readonly [Digest, Blocked])[] = [];
    const derived: Digest[] = [];
    for (const digest of new Set([...blocked, ...parts, ...sent])) {
      const verdict = this.#here(digest);
      if (verdict?.because === "part") derived.push(digest);
      else if (verdict !== undefined) own.push([digest, verdict]);
    }
    const end = async (cuts: readonly (readonly [Digest, Blocked])[]): Promise<void> => {
      for (const [digest, verdict] of cuts) blobs.cut(digest, verdict);
      if (cuts.length > 0) await workers?.block(cuts);
    };
    const asked = derived.map(async (digest) => [digest, await this.verdicts.settled(digest)] as const);
    const settled = Promise.all(asked).then((answers) =>
      answers.flatMap(([digest, verdict]): (readonly [Digest, Blocked])[] =>
        verdict.kind === "allowed" ? [] : [[digest, verdict]],
      ),
    );
    await Promise.all([end(own), settled.then(end, () => {})]);
  }

  // ---- the other nodes ----------------------------------------------------------------------------------------

  /** Hears what other nodes know, and has them hear. A call while one runs waits for another one after it. Never rejects. */
  look(): Promise<void> {
    return this.#looks.run(() => this.#look());
  }

  async #look(): Promise<void> {
    const { exchange } = this.#parts ?? {};
    if (exchange === undefined) return;
    const heard = await this.#exchange(exchange).catch(() => undefined);
    this.#isShared = heard !== undefined;
    // What is shared cannot be asked: other nodes may know.
    const found = heard ?? (await this.#exchange(this.#asked).catch(() => undefined));
    if (found === undefined) return;
    await this.#take(found);
    this.#setHeard(true);
  }

  async #exchange(exchange: BlockExchange | undefined): Promise<readonly BlockCommand[] | undefined> {
    const { clock } = this.#options;
    return await exchange?.exchange(this.list.ids(), (id) => this.list.ofId(id), clock());
  }

  async #tell(command: BlockCommand): Promise<Node[]> {
    const { announcements, commands, neighbours } = this.#parts ?? {};
    if (neighbours === undefined) return [];
    // So that the others find it where they look; at the same time they are told one by one.
    const shared = this.look().then(() =>
      announcements?.publish({ kind: "blocked", digest: command.digest }),
    );
    const isTold = inTime(shared, askTimeout, this.#options.pause);
    const others = otherNodes(this.#options.config(), neighbours.list());
    const asked = others.map(async ({ name, address }): Promise<Node> => {
      const node = { name, self: false };
      if (commands === undefined)
        return { ...node, state: (await isTold) && this.#isShared ? "told" : "unconfirmed" };
      if (address === null) return { ...node, state: "away" };
      try {
        const query = new URLSearchParams({ block: writeBlock({ ...command, parts: [] }) });
        const answer = await commands.command(address, nodePaths.blockNow, query, askTimeout);
        const { holds } = answer as { readonly holds?: unknown };
        return { ...node, state: holds === true ? "done" : "unconfirmed" };
      } catch (error) {
        return { ...node, state: isAway(error) ? "away" : "unconfirmed" };
      }
    });
    const nodes = await Promise.all(asked);
    await isTold;
    return nodes;
  }

  /** Who cannot be reached is taken for one that knows of no such image: whoever pulls one has asked another node for its manifest. */
  async #isSharedElsewhere(digest: Digest): Promise<boolean> {
    const { commands, neighbours } = this.#parts ?? {};
    if (commands === undefined) return false;
    const query = new URLSearchParams({ digest });
    const asked = (neighbours?.list() ?? []).map(async ({ address }) => {
      if (address === null) return false;
      const answer = await commands
        .command(address, nodePaths.blockUses, query, askTimeout)
        .catch(() => null);
      return (answer as { readonly shared?: unknown } | null)?.shared === true;
    });
    return (await Promise.all(asked)).includes(true);
  }

  /** See NodeQuestionsOptions.command. */
  async command(path: string, query: URLSearchParams): Promise<object | undefined> {
    if (path === nodePaths.blocks) return { ids: this.list.ids() };
    if (path === nodePaths.block) {
      const ids = (query.get("ids") ?? "").split(",", maxBlocksAsked);
      return { blocks: ids.flatMap((id) => this.list.ofId(id) ?? []).map(writeBlock) };
    }
    if (path === nodePaths.blockUses) {
      const digest = parseDigest(query.get("digest") ?? "");
      return { shared: digest !== undefined && this.verdicts.isShared(digest) };
    }
    if (path !== nodePaths.blockNow) return undefined;
    const command = readBlock(query.get("block") ?? "");
    if (command === undefined) return {};
    await this.#take([this.#withAllParts(command)]);
    // Other nodes may know more of what belongs to it.
    void this.look();
    const known = this.list.command(command.digest);
    // Something later may be known here.
    return { holds: known !== undefined && known.at >= command.at };
  }

  // ---- operators ----------------------------------------------------------------------------------------------

  async #command(digest: Digest, blocked: boolean, reason: string): Promise<BlockChange | BlockProblem> {
    const { clock, config } = this.#options;
    if (this.#parts === undefined)
      return { kind: "later", problem: "the node is not serving yet, or no more" };
    const before = this.list.command(digest);
    if (!blocked && before?.blocked !== true)
      return this.list.isInFile(digest)
        ? {
            kind: "refused",
            problem: `${digest} is blocked by block.file, and not by a command: take it out there`,
          }
        : { kind: "unknown", problem: `${digest} is not blocked` };
    const node = config().node.name;
    const at = Math.max(Math.round(clock()), (before?.at ?? 0) + 1);
    const parts = before?.parts ?? [];
    const command = this.#withAllParts({ digest, blocked, reason, at, node, parts });
    const here = this.#take([command]);
    if (this.list.command(digest)?.at !== at)
      return {
        kind: "refused",
        problem: `${digest} is not blocked: ${maxBlocks} digests are blocked by command already; use block.file`,
      };
    const [others] = await Promise.all([this.#tell(command), here]);
    // What the others said before they were told may not be so any more.
    this.verdicts.changed();
    return {
      schema: 1,
      digest,
      blocked,
      reason,
      at,
      stillInFile: this.list.isInFile(digest),
      nodes: [{ name: node, self: true, state: "done" }, ...others],
    };
  }

  #report(): BlocksReport {
    return { schema: 1, at: this.#options.clock(), blocks: this.told() };
  }

  /** What is blocked, for people and programs. */
  told(): BlocksReport["blocks"] {
    return this.list.listed().map(({ digest, reason, origin, command }) => ({
      digest,
      reason,
      origin,
      blockedAt: command?.at ?? null,
      node: command?.node ?? null,
      knownParts: command?.parts.length ?? 0,
    }));
  }

  /** What clients are told of it, as far as this node knows; undefined: it is not refused. Throws StoreError. */
  refused(digest: Digest): string | undefined {
    const verdict = this.verdicts.here(digest);
    return verdict.kind === "allowed" ? undefined : blockedText(verdict);
  }
}
