// Blobs whose answer is labelled as something else: the digest decides, and until it has nobody is told anything.
import t, { type Test } from "tap";
import { makeImage, randomBytesFor } from "../fixtures/images.ts";
import { eventually, gate } from "../fixtures/manual-time.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const bytes = randomBytesFor("labelled", 300_000);
const labels = [
  { "content-type": "text/html" },
  { "content-encoding": "x-gzip" },
  { "content-encoding": "gzip" },
] as const;

/** A blob of three repositories, which has come here through the first, team/app. */
async function startShared(t: Test) {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("team/app", bytes);
  for (const repository of ["team/other", "team/third"]) upstream.addBlob(repository, bytes);
  t.equal((await mirror.get(`/v2/team/app/blobs/${digest}`)).status, 200);
  await mirror.line(({ msg }) => msg === "fill committed");
  return { upstream, mirror, digest };
}

for (const headers of labels)
  t.test(`a blob that hashes right is given, once it is whole: ${JSON.stringify(headers)}`, async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    const digest = upstream.addBlob("team/app", bytes);
    const end = gate();
    const labelled = { headers: { ...headers, "docker-content-digest": undefined } };
    upstream.fault(({ kind }) =>
      kind === "blob" ? { ...labelled, stallAfter: 200_000, releaseOn: end.opened } : undefined,
    );
    const answer = fetch(new URL(`/v2/team/app/blobs/${digest}`, mirror.url));
    let begun = false;
    void answer.then(() => {
      begun = true;
    });
    await eventually("most of it has come", () => upstream.requests[0]?.bytes === 200_000);
    // Every other request is answered meanwhile.
    for (let round = 0; round < 3; round++) t.equal((await mirror.get("/v2/")).status, 200);
    t.equal(begun, false, "nothing is told before");
    end.open();
    const { status, headers: given } = await answer;
    t.equal(status, 200);
    t.equal(given.get("content-type"), "application/octet-stream");
    t.equal(given.get("content-encoding"), null);
    t.equal(given.get("content-length"), "300000");
    t.ok(Buffer.from(await (await answer).arrayBuffer()).equals(bytes));
    t.match(await mirror.get(`/v2/team/app/blobs/${digest}`), { status: 200 });
    t.equal(upstream.count({ kind: "blob" }), 1);
  });

t.test("of a blob whose size a manifest states no label raises a doubt", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [300_000], seed: "stated" });
  const [layer] = image.layers;
  upstream.addImage("team/app", "1", image);
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  const end = gate();
  upstream.fault(({ kind }) =>
    kind === "blob"
      ? { headers: { "content-type": "text/html" }, stallAfter: 200_000, releaseOn: end.opened }
      : undefined,
  );
  const answer = await fetch(new URL(`/v2/team/app/blobs/${layer?.digest}`, mirror.url));
  t.equal(answer.status, 200, "begun while upstream still sends");
  end.open();
  t.ok(Buffer.from(await answer.arrayBuffer()).equals(layer?.bytes as Buffer));
});

t.test(
  "a blob that came here through another repository is proved by its size, whatever the label",
  async (t) => {
    const { upstream, mirror, digest } = await startShared(t);
    const headers = { "content-type": "text/html", "docker-content-digest": undefined };
    upstream.fault(() => ({ headers, ignoreRange: true }));
    t.match(await mirror.get(`/v2/team/other/blobs/${digest}`), { status: 200, body: bytes });
    t.match(await mirror.ask("HEAD", `/v2/team/third/blobs/${digest}`), {
      status: 200,
      headers: { "content-length": "300000" },
    });
  },
);

const unnamed = { "content-type": "text/html", "docker-content-digest": undefined };

t.test(
  "HEAD is answered as GET is: where only the bytes show what upstream has, they are fetched",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    const digest = upstream.addBlob("team/app", bytes);
    upstream.fault(({ kind }) => (kind === "blob" ? { headers: unnamed, ignoreRange: true } : undefined));
    const path = `/v2/team/app/blobs/${digest}`;
    t.match(await mirror.ask("HEAD", path), { status: 200, headers: { "content-length": "300000" } });
    const asked = upstream.count({ kind: "blob" });
    t.match(await mirror.get(path), { status: 200, body: bytes });
    t.match(await mirror.ask("HEAD", path), { status: 200 });
    t.equal(upstream.count({ kind: "blob" }), asked, "it is here now, and readable through the repository");
  },
);

t.test("HEAD of what is no blob is refused as GET is", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = upstream.addBlob("team/app", bytes);
  upstream.fault(({ kind }) => (kind === "blob" ? asPage : undefined));
  const path = `/v2/team/app/blobs/${digest}`;
  t.equal((await mirror.ask("HEAD", path)).status, 502);
  t.equal((await mirror.get(path)).status, 502);
});

t.test(
  "a blob that is here, of which upstream shows neither digest nor size, is proved by its bytes",
  async (t) => {
    const { upstream, mirror, digest } = await startShared(t);
    upstream.fault(() => ({ headers: unnamed, ignoreRange: true, noLength: true }));
    t.match(await mirror.get(`/v2/team/other/blobs/${digest}`), { status: 200, body: bytes });
    t.match(await mirror.ask("HEAD", `/v2/team/third/blobs/${digest}`), { status: 200 });
    upstream.fault(() => asPage);
    t.match(
      await mirror.get(`/v2/team/other/blobs/${digest}`),
      { status: 200 },
      "from now on without upstream",
    );
  },
);

const page = Buffer.from(`<html>${"sign in ".repeat(20_000)}</html>`);
const asPage = { status: 200, body: page, headers: { "content-type": "text/html" } } as const;

for (const [fault, why] of [
  [asPage, /it sent a web page/],
  [{ ...asPage, noLength: true }, /it sent a web page/],
  [{ gzip: true }, /as gzip, unasked/],
] as const)
  t.test(
    `what is no blob is an error before its first byte, and no word of the registry's: ${why}`,
    async (t) => {
      const upstream = await startUpstream(t);
      const mirror = await startMirror(t, upstream);
      const digest = upstream.addBlob("team/app", bytes);
      upstream.addBlob("team/other", bytes);
      upstream.fault(({ kind, repository }) =>
        kind === "blob" && repository === "team/app" ? fault : undefined,
      );
      const read = () => mirror.get(`/v2/team/app/blobs/${digest}`);
      t.equal((await read()).status, 502);
      t.match((await mirror.line(({ code }) => code === "digest_mismatch")).detail, why);
      if ("gzip" in fault) return;
      t.equal((await mirror.get(`/v2/team/other/blobs/${digest}`)).status, 200);
      t.equal(
        (await read()).status,
        502,
        "what came through another repository is not readable through this one",
      );
    },
  );
