// Knowing a digest grants nothing.
import t from "tap";
import { StoreError } from "../../src/ports/blobs.ts";
import { remoteRepository, UpstreamError } from "../../src/ports/upstream.ts";
import { noticesOf, openCache } from "../fixtures/cache-fixture.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { MemoryUpstream, repo, sha256 } from "../fixtures/memory-upstream.ts";

const bytes = Buffer.from("a blob");
const digest = sha256(bytes);
const app = repo("team/app");

t.test(
  "a link answers without upstream; without one upstream is asked, and its yes is remembered",
  async (t) => {
    const { access, upstream, index } = await openCache(t);
    upstream.addBlob("team/app", bytes);
    t.equal(await access.linked(remoteRepository(upstream, app), digest), false);
    t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), {
      kind: "found",
      size: bytes.length,
    });
    t.same(upstream.calls, [`HEAD blob team/app ${digest}`]);
    t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), { kind: "linked" });
    t.same(await access.prove(remoteRepository(upstream, app), digest, "manifest"), { kind: "linked" });
    t.equal(upstream.calls.length, 1);
    t.equal(
      await index.links.statedSize({ upstream: "up", repository: repo("team/app") }, digest),
      undefined,
      "only descriptors state sizes",
    );
  },
);

t.test("a manifest is asked for as a manifest", async (t) => {
  const { access, upstream } = await openCache(t);
  upstream.addManifest("team/app", undefined, bytes, "application/json");
  t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), { kind: "absent" });
  t.same(await access.prove(remoteRepository(upstream, app), digest, "manifest"), {
    kind: "found",
    size: bytes.length,
  });
  t.same(upstream.calls, [`HEAD blob team/app ${digest}`, `HEAD manifest team/app ${digest}`]);
});

t.test("a refusal is passed on and not remembered", async (t) => {
  const { access, upstream } = await openCache(t);
  t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), { kind: "absent" });
  t.equal(await access.linked(remoteRepository(upstream, app), digest), false);
  upstream.addBlob("team/app", bytes);
  upstream.deny("team/app");
  t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), { kind: "denied" });
  t.equal(await access.linked(remoteRepository(upstream, app), digest), false);
  t.equal(upstream.calls.length, 2);
});

t.test("requests of the same time share one question; different ones do not", async (t) => {
  const { access, upstream } = await openCache(t);
  const second = new MemoryUpstream("second");
  const answered = gate();
  for (const each of [upstream, second]) each.fault = () => answered.opened;
  upstream.addBlob("team/app", bytes);
  const proofs = [
    access.prove(remoteRepository(upstream, app), digest, "blob"),
    access.prove(remoteRepository(upstream, app), digest, "blob"),
    access.prove(remoteRepository(upstream, app), digest, "manifest"),
    access.prove(remoteRepository(upstream, repo("team/other")), digest, "blob"),
    access.prove(remoteRepository(upstream, app), sha256(Buffer.from("another")), "blob"),
    access.prove(remoteRepository(second, app), digest, "blob"),
  ];
  await eventually("all are asked", () => upstream.calls.length + second.calls.length === 5);
  answered.open();
  t.same(
    (await Promise.all(proofs)).map(({ kind }) => kind),
    ["found", "found", "absent", "absent", "absent", "absent"],
  );
  t.equal(upstream.calls.length, 4);
});

t.test("a link is for one repository of one upstream, until it is removed", async (t) => {
  const { access, upstream } = await openCache(t);
  const second = new MemoryUpstream("second");
  await access.link(remoteRepository(upstream, app), [{ digest, size: undefined }]);
  t.equal(await access.linked(remoteRepository(upstream, app), digest), true);
  t.equal(await access.linked(remoteRepository(upstream, repo("team/other")), digest), false);
  t.equal(await access.linked(remoteRepository(second, app), digest), false);
  await access.unlink(remoteRepository(upstream, app), digest);
  t.equal(await access.linked(remoteRepository(upstream, app), digest), false);
});

t.test("upstream's failure is the proof's failure", async (t) => {
  const { access, upstream } = await openCache(t);
  const failure = new UpstreamError("timeout", "too slow");
  upstream.fault = () => {
    throw failure;
  };
  await t.rejects(access.prove(remoteRepository(upstream, app), digest, "blob"), failure);
  upstream.fault = undefined;
  t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), { kind: "absent" });
});

t.test("a link store that fails grants nothing and costs a question; each failure is a notice", async (t) => {
  const cache = await openCache(t);
  const { access, upstream, faults } = cache;
  upstream.addBlob("team/app", bytes);
  await access.link(remoteRepository(upstream, app), [{ digest, size: undefined }]);
  const failure = new StoreError("io", "the index is broken");
  for (const method of ["has", "add", "remove"] as const) faults.links.set(method, failure);
  t.equal(await access.linked(remoteRepository(upstream, app), digest), false);
  t.same(await access.prove(remoteRepository(upstream, app), digest, "blob"), {
    kind: "found",
    size: bytes.length,
  });
  t.equal(upstream.calls.length, 1);
  await access.unlink(remoteRepository(upstream, app), digest);
  t.same(
    noticesOf(cache, "store_error").map(({ op, code }) => `${op} ${code}`),
    ["links.has io", "links.has io", "links.add io", "links.remove io"],
  );
});
