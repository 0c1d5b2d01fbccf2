// Purges where nodes are named by a list: each asks the others which ones they know.
import { type NodeCommands, nodePaths } from "../ports/datacenter/nodes.ts";
import { type Purge, type PurgeExchange, readPurge } from "../ports/purge/purges.ts";

/** Milliseconds for an answer. */
const timeout = 1_000;

export interface AskedPurgesOptions {
  readonly nodes: NodeCommands;
  /** Of the other nodes, at most 64. */
  readonly addresses: readonly string[];
  /** From what nodes call an upstream to its name here; undefined: this node does not have it. */
  readonly nameOf: (id: string) => string | undefined;
}

export class AskedPurges implements PurgeExchange {
  readonly #options: AskedPurgesOptions;

  constructor(options: AskedPurgesOptions) {
    this.#options = options;
  }

  /** What this node knows the others ask for themselves. */
  async exchange(own: readonly string[]): Promise<readonly Purge[]> {
    const known = new Set(own);
    const found = new Map<string, Purge>();
    const asked = this.#options.addresses.map((address) => this.#ask(address, known, found));
    const answers = await Promise.allSettled(asked);
    const [failed] = answers.filter(({ status }) => status === "rejected");
    if (failed?.status === "rejected" && answers.every(({ status }) => status === "rejected"))
      throw failed.reason;
    return [...found.values()];
  }

  async #ask(address: string, known: ReadonlySet<string>, found: Map<string, Purge>): Promise<void> {
    const { nodes, nameOf } = this.#options;
    const listed = await nodes.command(address, nodePaths.purges, new URLSearchParams(), timeout);
    const { ids } = listed as { readonly ids?: unknown };
    for (const id of Array.isArray(ids) ? ids : []) {
      if (typeof id !== "string" || known.has(id) || found.has(id)) continue;
      const answer = await nodes.command(address, nodePaths.purge, new URLSearchParams({ id }), timeout);
      const { purge: text } = answer as { readonly purge?: unknown };
      const purge = typeof text === "string" ? readPurge(text, nameOf) : undefined;
      if (purge?.id === id) found.set(id, purge);
    }
  }
}
