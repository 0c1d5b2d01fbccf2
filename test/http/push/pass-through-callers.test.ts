// With passthrough writes go out with the credentials of who writes, and upstream decides.
import t, { type Test } from "tap";
import { login } from "../../fixtures/access.ts";
import { makeContent, makeImage, randomBytesFor } from "../../fixtures/images.ts";
import { startMirror } from "../../fixtures/mirror.ts";
import { passthroughAccess } from "../../fixtures/passthrough.ts";
import { startPushUpstream } from "../../fixtures/push-upstream.ts";

const image = makeImage({ layers: [2_000], seed: "push" });
const blob = makeContent(randomBytesFor("push/blob", 3_000));
const alice = login("alice", "alice-pw");
const bob = login("bob", "bob-pw");
const team = "/v2/team/app";

async function setUp(t: Test, push = true) {
  const upstream = await startPushUpstream(t, {
    users: {
      alice: { password: "alice-pw", reads: ["team/app", "team/base"] },
      bob: { password: "bob-pw", reads: ["other/app"] },
    },
  });
  const mirror = await startMirror(t, upstream, {
    access: passthroughAccess,
    upstream: { push, redirectsTo: ["127.0.0.1"], auth: { kind: "none" }, access: "passthrough" },
  });
  for (const repository of ["team/app", "team/base", "other/app"]) {
    const content = upstream.content(repository);
    for (const { digest, bytes } of [image.config, ...image.layers]) content.blobs.set(digest, bytes);
  }
  return { upstream, mirror };
}

const manifest = { "content-type": image.mediaType };

t.test("each write has the credentials of its caller, and upstream's answer", async (t) => {
  const { upstream, mirror } = await setUp(t);
  const put = (who: Record<string, string>) =>
    mirror.ask("PUT", `${team}/manifests/1`, { ...who, ...manifest }, image.manifest);
  const post = (who: Record<string, string>) =>
    mirror.ask("POST", `${team}/blobs/uploads/?digest=${blob.digest}`, who, blob.bytes);
  for (const write of [put, post]) {
    const nobody = await write({});
    t.equal(nobody.status, 401);
    t.equal(nobody.headers["www-authenticate"], 'Basic realm="entrepot"');
    t.equal((await write(login("alice", "guess"))).status, 401);
    t.equal((await write(bob)).status, 403);
    t.equal((await write(alice)).status, 201);
  }
  t.equal((await mirror.get(`${team}/manifests/1`, alice)).status, 200);
  t.equal((await mirror.ask("DELETE", `${team}/manifests/${image.digest}`, bob)).status, 403);
  t.equal((await mirror.ask("DELETE", `${team}/manifests/${image.digest}`, alice)).status, 202);
  t.equal((await mirror.get(`${team}/manifests/1`, alice)).status, 404);
  const writes = upstream.requests.filter(({ method }) => method !== "GET" && method !== "HEAD");
  const sent = new Set(writes.map(({ headers }) => headers.authorization));
  t.same([...sent].sort(), [alice.authorization, bob.authorization].sort());
  t.equal(
    upstream.requests.filter(({ headers }) => headers.authorization === undefined).length,
    0,
    "nothing goes out with nobody's",
  );
});

t.test("an upload in sessions, and a mount, with the caller's rights on both sides", async (t) => {
  const { upstream, mirror } = await setUp(t);
  const begun = await mirror.ask("POST", `${team}/blobs/uploads/`, alice);
  t.equal(begun.status, 202);
  const { location = "" } = begun.headers;
  t.equal((await mirror.ask("PATCH", location, bob, blob.bytes)).status, 403, "a session is no right");
  const patched = await mirror.ask("PATCH", location, alice, blob.bytes);
  t.equal(patched.status, 202);
  const next = `${patched.headers.location}${patched.headers.location?.includes("?") ? "&" : "?"}digest=${blob.digest}`;
  t.equal((await mirror.ask("PUT", next, alice)).status, 201);
  const layer = image.layers[0]?.digest ?? "";
  const mount = (from: string) =>
    mirror.ask("POST", `${team}/blobs/uploads/?mount=${layer}&from=${from}`, alice);
  upstream.content("team/app").blobs.delete(layer);
  t.equal((await mount("team/base")).status, 201);
  const asked = upstream.requests.at(-1);
  t.match(asked?.path, /mount=.*from=team/);
  t.equal(asked?.headers.authorization, alice.authorization);
  t.equal((await mount("other/app")).status, 403);
});

t.test("what was refused before a push is there after it", async (t) => {
  const { upstream, mirror } = await setUp(t);
  upstream.content("team/app").blobs.clear();
  const path = `${team}/blobs/${blob.digest}`;
  t.equal((await mirror.ask("HEAD", path, alice)).status, 404);
  t.equal(
    (await mirror.ask("POST", `${team}/blobs/uploads/?digest=${blob.digest}`, alice, blob.bytes)).status,
    201,
  );
  t.equal((await mirror.ask("HEAD", path, alice)).status, 200);
});

t.test("without push everything is 405, and upstream hears nothing of it", async (t) => {
  const { upstream, mirror } = await setUp(t, false);
  t.equal((await mirror.ask("POST", `${team}/blobs/uploads/`, alice)).status, 405);
  t.equal((await mirror.ask("POST", `${team}/blobs/uploads/`)).status, 401);
  t.equal(upstream.requests.length, 0);
});
