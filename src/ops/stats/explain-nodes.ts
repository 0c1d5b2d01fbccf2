// Which parts of an image the other nodes of the datacenter have.
import type { Digest } from "../../oci/digest.ts";
import type { Neighbours } from "../../ports/datacenter/nodes.ts";
import { OtherDisks } from "./elsewhere.ts";
import type { ExplainedPart } from "./stats-document.ts";

/**
 * The parts, with the nodes that have them, and the names of those that have not said it within a second, cannot be asked or
 * are unreachable. What another node has is here. All of the parts (at most 500) are one question to each node.
 */
export async function partsOfAll(
  parts: readonly ExplainedPart[],
  neighbours: Neighbours | undefined,
): Promise<{ readonly parts: readonly ExplainedPart[]; readonly silent: readonly string[] }> {
  if (parts.length === 0) return { parts, silent: [] };
  const disks = new OtherDisks(neighbours);
  const holders = await disks.holders(parts.map(({ digest }) => digest as Digest));
  const known = parts.map((part): ExplainedPart => {
    const nodes = holders.get(part.digest as Digest);
    return nodes === undefined ? part : { ...part, state: "here", where: [...part.where, ...nodes] };
  });
  return { parts: known, silent: disks.silent };
}
