// Digests that no node of the datacenter gives out any more, as operators have commanded it. What a command says is kept by every
// node, and travels between them; implementations live in src/storage and src/upstream.
import { createHash } from "node:crypto";
import { z } from "zod";
import { type Digest, parseDigest } from "../../oci/digest.ts";

/** Digests blocked by command that are kept, in all nodes of the datacenter. */
export const maxBlocks = 2_000;
/** Characters of a reason. */
export const longestReason = 300;
/** What goes with one digest, and with all of them together, as far as it is kept. */
export const maxPartsOfBlock = 500;
export const maxPartsInAll = 100_000;
/** Milliseconds: 30 days. As long a node may be away, and hear that something is blocked no more. */
export const forgetUnblocked = 30 * 86_400_000;

/** What was last commanded of a digest: that it be blocked, or no more. */
export interface BlockCommand {
  readonly digest: Digest;
  readonly blocked: boolean;
  /** For people, at most `longestReason` characters. */
  readonly reason: string;
  /** Milliseconds since the epoch, by the clock of the node that was told. */
  readonly at: number;
  /** Name of that node. */
  readonly node: string;
  /**
   * What belongs to it: configs, layers and manifests that a blocked manifest names, or that are in images with a blocked layer; in
   * the order of the digests, at most `maxPartsOfBlock`. Nodes that have not seen the manifest know them from here.
   */
  readonly parts: readonly Digest[];
}

/** The commands as this node keeps them. All throw StoreError. */
export interface BlockStore {
  all(): readonly BlockCommand[];
  /** In one write. */
  put(commands: readonly BlockCommand[]): void;
  remove(digests: readonly Digest[]): void;
}

/** How nodes tell each other of commands. */
export interface BlockExchange {
  /**
   * Gives the other nodes what they lack of `own` (`blockId`), where they have to be given, and resolves with those of theirs that
   * are not in `own`. Rejects, within seconds, when nobody can be asked.
   */
  exchange(
    own: readonly string[],
    get: (id: string) => BlockCommand | undefined,
    now: number,
  ): Promise<readonly BlockCommand[]>;
}

/** Tells apart all that was ever known of a digest; of two with the same digest the later one, or the one with more parts, is greater. */
export function blockId({ digest, at, blocked, parts }: BlockCommand): string {
  const hash = createHash("sha256")
    .update(`${blocked} ${parts.join(" ")}`)
    .digest("hex")
    .slice(0, 12);
  return `${digest}@${String(at).padStart(13, "0")}+${String(parts.length).padStart(3, "0")}-${hash}`;
}

const idGrammar = /^(sha(?:256|512):[0-9a-f]{64,128})@(\d{13})\+\d{3}-[0-9a-f]{12}$/;

/** Of these ids the ones that are kept: the greatest of each digest, of at most twice `maxBlocks` digests, those commanded last. */
export function keptBlockIds(ids: readonly string[]): readonly string[] {
  const greatest = new Map<string, string>();
  for (const id of ids) {
    const digest = idGrammar.exec(id)?.[1];
    if (digest !== undefined && id > (greatest.get(digest) ?? "")) greatest.set(digest, id);
  }
  const time = (id: string): string => idGrammar.exec(id)?.[2] ?? "";
  return [...greatest.values()].sort((a, b) => (time(a) < time(b) ? -1 : 1)).slice(-2 * maxBlocks);
}

const wireSchema = z.object({
  digest: z.string(),
  blocked: z.boolean(),
  reason: z.string().max(longestReason),
  at: z.number().int().nonnegative().lt(1e13),
  node: z.string().max(128),
  parts: z.array(z.string()).max(maxPartsOfBlock),
});

/** Longest command in JSON, in characters. */
const longestCommand = 140 * (maxPartsOfBlock + 20);

/** As nodes write it to each other. */
export function writeBlock(command: BlockCommand): string {
  return JSON.stringify(command);
}

/** Undefined for what is none. */
export function readBlock(text: string): BlockCommand | undefined {
  if (text.length > longestCommand) return undefined;
  const { data } = wireSchema.safeParse(parsed(text));
  const digest = data && parseDigest(data.digest);
  if (data === undefined || digest === undefined) return undefined;
  return { ...data, digest, parts: data.parts.flatMap((part) => parseDigest(part) ?? []) };
}

/** Both are about one digest: what was commanded later, with the parts that either knows. */
export function merged(a: BlockCommand, b: BlockCommand): BlockCommand {
  // Of two at the same time the one that blocks.
  const isLater = b.at > a.at || (b.at === a.at && b.blocked && !a.blocked);
  const known = new Set(a.parts);
  const added = b.parts.filter((part) => !known.has(part));
  const later = isLater ? b : a;
  if (added.length === 0) return isLater ? { ...b, parts: a.parts } : a;
  return { ...later, parts: partsOf([...a.parts, ...added]) };
}

/** In their order, each once, as many as are kept. */
export function partsOf(digests: readonly Digest[]): readonly Digest[] {
  return [...new Set(digests)].sort().slice(0, maxPartsOfBlock);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
