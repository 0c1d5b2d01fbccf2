// kill -9 at any moment: what is visible after the restart is whole, and nothing else is left behind.
import { setTimeout as delay } from "node:timers/promises";
import t from "tap";
import { leftovers, rehash } from "./fixtures/cache-directory.ts";
import { Content } from "./fixtures/content.ts";
import { type Downloaded, download } from "./fixtures/download.ts";
import { type Front, startFront } from "./fixtures/front.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(240_000);

const rounds = 50;
/** Milliseconds in which a blob is certainly stored, on a slow disk too. */
const commitTime = 50;
/** The same dice in every run: a failing round can be had again. */
const dice = new Content("dice", rounds * 16);

/** A number from 0 up to 1, not included. */
function roll(round: number, at: number): number {
  return dice.read(round * 16 + at * 4, 4).readUInt32LE() / 2 ** 32;
}

/** New blobs of one round: one within a single write to the spool, one of several, one of many. */
function blobsOf(round: number): Content[] {
  const sizes = [1 + roll(round, 0) * 900_000, 1 + roll(round, 1) * 3_000_000, 2_000_000];
  return sizes.map((size, at) => new Content(`round ${round} blob ${at}`, Math.floor(size)));
}

/**
 * Fetches the blobs and kills the mirror: in two rounds of three when the clients together have a part of the bytes,
 * in the third some milliseconds after they have them all, when the blobs are being committed.
 */
async function fillAndKill(
  mirror: Mirror,
  blobs: readonly Content[],
  round: number,
): Promise<(Downloaded | undefined)[]> {
  const total = blobs.reduce((sum, { size }) => sum + size, 0);
  const moment = roll(round, 2);
  const fatal = round % 3 === 2 ? Number.POSITIVE_INFINITY : Math.floor(moment * total);
  const received = blobs.map(() => 0);
  const downloads = blobs.map(({ digest }, at) =>
    download(mirror.blobUrl(digest), {
      onBytes: (bytes) => {
        received[at] = bytes;
        if (received.reduce((sum, each) => sum + each) >= fatal) mirror.process.signal("SIGKILL");
      },
    }).done.catch(() => undefined),
  );
  const done = await Promise.all(downloads);
  await delay(moment * commitTime);
  await mirror.kill();
  return done;
}

/** Blobs served without asking upstream, all of them right; the others were fetched anew, right as well. */
async function served(mirror: Mirror, front: Front, blobs: readonly Content[]): Promise<number> {
  let kept = 0;
  for (const { digest, size } of blobs) {
    front.log.forget();
    const { status, complete, bytes, digest: actual } = await download(mirror.blobUrl(digest)).done;
    if (status !== 200 || !complete || bytes !== size || actual !== digest)
      throw new Error(`${digest}: status ${status}, ${bytes} of ${size} bytes, ${actual}`);
    if (front.log.blobGets().length === 0) kept += 1;
  }
  return kept;
}

t.test(`killed ${rounds} times during fills`, async (t) => {
  const front = await startFront(t);
  const cacheDirectory = await workDirectory(t);
  let previous: readonly Content[] = [];
  let mirror = await startMirror(t, front, { cacheDirectory });
  let kept = 0;
  let cut = 0;
  for (let round = 0; round < rounds; round += 1) {
    const blobs = blobsOf(round);
    front.add(...blobs);
    const done = await fillAndKill(mirror, blobs, round);
    for (const [at, each] of done.entries()) {
      if (each?.complete) t.equal(each.digest, blobs[at]?.digest, "a complete answer is a right one");
      else cut += 1;
    }
    previous = blobs;
    mirror = await startMirror(t, front, { cacheDirectory });
    t.same(await leftovers(cacheDirectory), [], `round ${round}: no temporary file after the restart`);
    const stored = await rehash(cacheDirectory);
    t.same(stored.wrong, [], `round ${round}: every stored blob is whole`);
    const hits = await served(mirror, front, previous);
    const held = previous.filter(({ digest }) => stored.digests.has(digest)).length;
    t.equal(hits, held, `round ${round}: what is stored is served, everything else fetched`);
    kept += hits;
  }
  t.comment(`of ${rounds * 3} blobs ${cut} were cut off by the kill, ${kept} were stored in spite of it`);
  t.ok(cut > 0 && kept > 0, "the kills came at times that matter");
});
