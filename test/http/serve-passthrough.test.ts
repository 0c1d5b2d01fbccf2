// With passthrough upstream says by a caller's own credentials what the caller may read, before anything is looked up.
import t, { type Test } from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { login } from "../fixtures/access.ts";
import { makeContent, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { type Answer, type Mirror, startMirror } from "../fixtures/mirror.ts";
import { passthroughAccess, startPassthrough } from "../fixtures/passthrough.ts";
import { type ScriptedUpstream, startUpstream, type Users } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [5_000], seed: "passthrough" });
const layer = image.layers[0]?.digest ?? "";
const alice = login("alice", "alice-pw");
const bob = login("bob", "bob-pw");
const path = "/v2/team/app/manifests/1";

function users(): Record<"alice" | "bob", Users[string]> {
  return {
    alice: { password: "alice-pw", reads: ["team/app", "team/second"] },
    bob: { password: "bob-pw", reads: ["other/app"] },
  };
}

function refusalOf({ body }: Answer): string {
  return (JSON.parse(body.toString()) as { errors: [{ code: string }] }).errors[0].code;
}

t.test("a caller reads what upstream lets it read, and asks again once the proof has ended", async (t) => {
  const time = { now: 1_000_000 };
  const { upstream, mirror } = await startPassthrough(t, users(), { steady: () => time.now });
  upstream.addImage("team/app", "1", image);
  t.equal((await mirror.get(path)).status, 401);
  t.equal(upstream.requests.length, 0, "without credentials nobody is asked");
  t.equal((await mirror.get(path, alice)).status, 200);
  t.equal(upstream.count({ kind: "manifest", method: "HEAD" }), 1, "the proof");
  t.equal(upstream.count({ kind: "manifest", method: "GET" }), 1, "the manifest");
  upstream.forget();
  t.match((await mirror.get(path, alice)).headers["cache-status"], /^entrepot; hit; .*detail=memory$/);
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 200, "by the proof of before");
  t.equal(upstream.count({ method: "HEAD" }), 0);
  t.equal((await mirror.get(path, bob)).status, 403);
  const wrong = await mirror.get(path, login("alice", "guess"));
  t.equal(wrong.status, 401);
  t.equal(wrong.headers["www-authenticate"], 'Basic realm="entrepot"');
  upstream.forget();
  time.now += 299_999;
  t.equal((await mirror.get(path, alice)).status, 200);
  t.equal(upstream.requests.length, 0);
  time.now += 1;
  t.equal((await mirror.get(path, alice)).status, 200);
  t.equal(upstream.count({ method: "HEAD", kind: "manifest" }), 1);
});

t.test("every question carries the credentials of the caller it is for", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  upstream.addImage("team/app", "1", image);
  upstream.addImage("other/app", "1", makeImage({ layers: [3_000], seed: "other" }));
  await mirror.get(path, alice);
  await mirror.get("/v2/team/app/tags/list", alice);
  await mirror.get(`/v2/team/app/blobs/${layer}`, alice);
  await mirror.get(`/v2/team/app/referrers/${image.digest}`, alice);
  await mirror.get("/v2/other/app/manifests/1", bob);
  const sent = new Map<string, Set<string | undefined>>();
  for (const { repository = "", headers } of upstream.requests)
    sent.set(repository, (sent.get(repository) ?? new Set()).add(headers.authorization));
  t.same([...(sent.get("team/app") ?? [])], [alice.authorization]);
  t.same([...(sent.get("other/app") ?? [])], [bob.authorization]);
});

t.test(
  "what is here through one repository is not given through another that does not hold it",
  async (t) => {
    const { upstream, mirror } = await startPassthrough(t, users());
    upstream.addImage("other/app", "1", image);
    const own = makeImage({ layers: [2_000], seed: "own" });
    upstream.addImage("team/app", "1", own);
    for (const what of ["manifests/1", `blobs/${layer}`])
      t.equal((await mirror.get(`/v2/other/app/${what}`, bob)).status, 200);
    t.equal((await mirror.get(path, alice)).status, 200, "a proof for the repository");
    for (const method of ["GET", "HEAD"])
      for (const what of [`blobs/${layer}`, `blobs/${image.config.digest}`, `manifests/${image.digest}`])
        t.equal((await mirror.ask(method, `/v2/team/app/${what}`, alice)).status, 404, `${method} ${what}`);
    const ranged = await mirror.get(`/v2/team/app/blobs/${layer}`, { ...alice, range: "bytes=0-9" });
    t.equal(ranged.status, 404);
  },
);

