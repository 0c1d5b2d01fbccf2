// The file of blocked digests: one a line, with the reason behind it.
import { type Digest, parseDigest } from "../oci/digest.ts";
import { longestReason } from "../ports/block/blocks.ts";

/** In bytes, and digests in it. */
export const largestBlockFile = 2 * 1024 * 1024;
export const maxInBlockFile = 10_000;

/** Reasons by digest. */
export type BlockFile = ReadonlyMap<Digest, string>;

/** `problem` names the line, and what is expected. Empty lines and those that begin with # say nothing. */
export function parseBlockFile(text: string): BlockFile | { readonly problem: string } {
  const found = new Map<Digest, string>();
  for (const [index, line] of text.split("\n").entries()) {
    const said = line.trim();
    if (said === "" || said.startsWith("#")) continue;
    const [word = ""] = said.split(/\s/, 1);
    const digest = parseDigest(word);
    if (digest === undefined)
      return {
        problem: `line ${index + 1}: expected a digest, sha256: or sha512: with lower-case hex, and a reason behind it`,
      };
    const reason = said.slice(word.length).trim();
    if (reason.length > longestReason)
      return { problem: `line ${index + 1}: the reason is longer than ${longestReason} characters` };
    found.set(digest, reason === "" ? "it is in the file of blocked digests" : reason);
    if (found.size > maxInBlockFile) return { problem: `it has more than ${maxInBlockFile} digests` };
  }
  return found;
}

export function isSameBlockFile(a: BlockFile, b: BlockFile): boolean {
  return a.size === b.size && [...a].every(([digest, reason]) => b.get(digest) === reason);
}
