// What operators have done to images at once: purge and refresh, at the ops listener and on behalf of other nodes.
import { PurgeApi } from "../../ops/purge/purge-api.ts";
import type { Neighbours, NodeCommands } from "../../ports/datacenter/nodes.ts";
import type { Upstream } from "../../ports/upstream.ts";
import type { DiskStore } from "../../storage/disk/store.ts";
import type { SqliteIndex } from "../../storage/index/sqlite-index.ts";
import type { Policy } from "../policy.ts";
import type { SharedParts } from "../sharing.ts";
import { Purges, type PurgesOptions } from "./purges.ts";
import { Refreshes } from "./refresh.ts";

export interface ImageCommandsParts {
  readonly store: DiskStore;
  readonly index: SqliteIndex;
  readonly policy: Policy;
  readonly shared: SharedParts;
  /** Those of now. */
  readonly upstreams: () => readonly Upstream[];
  readonly neighbours: Neighbours;
  /** Resolves when no worker answers any more from what it remembers. */
  readonly forgetWorkers: () => Promise<void>;
}

export class ImageCommands {
  readonly api: PurgeApi;
  readonly #purges: Purges;
  readonly #refreshes: Refreshes;
  readonly #options: PurgesOptions;

  constructor(options: PurgesOptions) {
    this.#options = options;
    this.#purges = new Purges(options);
    this.#refreshes = new Refreshes(options);
    this.api = new PurgeApi({ purge: this.#purges.purge, refresh: this.#refreshes.refresh });
  }

  /** See Purges.attach. */
  async attach(parts: ImageCommandsParts): Promise<void> {
    const { store, index, policy, shared, upstreams, neighbours, forgetWorkers } = parts;
    const { notices } = this.#options;
    const commands: NodeCommands | undefined = shared.otherNodes;
    const common = { ...policy, upstreams, commands, neighbours };
    this.#refreshes.attach({
      ...common,
      tags: shared.tags,
      known: (subject) => this.#purges.known(subject),
    });
    await this.#purges.attach({
      purger: {
        ...policy,
        graph: index.graph,
        index: index.blobs,
        record: async (scope, tag) => await shared.tags.get(scope, tag),
        tagsOf: (...page) => index.tags.page(...page),
        repositoriesOf: (...asked) => index.links.repositoriesOf(...asked),
        linked: (scope, after, limit) =>
          index.links.page(scope, after as Parameters<typeof index.links.page>[1], limit),
        store,
        shared: shared.sharing.blobs,
        sharedUsable: shared.redisUsable,
        upstreams: () => this.#options.config().upstreams.map(({ name }) => name),
        forgetWorkers,
        notices,
      },
      list: index.purges,
      pins: index.pins,
      exchange: shared.purges,
      announcements: shared.announcements,
      commands,
      neighbours,
    });
  }

  /** See Purges. */
  get heardOthers(): Promise<void> {
    return this.#purges.heardOthers;
  }

  /** What another node asks of this one; see NodeQuestionsOptions. */
  async command(path: string, query: URLSearchParams): Promise<object | undefined> {
    return (await this.#purges.command(path, query)) ?? (await this.#refreshes.command(path, query));
  }

  async stop(): Promise<void> {
    this.#refreshes.stop();
    await this.#purges.stop();
  }
}
