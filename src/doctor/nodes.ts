// The other nodes of the datacenter: those of the list `nodes`, and those that Redis knows to be alive. And the mirrors of other
// datacenters that are asked before the far registry.
import { type Config, plainUpstream } from "../config/config.ts";
import { fetchText } from "../outbound/json-document.ts";
import { NodeProof } from "../ports/datacenter/node-proof.ts";
import { HttpNodes } from "../upstream/nodes.ts";
import { checkVersion } from "../upstream/version-check.ts";
import { userAgent } from "../version.ts";
import { type Finding, failed, ok, type Part, warning } from "./examination.ts";

/** Nodes that are asked, of a datacenter's 64. */
const mostNodes = 64;

/** One check for each of the addresses, all at once. `addresses`: origins of the other nodes. */
export async function examineNodes(
  part: Part,
  { node }: Pick<Config, "node">,
  addresses: readonly string[],
): Promise<void> {
  const asked = addresses.slice(0, mostNodes).map((address) => ({ address, answer: ask(node, address) }));
  for (const { address, answer } of asked) await part.check(address, () => answer, { alone: true });
}

/** With the secret of the nodes its own summary is asked for; without, whether it is a mirror. Never rejects. */
async function ask(node: Config["node"], address: string): Promise<Finding> {
  const ending = new AbortController();
  try {
    if (node.secret === undefined) {
      await fetchText(new URL("/v2/", address), { userAgent, timeout: 2_000 });
      return ok("it answers");
    }
    const proof = new NodeProof(node.secret, Date.now);
    const nodes = new HttpNodes({
      node: node.name,
      proof,
      userAgent,
      upstreamId: () => undefined,
      signal: ending.signal,
    });
    const { name, version } = await nodes.summary(address);
    return ok(`it is ${name}, version ${version}`);
  } catch (error) {
    // One whose callers have to log in.
    if (node.secret === undefined && /answers 401$/.test((error as Error).message)) return ok("it answers");
    return refusal(error as Error);
  } finally {
    ending.abort();
  }
}

function refusal({ message }: Error): Finding {
  if (/answers 40[134]$/.test(message))
    return failed(
      `it does not take this node for one of its own: ${message}`,
      "Give all nodes the same node.secret, write node.address and nodes alike everywhere, and set the clocks by NTP.",
    );
  return warning(
    message,
    "Start it, let this machine reach it, or take it out of nodes; until then it is passed over.",
  );
}

/** One check for each sibling, all at once: none of them is needed, so one that is away is a warning. */
export async function examineSiblings(part: Part, siblings: NonNullable<Config["siblings"]>): Promise<void> {
  const asked = siblings.map(({ name, url, auth, tls }) => ({
    name,
    trouble: checkVersion({ ...plainUpstream(name, url), auth, ...(tls === undefined ? {} : { tls }) }),
  }));
  for (const { name, trouble } of asked)
    await part.check(
      name,
      async () => {
        const found = await trouble;
        if (found === undefined) return ok("it answers");
        const fix =
          found.code === "auth"
            ? "Correct its username and password in siblings."
            : "Correct its url in siblings, or let this machine reach it; until then it is passed over.";
        return found.code === "auth" ? failed(found.message, fix) : warning(found.message, fix);
      },
      { alone: true },
    );
}
