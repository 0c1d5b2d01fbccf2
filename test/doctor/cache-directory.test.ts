import { readdirSync, statSync } from "node:fs";
import t from "tap";
import { examineCache } from "../../src/doctor/cache-directory.ts";
import { Part } from "../../src/doctor/examination.ts";
import { lockDirectory } from "../../src/storage/disk/directory-lock.ts";
import { Layout } from "../../src/storage/disk/layout.ts";

const cache = {
  maxSize: 1_000,
  evictTo: 0.9,
  smallBlob: 1_000_000,
  keepFree: 0,
  scrub: 0,
  rangesBeforeVerified: true,
  prefetch: 0,
};

async function examine(dir: string, locks: () => string, signal = new AbortController().signal) {
  const part = new Part({ name: "cache", signal });
  await examineCache(part, { cache: { ...cache, dir }, mirrorRuns: false, locks });
  return new Map(part.checks.map(({ name, ...check }) => [name, check]));
}

t.test("a lock of a file with the same number on another disk names nobody", async (t) => {
  const dir = t.testdir();
  const { spoolLock } = new Layout(dir);
  lockDirectory(dir, spoolLock).release();
  const { ino } = statSync(spoolLock);
  const lockOf = (pid: number) => () => `1: POSIX  ADVISORY  WRITE ${pid} ff:7f:${ino} 0 EOF\n`;
  t.match((await examine(dir, lockOf(process.pid))).get("holder"), { outcome: "ok" });
  // What a process of another user, or one that has just ended, has open cannot be seen.
  const unseen = (await examine(dir, lockOf(2 ** 30))).get("holder");
  t.match(unseen, { outcome: "warning", seen: /process 1073741824 seems to use/ });
  t.notMatch(unseen?.fix, /Stop/);
});

t.test("nothing is left in the directory, also when it is given up in the middle", async (t) => {
  const dir = t.testdir();
  await examine(dir, () => "");
  t.same(readdirSync(dir), []);
  const ending = new AbortController();
  const abort = (): string => {
    ending.abort();
    return "";
  };
  await examine(dir, abort, ending.signal);
  t.same(readdirSync(dir), []);
});
