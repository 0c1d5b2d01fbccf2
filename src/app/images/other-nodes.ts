// The other nodes of the datacenter, as a command of an operator asks them.
import type { Config } from "../../config/config.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";

export interface OtherNode {
  readonly name: string;
  /** Null of one that cannot be asked. */
  readonly address: string | null;
}

/** By name, each once; one of the configured list that has not been heard of yet is named by its address. */
export function otherNodes(
  { node, nodes }: { readonly node: Pick<Config["node"], "address">; readonly nodes: Config["nodes"] },
  known: ReturnType<Neighbours["list"]>,
): readonly OtherNode[] {
  const isKnown = (listed: string): boolean =>
    known.some(({ address, lastAddress }) => listed === address || listed === lastAddress);
  const unknown = nodes.filter((address) => address !== node.address && !isKnown(address));
  const all = [
    ...known.map(({ name, address }) => ({ name, address })),
    ...unknown.map((address) => ({ name: address, address })),
  ];
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Whether nobody was there to be asked. One that refuses, or says nothing in time, is there. */
export function isAway(error: unknown): boolean {
  const { cause } = error instanceof Error ? error : {};
  return (cause as NodeJS.ErrnoException | undefined)?.code !== undefined;
}