t.test("a manifest that names a blob of another repository gives no right to it", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  const secret = makeContent(randomBytesFor("secret", 5_000));
  upstream.addImage("other/app", "1", image);
  upstream.addBlob("other/app", secret.bytes);
  t.equal((await mirror.get(`/v2/other/app/blobs/${secret.digest}`, bob)).status, 200);
  const json = JSON.parse(image.manifest.toString()) as { layers: object[] };
  const foreign = {
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest: secret.digest,
    size: 5_000,
  };
  upstream.addImage("team/app", "2", image);
  const body = Buffer.from(JSON.stringify({ ...json, layers: [...json.layers, foreign] }));
  upstream.addManifest("team/app", "1", body, image.mediaType);
  t.equal((await mirror.get(path, alice)).status, 200);
  for (const method of ["GET", "HEAD"])
    t.equal((await mirror.ask(method, `/v2/team/app/blobs/${secret.digest}`, alice)).status, 404, method);
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 200);
});

t.test("repositories with the same layer share the download, each with its own proof", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  for (const repository of ["team/app", "team/second", "other/app"])
    upstream.addImage(repository, "1", image);
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 200);
  t.equal((await mirror.get(`/v2/other/app/blobs/${layer}`, alice)).status, 403);
  t.equal((await mirror.get(`/v2/other/app/blobs/${layer}`, bob)).status, 200);
  t.equal((await mirror.get(`/v2/team/second/blobs/${layer}`, alice)).status, 200);
  t.equal(upstream.count({ kind: "blob", method: "GET", status: 200 }), 1);
});

t.test("what upstream does not have is 404, and what else there is can be read at once", async (t) => {
  const time = { now: 1_000_000 };
  const { upstream, mirror } = await startPassthrough(t, users(), { steady: () => time.now });
  upstream.addImage("team/app", "1", image);
  const absent = await mirror.get("/v2/team/app/manifests/absent", alice);
  t.equal(absent.status, 404);
  t.equal(refusalOf(absent), "MANIFEST_UNKNOWN");
  t.notOk(absent.headers["cache-status"]);
  t.equal((await mirror.get("/v2/team/app/manifests/absent", alice)).status, 404);
  t.equal(upstream.count({ kind: "manifest", method: "HEAD" }), 1, "it is remembered");
  upstream.forget();
  t.equal((await mirror.get(path, alice)).status, 200);
  t.equal((await mirror.get("/v2/none/app/manifests/1", alice)).status, 403);
});

t.test("lists are for those to whom upstream gives them", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  upstream.addImage("team/app", "1", image);
  upstream.addImage("other/app", "1", image);
  for (const [who, repository] of [
    [alice, "team/app"],
    [bob, "other/app"],
  ] as const) {
    const listed = await mirror.get(`/v2/${repository}/tags/list`, who);
    t.same(JSON.parse(listed.body.toString()), { name: repository, tags: ["1"] });
  }
  t.equal((await mirror.get("/v2/team/app/tags/list", bob)).status, 403);
  t.equal((await mirror.get("/v2/team/app/tags/list")).status, 401);
  t.equal((await mirror.get(`/v2/team/app/referrers/${image.digest}`, bob)).status, 403);
  const catalogOf = async (who: Record<string, string>) => {
    const { status, body } = await mirror.get("/v2/_catalog", who);
    return status === 200 ? JSON.parse(body.toString()).repositories : status;
  };
  await mirror.get(path, alice);
  await mirror.get("/v2/other/app/manifests/1", bob);
  t.same(await catalogOf(alice), ["team/app"], "what has been proved");
  t.same(await catalogOf(bob), ["other/app"]);
  t.equal(await catalogOf({}), 401);
  t.equal(await catalogOf(login("alice", "guess")), 401);
});

t.test("logins are upstream's to judge", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  const login1 = await mirror.get("/v2/");
  t.equal(login1.status, 401);
  t.equal(login1.headers["www-authenticate"], 'Basic realm="entrepot"');
  t.equal((await mirror.get("/v2/", login("alice", "guess"))).status, 401);
  t.equal((await mirror.get("/v2/", alice)).status, 200);
  const asked = upstream.count();
  t.equal((await mirror.get("/v2/", alice)).status, 200);
  t.equal(upstream.count(), asked, "it is remembered");
});

