// The workers of this node and what they change in it: the records whose changes they are told of, the uses they report,
// the events they send.
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { asksForNames, type Config } from "../config/config.ts";
import type { ClientLimits } from "../http/client-limits.ts";
import { parseDigest } from "../oci/digest.ts";
import type { Repository, Tag } from "../oci/name.ts";
import type { Clock, Pause } from "../ports/clock.ts";
import type { EventSink, Notice, RequestEvent } from "../ports/event.ts";
import type { BlobIndex, LinkStore, TagStore } from "../ports/records.ts";
import type { Scope } from "../ports/scope.ts";
import type { Announcement } from "../ports/shared.ts";
import type { ServerTls } from "../ports/tls-front.ts";
import { AnnouncedLinks, AnnouncedTags } from "../workers/announced-records.ts";
import type { CallerMatters } from "../workers/answering.ts";
import type { Forget } from "../workers/grants.ts";
import type { WorkerOtel, WorkerSettings } from "../workers/messages.ts";
import { socketPathIn, Workers, type WorkersOptions } from "../workers/workers.ts";

export interface NodeWorkersOptions {
  readonly count: number;
  readonly fork: WorkersOptions["fork"];
  readonly config: Config;
  readonly limits: ClientLimits & { readonly exempt: readonly string[] };
  readonly pseudonym: string;
  /** What clients are answered with from now on; undefined: plain HTTP. */
  readonly tls: () => ServerTls | undefined;
  readonly onEvent: EventSink;
  /** So many events could not be sent here. */
  readonly lost: (events: number) => void;
  /** See WorkerSettings. */
  readonly otel?: WorkerOtel | undefined;
  readonly spansLost?: WorkersOptions["spansLost"];
  readonly index: Pick<BlobIndex, "touch">;
  /** A client of a worker was given the tag. */
  readonly asked: (scope: Scope, tag: Tag) => void;
  readonly readiness: WorkersOptions["readiness"];
  readonly unreadable: WorkersOptions["unreadable"];
  readonly log: WorkersOptions["log"];
  readonly clock: Clock;
  readonly pause: Pause;
}

export class NodeWorkers {
  readonly processes: Workers;
  /** Path of the unix socket at which this process answers the workers. */
  readonly socket: string;
  readonly #options: NodeWorkersOptions;

  constructor(options: NodeWorkersOptions) {
    this.#options = options;
    const { count, fork, config, limits, readiness, log, clock, pause } = options;
    this.socket = socketPathIn(config.cache.dir);
    this.processes = new Workers({
      count,
      fork,
      settings: this.#settingsOf(config, limits),
      events: { onEvent: (event) => this.#take(event), lost: options.lost },
      readiness,
      unreadable: options.unreadable,
      spansLost: options.spansLost,
      log,
      clock,
      pause,
    });
  }

  #settingsOf(
    config: Config,
    { exempt, openAnswers, waiting }: NodeWorkersOptions["limits"],
  ): WorkerSettings {
    const { listen, cache, via, cacheStatus, serverTiming, trustedProxies, upstreams } = config;
    return {
      listen,
      tls: this.#options.tls(),
      socket: this.socket,
      cacheDirectory: cache.dir,
      pseudonym: this.#options.pseudonym,
      via,
      cacheStatus,
      serverTiming,
      trustedProxies: trustedProxies ?? [],
      exempt,
      basePath: config.basePath ?? "",
      openAnswers,
      workers: this.#options.count,
      waiting,
      callerMatters: callerMatters(config),
      certificates: config.access?.certificates,
      otel: this.#options.otel,
      hostMatters: upstreams.some(({ hosts }) => hosts.length > 0),
    };
  }

  /** Another configuration counts from now on. */
  use(config: Config, limits: NodeWorkersOptions["limits"]): void {
    this.processes.use(this.#settingsOf(config, limits));
  }

  async stop(): Promise<void> {
    await this.processes.stop();
    // Its directory, too, when that was made for it.
    const directory = dirname(this.socket);
    const left = directory === this.#options.config.cache.dir ? this.socket : directory;
    await rm(left, { recursive: true, force: true });
  }

  /** The records, whose changes workers have acknowledged when they are done. */
  announced({ tags, links }: { readonly tags: TagStore; readonly links: LinkStore }): {
    readonly tags: TagStore;
    readonly links: LinkStore;
  } {
    const tell = (forget: Forget): Promise<void> => this.processes.forget(forget);
    return { tags: new AnnouncedTags(tags, tell), links: new AnnouncedLinks(links, tell) };
  }

  /** Another node has changed something. Resolves when no worker answers any more from before it. */
  async heard(announcement: Announcement): Promise<void> {
    if (announcement.kind !== "tag" && announcement.kind !== "unlinked") return;
    const { scope } = announcement;
    await this.processes.forget(announcement.kind === "tag" ? scope : { upstream: scope.upstream });
  }

  /** While an upstream is away, what may be served without it is asked anew. */
  onNotice(notice: Notice): void {
    if (notice.kind === "circuit") void this.processes.forget({ upstream: notice.upstream });
  }

  #take(event: RequestEvent): void {
    const { onEvent, index, asked } = this.#options;
    onEvent(event);
    const digest = event.result === "hit" ? parseDigest(event.content?.digest ?? "") : undefined;
    if (digest === undefined) return;
    index.touch(digest, event.time.getTime());
    const { route, upstream, repository, reference } = event;
    if (route !== "manifest_tag" || upstream === undefined) return;
    // As the primary has said it in the grant.
    asked({ upstream, repository: repository as Repository }, reference as Tag);
  }
}

/** What of a client its rights depend on. */
function callerMatters({ access, limits }: Config): CallerMatters {
  return {
    credentials: asksForNames(access) || access?.passthrough !== undefined,
    certificate: access?.certificates !== undefined,
    // What one caller is granted must not be given to another, whose rate is limited.
    address:
      (access?.rules.some(({ networks }) => networks.length > 0) ?? false) || (limits?.rules.length ?? 0) > 0,
  };
}
