// The shared store on real S3 servers: Ceph's gateway, which knows the conditional put, and Swift, which does not.
import { createHash, randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import { CreateMultipartUploadCommand } from "@aws-sdk/client-s3";
import t, { type Test } from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { StoreError } from "../../src/ports/blobs.ts";
import type { SharedBlobs } from "../../src/ports/shared.ts";
import { defaultTiming } from "../../src/storage/s3/bucket.ts";
import { objectKey } from "../../src/storage/s3/object.ts";
import { digestOf } from "../fixtures/blob-store-suite.ts";
import { openS3, type S3Fixture, s3Prefix, secretOf } from "../fixtures/s3-fixture.ts";
import { fetchShared, noSignal, readerOf, share, sharedBlobsSuite } from "../fixtures/shared-blobs-suite.ts";
import { type Ceph, cephPrograms, startCeph } from "./fixtures/ceph.ts";
import { requires } from "./fixtures/requires.ts";
import {
  configFor,
  makeBucket,
  plainClient,
  type S3Server,
  unfinishedUploads,
} from "./fixtures/s3-server.ts";
import { startSwift, swiftPrograms } from "./fixtures/swift.ts";
import { until } from "./fixtures/until.ts";

t.setTimeout(300_000);

const hour = 3_600_000;
const MiB = 1024 * 1024;

t.test("Ceph", async (t) => {
  if (!requires(t, ...cephPrograms)) return;
  const ceph = await startCeph(t);
  await everyServer(t, ceph);
  await t.test("rates", (t) => rates(t, ceph));
  await t.test("frozen, killed, refusing", (t) => outages(t, ceph));
});

t.test("Swift", async (t) => {
  if (!requires(t, ...swiftPrograms)) return;
  await everyServer(t, await startSwift(t));
});

async function openBucket(t: Test, server: S3Server, bucket: string): Promise<S3Fixture> {
  await makeBucket(server, bucket);
  return openS3(t, configFor(server, bucket), { timing: defaultTiming });
}

async function everyServer(t: Test, server: S3Server): Promise<void> {
  await t.test("the suite of every SharedBlobs", async (t) => {
    const { blobs, notices, states } = await openBucket(t, server, "suite");
    await sharedBlobsSuite(t, async () => blobs);
    t.same(notices, []);
    t.same(states, []);
    t.equal(await unfinishedUploads(server, "suite"), 0, "no upload is left behind");
  });

  await t.test("several nodes store the same blobs", async (t) => {
    await makeBucket(server, "nodes");
    const nodes = [1, 2, 3].map(() => openS3(t, configFor(server, "nodes")));
    const all = [...Array.from({ length: 5 }, () => randomBytes(50_000)), randomBytes(18 * MiB)];
    await Promise.all(nodes.flatMap(({ blobs }) => all.map((bytes) => share(blobs, bytes))));
    for (const { blobs, notices } of nodes) {
      t.equal(await countOf(blobs), all.length);
      t.same(notices, []);
    }
    t.equal(await unfinishedUploads(server, "nodes"), 0);
  });

  await t.test("a signed URL works for everybody, for the object alone", async (t) => {
    const { blobs } = await openBucket(t, server, "signed");
    const bytes = randomBytes(100_000);
    const url = await blobs.presign(await share(blobs, bytes), 60);
    const whole = await fetch(url);
    t.ok(Buffer.from(await whole.arrayBuffer()).equals(bytes));
    const part = await fetch(url, { headers: { range: "bytes=10-19" } });
    t.equal(part.status, 206);
    t.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(10, 20)));
    url.pathname = url.pathname.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
    t.equal((await fetch(url)).status, 403);
  });

  await t.test("a forgotten upload is swept, blobs are renewed and evicted", (t) => upkeep(t, server));
}

