// What a write through the mirror does to what the mirror serves.
import t from "tap";
import { makeContent, makeImage, randomBytesFor } from "../../fixtures/images.ts";
import { pushBlob, pushImage, pushManifest } from "../../fixtures/push-client.ts";
import { startBoth } from "../../fixtures/push-through.ts";

const repository = "team/app";
const blob = makeContent(randomBytesFor("blob", 100_000));

t.test("the pushed tag is there at once, whatever its time to live", async (t) => {
  const { mirror } = await startBoth(t, { tags: { ttl: Number.POSITIVE_INFINITY } });
  const path = `/v2/${repository}/manifests/1`;
  const [old, fresh] = [makeImage({ layers: [10], seed: "old" }), makeImage({ layers: [10], seed: "new" })];
  t.equal((await mirror.get(path)).status, 404);
  for (const image of [old, fresh]) {
    await pushImage(mirror, repository, "1", image);
    t.equal((await mirror.get(path)).headers["docker-content-digest"], image.digest);
  }
  t.equal((await mirror.ask("DELETE", path)).status, 202);
  t.equal((await mirror.get(path)).status, 404);
});

t.test("an answer of before the push, still under way, is not kept", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const path = `/v2/${repository}/manifests/1`;
  const [old, fresh] = [makeImage({ layers: [10], seed: "old" }), makeImage({ layers: [10], seed: "new" })];
  await pushImage(mirror, repository, "1", old);
  await pushImage(mirror, repository, "2", fresh);
  const gate = Promise.withResolvers<void>();
  let asked = 0;
  // The old manifest is sent slowly: it was what the tag named when it was asked for.
  const heal = upstream.fault(({ method, path: target }) =>
    method === "GET" && target.endsWith("/manifests/1") && asked++ === 0
      ? { answerOn: gate.promise }
      : undefined,
  );
  const before = mirror.get(path);
  await upstream.until(() => asked === 1);
  t.equal((await pushManifest(mirror, repository, "1", fresh)).status, 201);
  t.equal((await mirror.get(path)).headers["docker-content-digest"], fresh.digest, "nobody joins it");
  gate.resolve();
  t.equal((await before).headers["docker-content-digest"], old.digest);
  heal();
  t.equal((await mirror.get(path)).headers["docker-content-digest"], fresh.digest);
});

t.test(
  "an answer that was lost: the tag is confirmed before it is served, and stale rather than gone",
  async (t) => {
    const { upstream, mirror } = await startBoth(t);
    const path = `/v2/${repository}/manifests/1`;
    const [old, fresh] = [makeImage({ layers: [10], seed: "old" }), makeImage({ layers: [10], seed: "new" })];
    await pushImage(mirror, repository, "1", old);
    await pushImage(mirror, repository, "2", fresh);
    t.equal((await mirror.get(path)).headers["docker-content-digest"], old.digest);
    const heal = upstream.fault(({ method }) => (method === "PUT" ? { dieBeforeAnswer: true } : undefined));
    t.equal((await pushManifest(mirror, repository, "1", fresh)).status, 502);
    heal();
    t.equal((await mirror.get(path)).headers["docker-content-digest"], fresh.digest);
    upstream.fault(({ method }) => (method === "PUT" ? { status: 503 } : undefined));
    t.equal((await pushManifest(mirror, repository, "1", old)).status, 502);
    await upstream.stop();
    t.equal((await mirror.get(path)).status, 200, "nobody can confirm it");
    await mirror.line(({ result }) => result === "stale");
  },
);

t.test("what is deleted through the mirror is not served from its cache", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const image = makeImage({ layers: [100_000] });
  await pushImage(mirror, repository, "1", image);
  const [layer = blob] = image.layers;
  const paths = [`/v2/${repository}/blobs/${layer.digest}`, `/v2/${repository}/manifests/${image.digest}`];
  for (const path of paths) t.equal((await mirror.get(path)).status, 200);
  for (const path of paths) {
    t.equal((await mirror.ask("DELETE", path)).status, 202);
    t.equal((await mirror.get(path)).status, 404);
    t.equal((await mirror.ask("DELETE", path)).status, 404, "and a second time");
  }
  await pushBlob(mirror, repository, layer);
  const isStored = (): boolean =>
    mirror.lines.some((line) => line.result === "hit" && line.path === paths[0]);
  while (!isStored()) await mirror.get(paths[0] ?? "");
  upstream.content(repository).blobs.delete(layer.digest);
  t.equal((await mirror.get(paths[0] ?? "")).status, 200, "what goes behind the mirror's back stays");
  t.equal((await mirror.ask("DELETE", paths[0] ?? "")).status, 404);
  t.equal((await mirror.get(paths[0] ?? "")).status, 404, "until somebody is told");
});