t.test("who loses the right is refused at once when upstream is asked, and gets nothing stale", async (t) => {
  const time = { now: 1_000_000 };
  const clock = (): number => time.now;
  const people = users();
  const { upstream, mirror } = await startPassthrough(t, people, { steady: clock, clock });
  upstream.addImage("team/app", "1", image);
  t.equal((await mirror.get(path, alice)).status, 200);
  people.alice.password = "another";
  time.now += 61_000;
  t.equal((await mirror.get(path, alice)).status, 401, "the tag is to be confirmed");
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 401, "the proof is gone");
  t.equal((await mirror.get(path, login("alice", "another"))).status, 200);
  people.alice.reads = [];
  time.now += 61_000;
  t.equal((await mirror.get(path, login("alice", "another"))).status, 403);
});

t.test("a web page in place of a manifest proves nothing", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  upstream.addImage("team/app", "1", image);
  const restore = upstream.fault(() => ({ html: true }));
  for (const what of ["manifests/1", `manifests/${image.digest}`, `blobs/${layer}`, "tags/list"])
    t.equal((await mirror.get(`/v2/team/app/${what}`, alice)).status, 502, what);
  t.equal((await mirror.get("/v2/", alice)).status, 502);
  restore();
  upstream.fault(() => ({ status: 500 }));
  t.equal((await mirror.get(path, alice)).status, 502, "no proof was made");
});

/** A private upstream and a public one, which asks nobody. */
async function startBoth(t: Test): Promise<{ hub: ScriptedUpstream; far: ScriptedUpstream; mirror: Mirror }> {
  const hub = await startUpstream(t, { anonymous: true });
  const far = await startUpstream(t, { users: users() });
  const mirror = await startMirror(t, hub, {
    access: passthroughAccess,
    upstream: { auth: { kind: "none" } },
    more: [{ ...plainUpstream("far", far.url), component: "far", access: "passthrough" }],
  });
  return { hub, far, mirror };
}

t.test("beside an upstream that is open to everybody", async (t) => {
  const { hub, far, mirror } = await startBoth(t);
  for (const upstream of [hub, far]) upstream.addImage("team/app", "1", image);
  t.equal((await mirror.get(path)).status, 200, "nobody is asked who asks for what is public");
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 200);
  const sent = new Set(hub.requests.map(({ headers }) => headers.authorization));
  t.same([...sent], [undefined], "and credentials are not for it");
  t.equal((await mirror.get("/v2/far/team/app/manifests/1")).status, 401);
  t.equal((await mirror.get("/v2/far/team/app/manifests/1", bob)).status, 403);
  t.equal((await mirror.get("/v2/far/team/app/manifests/1", alice)).status, 200);
  t.equal((await mirror.get(`/far/v2/team/app/blobs/${layer}`, alice)).status, 200);
  t.equal(far.count({ kind: "blob", method: "GET" }), 0, "the bytes are here");
  t.equal(far.count({ kind: "blob", method: "HEAD" }), 1, "and upstream has said that they are there, too");
  t.equal(
    (await mirror.get("/v2/")).status,
    401,
    "clients have to know that there is something to log in for",
  );
  t.equal((await mirror.get("/v2/", alice)).status, 200);
  t.equal((await mirror.get("/v2/_catalog")).status, 200, "that of the public one");
});

t.test("without an account nothing is asked that no caller waits for, which is said once", async (t) => {
  const { mirror } = await startPassthrough(t, users());
  const said = mirror.lines.filter(({ msg }) => /no account for what no caller waits for/.test(String(msg)));
  t.equal(said.length, 1);
  const { mirror: other } = await startPassthrough(t, users(), { account: true });
  t.notOk(other.lines.some(({ msg }) => /no account for what no caller/.test(String(msg))));
});

t.test("no credentials in the log", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, users());
  upstream.addImage("team/app", "1", image);
  await mirror.get(path, alice);
  await mirror.get(path, login("alice", "guess-pw"));
  upstream.fault(() => ({ status: 500 }));
  await mirror.get(path, bob);
  const log = JSON.stringify(mirror.lines);
  for (const secret of [
    "alice-pw",
    "guess-pw",
    "bob-pw",
    alice.authorization.slice(6),
    bob.authorization.slice(6),
  ])
    t.notOk(log.includes(secret));
  t.notMatch(log, /"user":/, "upstream knows who it was");
});
