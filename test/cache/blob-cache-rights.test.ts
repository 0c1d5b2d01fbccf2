// Nobody reads through a repository what upstream does not say to be in it.
import t from "tap";
import { UpstreamError } from "../../src/cache/ports.ts";
import { app, bytes, fillsOver, found, openBlob, other, stranger } from "../fixtures/blob-clients.ts";
import { mebibyte, openHouse, readAll } from "../fixtures/cache-house.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { repo } from "../fixtures/memory-upstream.ts";

t.test(
  "a repository without the blob does not get it, whether it is here, under way or neither",
  async (t) => {
    const house = await openHouse(t);
    const digest = house.upstream.addBlob("team/app", bytes);
    t.same(await openBlob(house, stranger, digest), { kind: "absent" }, "neither");
    const held = gate();
    house.upstream.transfers.push({ hold: { at: mebibyte, until: held.opened } });
    const own = await found(t, house, app, digest);
    t.same(await openBlob(house, stranger, digest), { kind: "absent" }, "under way");
    t.same(await house.blobs.head(house.upstream, stranger, digest), { kind: "absent" });
    t.equal(house.blobs.fills[0]?.followers, 1);
    held.open();
    await readAll(own.reader);
    await fillsOver(house);
    t.same(await openBlob(house, stranger, digest), { kind: "absent" }, "here");
    t.same(await house.blobs.head(house.upstream, stranger, digest), { kind: "absent" });
    t.notOk(house.blobs.inUse(digest), "the stored blob is closed again");
    t.equal(house.upstream.count("GET blob stranger"), 1);
    t.equal(house.upstream.count("HEAD blob stranger"), 4);
  },
);

t.test("denied is denied", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  house.upstream.addBlob("stranger/app", bytes);
  house.upstream.deny("stranger/app");
  t.same(await openBlob(house, stranger, digest), { kind: "denied" }, "not here");
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  t.same(await openBlob(house, stranger, digest), { kind: "denied" }, "here");
  t.same(await house.blobs.head(house.upstream, stranger, digest), { kind: "denied" });
  t.notOk(house.blobs.inUse(digest));
});

t.test("a right upstream cannot confirm is not granted, and the blob is closed again", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await readAll((await found(t, house, app, digest)).reader);
  await fillsOver(house);
  const failure = new UpstreamError("unreachable", "no route");
  house.upstream.fault = () => {
    throw failure;
  };
  await t.rejects(openBlob(house, other, digest), failure);
  await t.rejects(house.blobs.head(house.upstream, other, digest), failure);
  t.notOk(house.blobs.inUse(digest));
  t.ok(
    (await readAll((await found(t, house, app, digest)).reader)).equals(bytes),
    "what is known needs nobody",
  );
});

t.test("the answer to a download decides about the link", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await house.access.link(house.upstream, stranger, [{ digest, size: undefined }]);
  await house.access.link(house.upstream, other, [{ digest, size: undefined }]);
  t.same(await openBlob(house, stranger, digest), { kind: "absent" });
  t.equal(await house.access.linked(house.upstream, stranger, digest), false, "absent unlinks");
  house.upstream.deny("team/other");
  t.same(await openBlob(house, other, digest), { kind: "denied" });
  t.equal(await house.access.linked(house.upstream, other, digest), true, "denied does not");
  t.equal(await house.access.linked(house.upstream, app, digest), false);
  await readAll((await found(t, house, app, digest)).reader);
  t.equal(await house.access.linked(house.upstream, app, digest), true, "found links");
  t.equal(await house.index.links.statedSize(digest), bytes.length, "with the size");
});

t.test("a fill refused to one repository does not fail another that waits for it", async (t) => {
  for (const refuse of ["absent", "denied"] as const)
    await t.test(refuse, async (t) => {
      const house = await openHouse(t);
      const digest = house.upstream.addBlob("team/app", bytes);
      const answered = gate();
      house.upstream.transfers.push({ answerAfter: answered.opened, refuse });
      const refused = openBlob(house, stranger, digest);
      await eventually("upstream is asked", () => house.upstream.count("GET blob") === 1);
      const waiting = found(t, house, app, digest);
      await eventually("it waits as well", () => house.blobs.fills[0]?.followers === 2);
      answered.open();
      t.same(await refused, { kind: refuse });
      const opened = await waiting;
      t.equal(opened.result, "miss");
      t.ok((await readAll(opened.reader)).equals(bytes));
    });
});

t.test("however many ask in vain before it, a repository with the blob gets it", async (t) => {
  const house = await openHouse(t);
  const digest = house.upstream.addBlob("team/app", bytes);
  await house.access.link(house.upstream, app, [{ digest, size: undefined }]);
  const answered = gate();
  house.upstream.fault = async (call) => {
    if (!call.startsWith("GET")) return;
    await answered.opened;
    // Long enough for all the others to join.
    await quiet(200);
  };
  const others = Array.from({ length: 6 }, (_, at) => repo(`stranger/app${at}`));
  // Links that are no longer true: all of them wait for one another's downloads.
  for (const repository of others)
    await house.access.link(house.upstream, repository, [{ digest, size: undefined }]);
  const vain = others.flatMap((repository) => [1, 2, 3].map(() => openBlob(house, repository, digest)));
  const opening = found(t, house, app, digest);
  await eventually("all wait for the first", () => house.blobs.fills[0]?.followers === vain.length + 1);
  answered.open();
  t.ok((await Promise.all(vain)).every(({ kind }) => kind === "absent"));
  t.ok((await readAll((await opening).reader)).equals(bytes));
});
