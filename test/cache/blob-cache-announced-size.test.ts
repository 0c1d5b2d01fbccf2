// An impossible size that upstream announces: whatever is asked, no client gets a complete answer with it.
import t, { type Test } from "tap";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { app, bytes, config, fillsOver, openBlob, other } from "../fixtures/blob-clients.ts";
import { type CacheFixture, nothingLeft, openCache, readAll, readBytes } from "../fixtures/cache-fixture.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { MemoryUpstream, sha256 } from "../fixtures/memory-upstream.ts";

const digest = sha256(bytes);

/** A cache whose upstream has the blob, of which manifests of `app` say that it has `stated` bytes. */
async function cache(t: Test, stated: number | undefined, blob = bytes): Promise<CacheFixture> {
  const made = await openCache(t);
  for (const repository of [app, other]) made.upstream.addBlob(repository, blob);
  const { access, upstream } = made;
  if (stated !== undefined)
    await access.link(remoteRepository(upstream, app), [{ digest: sha256(blob), size: stated }]);
  return made;
}

for (const [what, blob, lie] of [
  ["nothing instead of a large blob", bytes, Buffer.alloc(0)],
  ["little instead of a large blob", bytes, bytes.subarray(0, 1_000)],
  ["nothing instead of a small blob", config, Buffer.alloc(0)],
  ["other bytes instead of a small blob", config, bytes.subarray(0, config.length)],
  ["something instead of nothing", Buffer.alloc(0), config],
] as const)
  for (const noSize of [false, true])
    t.test(
      `${what}, ${noSize ? "without" : "with"} a length: no head before the digest is right`,
      async (t) => {
        const made = await cache(t, undefined, blob);
        const over = gate();
        const transfer = { bytes: lie, noSize, hold: { at: lie.length, until: over.opened } };
        made.upstream.transfers.push(transfer);
        const clients = [openBlob(made, app, sha256(blob)), openBlob(made, app, sha256(blob))];
        let answered = 0;
        for (const client of clients)
          client
            .catch(() => {})
            .finally(() => {
              answered++;
            });
        await eventually("the bytes are here", () => made.blobs.fills[0]?.received === lie.length);
        await quiet();
        t.equal(answered, 0, "no answer has begun");
        if (!noSize) {
          const head = made.blobs.head(remoteRepository(made.upstream, app), sha256(blob));
          await eventually("it has joined", () => made.blobs.fills[0]?.followers === 3);
          over.open();
          await t.rejects(head, { code: "digest_mismatch" }, "a HEAD that joins");
        }
        over.open();
        for (const client of clients) await t.rejects(client, { code: "digest_mismatch" });
        await fillsOver(made);
        const opened = await openBlob(made, app, sha256(blob));
        t.ok(
          opened.kind === "found" && (await readAll(opened.reader)).equals(blob),
          "and the next fill asks again",
        );
        await fillsOver(made);
        await nothingLeft(t, made);
      },
    );

t.test("a small blob without a length is announced with the one it has", async (t) => {
  const made = await cache(t, undefined, config);
  made.upstream.transfers.push({ noSize: true });
  const opened = await openBlob(made, app, sha256(config));
  t.match(opened, { kind: "found", size: config.length });
  t.ok(opened.kind === "found" && (await readAll(opened.reader)).equals(config));
});

t.test("a size that no manifest contradicts is announced at once", async (t) => {
  for (const stated of [undefined, bytes.length]) {
    const made = await cache(t, stated);
    const over = gate();
    made.upstream.transfers.push({ hold: { at: 0, until: over.opened } });
    const opened = await openBlob(made, app, digest);
    t.match(opened, { kind: "found", size: bytes.length });
    over.open();
    t.ok(opened.kind === "found" && (await readAll(opened.reader)).equals(bytes));
    await made.blobs.stop(new Error("next"));
  }
});

for (const [whose, stated, announced] of [
  ["upstream's", bytes.length, bytes.length - 1],
  ["the manifest's", bytes.length + 1, bytes.length],
] as const)
  t.test(`a size that contradicts the manifest waits for the digest: the lie is ${whose}`, async (t) => {
    const made = await cache(t, stated);
    const right = announced === bytes.length;
    const over = gate();
    const hold = { at: announced, until: over.opened };
    made.upstream.transfers.push({ bytes: bytes.subarray(0, announced), hold });
    const first = openBlob(made, app, digest);
    await eventually("every byte is here", () => made.blobs.fills[0]?.received === announced);
    const asked = [
      first,
      openBlob(made, app, digest),
      made.blobs.head(remoteRepository(made.upstream, app), digest),
    ];
    let answered = 0;
    for (const answer of asked)
      answer
        .catch(() => {})
        .finally(() => {
          answered++;
        });
    await quiet();
    t.equal(answered, 0, "neither the first nor a joined request nor a HEAD has a size");
    over.open();
    for (const answer of asked) {
      if (!right) await t.rejects(answer as Promise<unknown>, { code: "digest_mismatch" });
      else {
        const found = await answer;
        t.match(found, { kind: "found", size: bytes.length }, "the digest decides");
        if ("reader" in found) t.ok((await readAll(found.reader)).equals(bytes));
      }
    }
    await fillsOver(made);
    t.equal(made.upstream.count("GET blob"), 1);
    await nothingLeft(t, made);
  });

t.test("a request that joins for a repository whose manifest states no size does not wait", async (t) => {
  const made = await cache(t, bytes.length + 1);
  const over = gate();
  made.upstream.transfers.push({ hold: { at: 500_000, until: over.opened } });
  const waiting = openBlob(made, app, digest);
  await eventually("it has begun", () => made.blobs.fills[0]?.received === 500_000);
  const links = made.faults.links;
  links.set("statedSize", new Error("nothing is known of sizes"));
  const joined = await openBlob(made, other, digest);
  t.match(joined, { kind: "found", size: bytes.length });
  if (joined.kind === "found") {
    t.ok((await readBytes(joined.reader, { end: 1_000 })).equals(bytes.subarray(0, 1_000)));
    await joined.reader.close();
  }
  over.open();
  const opened = await waiting;
  t.ok(opened.kind === "found" && (await readAll(opened.reader)).equals(bytes));
});

t.test(
  "HEAD: upstream's own answer is not passed on when it contradicts the manifest or the digest",
  async (t) => {
    class Liar extends MemoryUpstream {
      says = 0;
      override async headBlob(...asked: Parameters<MemoryUpstream["headBlob"]>) {
        const head = await super.headBlob(...asked);
        return head.kind === "found" ? { ...head, size: this.says } : head;
      }
    }
    for (const says of [0, bytes.length - 1])
      for (const honest of [true, false]) {
        const upstream = new Liar();
        upstream.says = says;
        const made = await openCache(t, { upstream, name: `${says} ${honest}` });
        upstream.addBlob(app, bytes);
        const size = says === 0 ? undefined : bytes.length;
        await made.access.link(remoteRepository(upstream, app), [{ digest, size }]);
        if (!honest) upstream.transfers.push({ bytes: bytes.subarray(0, says) });
        const head = made.blobs.head(remoteRepository(upstream, app), digest);
        if (honest) t.match(await head, { kind: "found", size: bytes.length }, "what the download says");
        else await t.rejects(head, { code: "digest_mismatch" });
        await fillsOver(made);
        t.equal(upstream.count("GET blob"), 1);
      }
  },
);