async function upkeep(t: Test, server: S3Server): Promise<void> {
  await makeBucket(server, "upkeep");
  const clock = { now: Date.now() };
  const { blobs, notices } = openS3(t, configFor(server, "upkeep"), { clock: () => clock.now });
  const client = plainClient(server);
  t.teardown(() => client.destroy());
  const Key = objectKey(s3Prefix, digestOf(Buffer.from("forgotten")));
  await client.send(new CreateMultipartUploadCommand({ Bucket: "upkeep", Key }));
  t.equal(await blobs.sweep(noSignal()), 0);
  clock.now += 25 * hour;
  t.equal(await blobs.sweep(noSignal()), 1);
  t.equal(await unfinishedUploads(server, "upkeep"), 0);
  const [small, large] = [randomBytes(10_000), randomBytes(20 * MiB)];
  for (const bytes of [small, large]) await share(blobs, bytes, "application/vnd.oci.image.manifest.v1+json");
  const before = await blobs.head(digestOf(large));
  // Modification is told in whole seconds.
  await until("a second has passed", () => Date.now() > (before?.modifiedAt ?? 0) + 1_500);
  await blobs.refresh(digestOf(large));
  const after = await blobs.head(digestOf(large));
  t.ok((after?.modifiedAt ?? 0) > (before?.modifiedAt ?? 0), "young again");
  t.equal(after?.mediaType, "application/vnd.oci.image.manifest.v1+json");
  t.ok((await fetchShared(blobs, digestOf(large)))?.bytes.equals(large));
  t.match(await blobs.evict({ maxBytes: 20 * MiB, smallBlob: 1 }, noSignal()), { deleted: 2, bytes: 0 });
  t.equal(await countOf(blobs), 0);
  t.same(notices, []);
}

async function countOf(blobs: SharedBlobs): Promise<number> {
  let count = 0;
  for await (const _ of blobs.list()) count++;
  return count;
}

async function rates(t: Test, server: S3Server): Promise<void> {
  const { blobs } = await openBucket(t, server, "rates");
  const bytes = randomBytes(256 * MiB);
  const digest = digestOf(bytes);
  const seconds = async (work: () => Promise<unknown>): Promise<number> => {
    const begin = performance.now();
    await work();
    return (performance.now() - begin) / 1000;
  };
  const put = await seconds(() => share(blobs, bytes, undefined, digest));
  const get = await seconds(() => drained(t, blobs, digest, bytes.length));
  const small = Array.from({ length: 200 }, () => randomBytes(2_000));
  const puts = await seconds(() => Promise.all(small.map((each) => share(blobs, each))));
  const gets = await seconds(() => Promise.all(small.map((each) => fetchShared(blobs, digestOf(each)))));
  const rate = (time: number) => `${Math.round(256 / time)} MiB/s`;
  t.comment(
    `256 MiB: put ${rate(put)}, get ${rate(get)}; 2 kB: ${Math.round(200 / puts)} puts/s, ${Math.round(200 / gets)} gets/s`,
  );
  t.ok(256 / put > 5 && 256 / get > 5, "of a machine that does much else");
}

/** Reads and hashes it as a fill does. */
async function drained(t: Test, blobs: SharedBlobs, digest: Digest, size: number): Promise<void> {
  const hash = createHash("sha256");
  let read = 0;
  for await (const chunk of (await blobs.open(digest, 0, noSignal()))?.body ?? []) {
    hash.update(chunk);
    read += chunk.length;
  }
  t.equal(read, size);
  t.equal(`sha256:${hash.digest("hex")}`, digest);
}

interface Ground {
  readonly ceph: Ceph;
  readonly blobs: S3Fixture["blobs"];
  readonly bytes: Buffer;
  /** Of a blob that is there. */
  readonly digest: Digest;
  /** Milliseconds that one question takes; rejects when it is answered. */
  readonly failing: () => Promise<number>;
  /** Milliseconds until one is answered. */
  readonly worksAgain: () => Promise<number>;
}

