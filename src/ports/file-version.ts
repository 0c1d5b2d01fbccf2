// What tells one version of a file from another.
import type { BigIntStats } from "node:fs";

/** Changes with every replacement and every write, also when size and modification time are put back (ctime). */
export function fileVersion({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join();
}