t.test("a manifest deleted by digest: its tags are asked for before they are served again", async (t) => {
  const { upstream, mirror } = await startBoth(t, { tags: { ttl: Number.POSITIVE_INFINITY } });
  const [gone, kept] = [makeImage({ layers: [10], seed: "gone" }), makeImage({ layers: [10], seed: "kept" })];
  await pushImage(mirror, repository, "1", gone);
  await pushManifest(mirror, repository, "2", gone);
  await pushImage(mirror, repository, "3", kept);
  const statuses = async (): Promise<number[]> =>
    await Promise.all(
      ["1", "2", "3"].map(async (tag) => (await mirror.get(`/v2/${repository}/manifests/${tag}`)).status),
    );
  t.same(await statuses(), [200, 200, 200]);
  upstream.requests.length = 0;
  t.equal((await mirror.ask("DELETE", `/v2/${repository}/manifests/${gone.digest}`)).status, 202);
  t.same(await statuses(), [404, 404, 200]);
  t.same(
    upstream.requests
      .filter(({ path }) => !path.endsWith("/v2/"))
      .map(({ method, path }) => `${method} ${path.slice(path.lastIndexOf("/") + 1)}`)
      .sort(),
    [`DELETE ${gone.digest}`, "GET 1", "GET 2", "HEAD 1", "HEAD 2"].sort(),
    "nothing is asked about other tags; the words of a 404 cost one GET",
  );
});

t.test("a blob upstream has lost does not stand in the way of every push", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const image = makeImage({ layers: [1000] });
  await pushImage(mirror, repository, "1", image);
  const [layer = blob] = image.layers;
  const path = `/v2/${repository}/blobs/${layer.digest}`;
  await mirror.get(path);
  t.equal((await mirror.ask("HEAD", path)).status, 200);
  upstream.content(repository).blobs.delete(layer.digest);
  t.equal((await mirror.ask("HEAD", path)).status, 200, "asked just before: clients would not send it");
  const refused = await pushManifest(mirror, repository, "2", image);
  t.match(refused, { status: 404 });
  t.match(JSON.parse(refused.body.toString()), { errors: [{ code: "MANIFEST_BLOB_UNKNOWN" }] });
  t.equal((await mirror.ask("HEAD", path)).status, 404, "now they do");
  await pushImage(mirror, repository, "2", image);
});

t.test("a mount grants what was mounted, and nothing that was written beside it", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const [secret, own] = [makeContent(Buffer.from("secret ".repeat(99))), makeContent(Buffer.from("own"))];
  upstream.content("secret/app").blobs.set(secret.digest, secret.bytes);
  upstream.content("evil/app").blobs.set(own.digest, own.bytes);
  t.equal((await mirror.get(`/v2/secret/app/blobs/${secret.digest}`)).status, 200, "it is in the cache");
  const begin = `/v2/evil/app/blobs/uploads/`;
  const mount = `mount=${own.digest}&from=evil/app`;
  for (const [method, path] of [
    ["POST", `${begin}?${mount}&digest=${secret.digest}`],
    ["POST", `${begin}?digest=${secret.digest}&${mount}`],
    ["POST", `${begin}?${mount}&mount=${secret.digest}`],
    ["POST", `${begin}?${mount}&from=secret/app`],
    ["PUT", `${begin}id?digest=${own.digest}&digest=${secret.digest}`],
    ["PUT", `${begin}id?digest=${own.digest}&mount=${secret.digest}&from=evil/app`],
  ] as const) {
    upstream.requests.length = 0;
    const answer = await mirror.ask(method, path, { "content-length": "0" });
    t.match(answer, { status: 400 }, `${method} ${path}`);
    t.match(JSON.parse(answer.body.toString()), { errors: [{ code: "BLOB_UPLOAD_INVALID" }] });
    t.same(upstream.requests, [], "upstream is not asked");
  }
  t.equal((await mirror.get(`/v2/evil/app/blobs/${secret.digest}`)).status, 404);
  const mounted = await mirror.ask("POST", `${begin}?${mount}`, { "content-length": "0" });
  t.match(mounted, { status: 201, headers: { location: `/v2/evil/app/blobs/${own.digest}` } });
  t.equal((await mirror.get(`/v2/evil/app/blobs/${secret.digest}`)).status, 404);
});

