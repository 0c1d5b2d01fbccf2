// Which of the other nodes has a blob or manifest, so that it need not come the long way again.
import type { Digest } from "../../oci/digest.ts";
import type { Scope } from "../../ports/scope.ts";
import type { Nodes, Peers } from "../../ports/shared.ts";

/**
 * The address of the first node that says it can serve it to the repository without upstream; undefined when none does. Nodes
 * that do not answer count as having nothing. All are asked at once (16 at most), each for a bounded time.
 */
export async function nodeWith(
  { nodes, peers }: { readonly nodes?: Nodes | undefined; readonly peers?: Peers | undefined },
  scope: Scope,
  digest: Digest,
  as: "blob" | "manifest",
): Promise<string | undefined> {
  const others = nodes?.others() ?? [];
  if (peers === undefined || others.length === 0) return undefined;
  const answers = others.map(async (address) => {
    if (!(await peers.has(address, scope, digest, as))) throw new Error("not there");
    return address;
  });
  return await Promise.any(answers).catch(() => undefined);
}