async function outages(t: Test, ceph: Ceph): Promise<void> {
  const { blobs, notices } = await openBucket(t, ceph, "outages");
  const bytes = randomBytes(30 * MiB);
  const digest = await share(blobs, bytes);
  /** Milliseconds one question takes that fails. */
  const failing = async (): Promise<number> => {
    const begin = performance.now();
    const failed = await blobs.open(digest, 0, noSignal()).then(
      () => false,
      (error: unknown) => error instanceof StoreError && error.code === "unavailable",
    );
    if (!failed) throw new Error("S3 answers");
    return performance.now() - begin;
  };
  const worksAgain = async (): Promise<number> => {
    const begin = performance.now();
    await until("S3 is used again", () => blobs.open(digest, 0, noSignal()).then(leave, () => false), 5_000);
    return performance.now() - begin;
  };

  const ground = { ceph, blobs, bytes, digest, failing, worksAgain };
  await t.test("frozen before an answer", (t) => frozenAtFirst(t, ground));
  await t.test("frozen in the middle of a body, which then goes on from there", (t) =>
    frozenInTheMiddle(t, ground),
  );
  await t.test("killed in the middle of an upload, and another one in its place", (t) => killed(t, ground));
  await t.test("credentials that are wrong", (t) => wrongCredentials(t, ground));
  t.ok(notices.length > 0 && notices.length < 20, "said, and not for ever");
}

async function frozenAtFirst(t: Test, { ceph, blobs, failing, worksAgain }: Ground): Promise<void> {
  await ceph.freeze();
  t.teardown(() => ceph.thaw());
  for (let i = 0; i < 3; i++) t.ok((await failing()) < 1_500);
  t.equal(blobs.state, "open");
  t.ok((await failing()) < 100);
  ceph.thaw();
  t.comment(`used again after ${Math.round(await worksAgain())} ms`);
  t.equal(blobs.state, "closed");
}

async function frozenInTheMiddle(t: Test, { ceph, blobs, bytes, digest, worksAgain }: Ground): Promise<void> {
  t.teardown(() => ceph.thaw());
  const blob = await blobs.open(digest, 0, noSignal());
  let read = 0;
  const begin = performance.now();
  await t.rejects(
    async () => {
      for await (const chunk of blob?.body ?? []) {
        if (read === 0) await ceph.freeze();
        read += chunk.length;
      }
    },
    { name: "StoreError", code: "unavailable" },
  );
  t.ok(read > 0 && read < bytes.length);
  t.ok(performance.now() - begin < 6_000);
  ceph.thaw();
  await worksAgain();
  t.ok((await fetchShared(blobs, digest, read))?.bytes.equals(bytes.subarray(read)));
}

async function killed(t: Test, { ceph, blobs, failing, worksAgain }: Ground): Promise<void> {
  const other = randomBytes(100 * MiB);
  const reader = readerOf(other);
  let killed = false;
  const put = blobs.put(
    digestOf(other),
    other.length,
    undefined,
    {
      read: async (position, scratch) => {
        if (position > 60 * MiB && !killed) {
          killed = true;
          await ceph.kill();
        }
        return await reader.read(position, scratch);
      },
    },
    noSignal(),
  );
  await t.rejects(put, { name: "StoreError", code: "unavailable" });
  for (let i = 0; i < 3; i++) t.ok((await failing()) < 1_500);
  t.equal(blobs.state, "open");
  await ceph.startAgain();
  t.comment(`used again after ${Math.round(await worksAgain())} ms`);
  t.equal(await blobs.head(digestOf(other)), undefined, "nothing of it is visible");
  await share(blobs, other);
  t.ok((await fetchShared(blobs, digestOf(other)))?.bytes.equals(other));
}

async function wrongCredentials(t: Test, { ceph, digest }: Ground): Promise<void> {
  const secretAccessKey = secretOf("wrong");
  const credentials = { accessKeyId: secretOf(ceph.accessKeyId), secretAccessKey };
  const wrong = openS3(t, configFor(ceph, "outages", { credentials }));
  for (let i = 0; i < 3; i++) {
    await t.rejects(wrong.blobs.open(digest, 0, noSignal()), { message: /403 SignatureDoesNotMatch/ });
  }
  t.equal(wrong.blobs.state, "open");
  await t.rejects(wrong.blobs.head(digest), { message: /not asked for now/ });
}

async function leave(blob: Awaited<ReturnType<SharedBlobs["open"]>>): Promise<boolean> {
  for await (const _ of blob?.body ?? []) break;
  return blob !== undefined;
}
