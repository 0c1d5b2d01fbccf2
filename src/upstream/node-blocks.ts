// Blocked digests where nodes ask each other: which commands the others know.
import { type BlockCommand, type BlockExchange, blockId, readBlock } from "../ports/block/blocks.ts";
import { type NodeCommands, nodePaths } from "../ports/datacenter/nodes.ts";

/** Milliseconds for an answer. */
const timeout = 1_000;
/** Commands asked for at once: each has 40 KB at most. */
export const maxBlocksAsked = 20;

export interface AskedBlocksOptions {
  readonly nodes: NodeCommands;
  /** Of the other nodes, at most 64. */
  readonly addresses: () => readonly string[];
}

export class AskedBlocks implements BlockExchange {
  readonly #options: AskedBlocksOptions;

  constructor(options: AskedBlocksOptions) {
    this.#options = options;
  }

  /** What this node knows the others ask for themselves. */
  async exchange(own: readonly string[]): Promise<readonly BlockCommand[]> {
    const addresses = this.#options.addresses();
    if (addresses.length === 0) throw new Error("no other node is known that could be asked");
    const known = new Set(own);
    const found = new Map<string, BlockCommand>();
    const asked = addresses.map((address) => this.#ask(address, known, found));
    const answers = await Promise.allSettled(asked);
    const [failed] = answers.filter(({ status }) => status === "rejected");
    if (failed?.status === "rejected" && answers.every(({ status }) => status === "rejected"))
      throw failed.reason;
    return [...found.values()];
  }

  async #ask(address: string, known: ReadonlySet<string>, found: Map<string, BlockCommand>): Promise<void> {
    const { nodes } = this.#options;
    const listed = await nodes.command(address, nodePaths.blocks, new URLSearchParams(), timeout);
    const { ids } = listed as { readonly ids?: unknown };
    const unknown = (Array.isArray(ids) ? ids : []).filter(
      (id): id is string => typeof id === "string" && !known.has(id) && !found.has(id),
    );
    for (let at = 0; at < unknown.length; at += maxBlocksAsked) {
      const query = new URLSearchParams({ ids: unknown.slice(at, at + maxBlocksAsked).join(",") });
      const answer = await nodes.command(address, nodePaths.block, query, timeout);
      const { blocks } = answer as { readonly blocks?: unknown };
      for (const text of Array.isArray(blocks) ? blocks : []) {
        const block = typeof text === "string" ? readBlock(text) : undefined;
        if (block !== undefined) found.set(blockId(block), block);
      }
    }
  }
}
