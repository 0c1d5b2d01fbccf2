// Which parts of an image the other nodes of the datacenter have.
import type { Digest } from "../../oci/digest.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import type { ExplainedPart } from "./stats-document.ts";

/**
 * The parts, with the nodes that have them, and the names of those that have not said it within a second, cannot be asked or
 * are unreachable. What another node has is here: the balancer sends whoever asks for it there. All of the parts (at most
 * 500) are one question to each node.
 */
export async function partsOfAll(
  parts: readonly ExplainedPart[],
  neighbours: Neighbours | undefined,
): Promise<{ readonly parts: readonly ExplainedPart[]; readonly silent: readonly string[] }> {
  const others = parts.length === 0 ? [] : (neighbours?.list() ?? []);
  const digests = parts.map(({ digest }) => digest as Digest);
  const silent: string[] = [];
  const holders = new Map<string, string[]>();
  const asked = others.map(async ({ name, address }) => {
    try {
      if (neighbours?.nodes === undefined || address === null) throw new Error("it cannot be asked");
      const held = await neighbours.nodes.holding(address, digests);
      for (const digest of held) holders.set(digest, [...(holders.get(digest) ?? []), `node ${name}`]);
    } catch {
      silent.push(name);
    }
  });
  await Promise.all(asked);
  const known = parts.map((part): ExplainedPart => {
    const nodes = holders.get(part.digest)?.sort();
    return nodes === undefined ? part : { ...part, state: "here", where: [...part.where, ...nodes] };
  });
  return { parts: known, silent: silent.sort() };
}