t.test("a manifest pushed by digest with tags: they are given, told, and there at once", async (t) => {
  const { upstream, mirror } = await startBoth(t, { tags: { ttl: Number.POSITIVE_INFINITY } });
  const [old, fresh] = [makeImage({ layers: [10], seed: "old" }), makeImage({ layers: [10], seed: "new" })];
  for (const tag of ["a", "b"]) await pushImage(mirror, repository, tag, old);
  await pushImage(mirror, repository, "c", fresh);
  const tagOf = async (tag: string): Promise<unknown> =>
    (await mirror.get(`/v2/${repository}/manifests/${tag}`)).headers["docker-content-digest"];
  t.same([await tagOf("a"), await tagOf("b")], [old.digest, old.digest]);
  const pushed = await pushManifest(mirror, repository, `${fresh.digest}?tag=a&tag=b`, fresh);
  t.match(pushed, { status: 201, headers: { "oci-tag": "a, b" } });
  t.match(upstream.requests.findLast(({ method }) => method === "PUT")?.path, /\?tag=a&tag=b$/);
  t.same([await tagOf("a"), await tagOf("b")], [fresh.digest, fresh.digest]);
  const heal = upstream.fault(({ method }) => (method === "PUT" ? { dieBeforeAnswer: true } : undefined));
  t.equal((await pushManifest(mirror, repository, `${old.digest}?tag=a`, old)).status, 502);
  heal();
  t.equal(await tagOf("a"), old.digest, "and confirmed when the answer was lost");
  t.equal((await pushManifest(mirror, repository, `${old.digest}?tag=..%2Fa`, old)).status, 400);
});

t.test("after upstream's garbage collection HEAD says what is gone, so that a push sends it", async (t) => {
  const time = { now: Date.now() };
  const { upstream, mirror } = await startBoth(t, {
    clock: () => time.now,
    tags: { ttl: Number.POSITIVE_INFINITY },
  });
  const image = makeImage({ layers: [1000] });
  await pushImage(mirror, repository, "1", image);
  const tag = `/v2/${repository}/manifests/1`;
  const paths = [
    `/v2/${repository}/manifests/${image.digest}`,
    `/v2/${repository}/blobs/${image.config.digest}`,
  ];
  for (const path of [tag, ...paths]) t.equal((await mirror.get(path)).status, 200, "it is here");
  const heads = async (): Promise<number[]> =>
    await Promise.all(paths.map(async (path) => (await mirror.ask("HEAD", path)).status));
  const asked = (): number => upstream.requests.filter(({ method }) => method === "HEAD").length;
  upstream.requests.length = 0;
  t.same(await heads(), [200, 200]);
  t.same(await heads(), [200, 200]);
  t.equal(asked(), 2, "an answer of the last 30 s is given again");
  t.equal((await mirror.ask("HEAD", tag)).status, 200);
  t.equal(asked(), 2, "a tag that was checked just now is not confirmed");
  time.now += 61_000;
  const heal = upstream.fault(() => ({ status: 503 }));
  t.same(await heads(), [200, 200], "upstream fails: what is here counts");
  heal();
  upstream.content(repository).tags.delete("1");
  upstream.content(repository).manifests.delete(image.digest);
  upstream.content(repository).blobs.delete(image.config.digest);
  for (const path of [tag, ...paths]) t.equal((await mirror.get(path)).status, 200, "reads go on");
  t.same(await heads(), [404, 404]);
  t.equal((await mirror.ask("HEAD", tag)).status, 404, "whatever its time to live");
});

t.test(
  "HEAD asks again once something was written or deleted through this mirror, or behind it",
  async (t) => {
    const { upstream, mirror } = await startBoth(t, { tags: { ttl: Number.POSITIVE_INFINITY } });
    const [image, other] = [makeImage({ layers: [1000] }), makeImage({ layers: [10], seed: "other" })];
    const paths = [
      `/v2/${repository}/manifests/${image.digest}`,
      `/v2/${repository}/blobs/${image.config.digest}`,
    ];
    const known = async (): Promise<number[]> =>
      await Promise.all(paths.map(async (path) => (await mirror.ask("HEAD", path)).status));
    const writes: readonly [string, () => Promise<unknown>][] = [
      ["a push", () => pushManifest(mirror, repository, "2", image)],
      ["a blob pushed", () => pushBlob(mirror, repository, blob)],
      ["a tag deleted", () => mirror.ask("DELETE", `/v2/${repository}/manifests/3`)],
      ["a blob deleted", () => mirror.ask("DELETE", `/v2/${repository}/blobs/${blob.digest}`)],
    ];
    for (const [what, write] of writes) {
      await pushImage(mirror, repository, "1", image);
      await pushImage(mirror, repository, "3", other);
      for (const path of paths) t.equal((await mirror.get(path)).status, 200);
      t.same(await known(), [200, 200]);
      upstream.requests.length = 0;
      await write();
      // Its garbage collection runs just then.
      upstream.content(repository).manifests.delete(image.digest);
      upstream.content(repository).blobs.delete(image.config.digest);
      t.same(await known(), [404, 404], what);
    }
  },
);
