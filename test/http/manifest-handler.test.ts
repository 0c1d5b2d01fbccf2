import t from "tap";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { digestOf, makeImage, makeIndex } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const minute = 60_000;

t.test("HEAD tag then GET by digest is one upstream request, with identical headers", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/app", "1", image);
  const head = await mirror.ask("HEAD", "/v2/team/app/manifests/1");
  const get = await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  const byTag = await mirror.get("/v2/team/app/manifests/1");
  for (const { status, headers } of [head, get, byTag]) {
    t.equal(status, 200);
    t.equal(headers["content-type"], image.mediaType);
    t.equal(headers["content-length"], String(image.manifest.length));
    t.equal(headers["docker-content-digest"], image.digest);
    t.equal(headers["docker-distribution-api-version"], "registry/2.0");
  }
  t.equal(head.body.length, 0);
  t.ok(get.body.equals(image.manifest), "the very bytes");
  t.equal(upstream.count(), 1);
  t.equal(upstream.count({ method: "GET", kind: "manifest" }), 1);
});

t.test("every media type is served as it is to whoever takes it, and to everybody by digest", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const oci = makeImage({ layers: [10], seed: "oci" });
  const docker = makeImage({ layers: [10], seed: "docker", mediaTypes: "docker" });
  const index = makeIndex([oci, makeImage({ layers: [], seed: "other" })]);
  const sha512 = makeImage({ layers: [10], seed: "sha512", algorithm: "sha512" });
  upstream.addImage("a", "docker", docker);
  upstream.addIndex("a", "index", index);
  upstream.addImage("a", undefined, sha512);
  const artifact = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      artifactType: "application/vnd.example.thing",
      config: {
        mediaType: "application/vnd.oci.empty.v1+json",
        digest: digestOf(Buffer.from("{}")),
        size: 2,
      },
      layers: [],
      subject: { mediaType: oci.mediaType, digest: oci.digest, size: oci.manifest.length },
    }),
  );
  upstream.addManifest("a", "artifact", artifact, "application/vnd.oci.image.manifest.v1+json");
  const cases: [string, string, Buffer][] = [
    ["docker", docker.mediaType, docker.manifest],
    ["index", index.mediaType, index.manifest],
    [oci.digest, oci.mediaType, oci.manifest],
    [sha512.digest, sha512.mediaType, sha512.manifest],
    ["artifact", "application/vnd.oci.image.manifest.v1+json", artifact],
  ];
  const other = "application/vnd.docker.distribution.manifest.v1+json";
  for (const [reference, mediaType, body] of cases) {
    const last = reference.includes(":") ? other : `${other}, ${mediaType}`;
    for (const accept of [undefined, "*/*", "application/*", `${mediaType}, ${other}`, last]) {
      const answer = await mirror.get(`/v2/a/manifests/${reference}`, accept ? { accept } : {});
      t.equal(answer.status, 200, reference);
      t.equal(answer.headers["content-type"], mediaType);
      t.ok(answer.body.equals(body));
    }
  }
  const accepts = new Set(upstream.requests.map(({ headers }) => headers.accept));
  t.equal(accepts.size, 1, "upstream is always asked with the one full list");
});

t.test("a client that does not take the stored type is answered as upstream would", async (t) => {
  let steady = 1_000;
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { clock: () => 1e12 + steady, steady: () => steady });
  const image = makeImage({ layers: [10] });
  const tag = `sha256-${"a".repeat(64)}`;
  upstream.addImage("team/app", tag, image);
  const path = `/v2/team/app/manifests/${tag}`;
  t.equal((await mirror.get(path)).headers["docker-content-digest"], image.digest);
  const indexes = `${mediaTypes.ociIndex};q=0.9 , ${mediaTypes.dockerList}`;
  // Tags of signatures are confirmed by HEAD each time.
  const asked = (): (string | undefined)[] =>
    upstream.requests
      .splice(0)
      .flatMap(({ method, kind, headers }) =>
        method === "GET" && kind === "manifest" ? [headers.accept] : [],
      );
  upstream.forget();
  for (const method of ["GET", "HEAD", "GET"]) {
    const answer = await mirror.ask(method, path, { accept: indexes });
    t.equal(answer.status, 404, "an image of this type is none for who wants an index");
    t.equal(answer.headers.vary, "accept");
    if (method === "GET") t.match(answer.body.toString(), /MANIFEST_UNKNOWN/);
  }
  t.strictSame(asked(), [`${mediaTypes.ociIndex};q=0.9, ${mediaTypes.dockerList}`], "once in ten seconds");
  steady += 10_000;
  t.equal((await mirror.get(path, { accept: indexes })).status, 404);
  t.strictSame(asked(), []);
  steady += 1;
  t.equal((await mirror.get(path, { accept: indexes })).status, 404);
  t.equal(asked().length, 1);
  for (const accept of [`${indexes}, ${image.mediaType}`, `${indexes}, */*`, "*/*", image.mediaType]) {
    const answer = await mirror.get(path, { accept });
    t.equal(answer.headers["docker-content-digest"], image.digest, "the cache has forgotten nothing");
    t.equal(answer.headers.vary, undefined);
  }
  t.strictSame(asked(), []);
});

t.test(
  "what upstream gives to a narrow Accept is for those who ask so, and checked like any manifest",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    const image = makeImage({ layers: [10], mediaTypes: "docker" });
    const index = makeIndex([image, makeImage({ layers: [], seed: "other", mediaTypes: "docker" })], {
      mediaTypes: "docker",
    });
    upstream.addIndex("a", "1", index);
    // As Distribution gives the image of its default platform to who takes no list.
    const convert = upstream.fault(({ kind, reference, headers }) =>
      kind === "manifest" && reference === "1" && headers.accept === image.mediaType
        ? {
            status: 200,
            headers: { "content-type": image.mediaType, "docker-content-digest": image.digest },
            body: image.manifest,
          }
        : undefined,
    );
    for (let i = 0; i < 2; i++) {
      t.equal((await mirror.get("/v2/a/manifests/1")).headers["docker-content-digest"], index.digest);
      const answer = await mirror.get("/v2/a/manifests/1", { accept: image.mediaType });
      t.equal(answer.headers["docker-content-digest"], image.digest);
      t.ok(answer.body.equals(image.manifest));
    }
    t.equal(upstream.count({ kind: "manifest" }), 2, "one for each form");
    convert();
    upstream.fault(({ kind, reference }) =>
      kind === "manifest" && reference === "2" ? { status: 503 } : undefined,
    );
    upstream.addIndex("a", "2", index);
    const failed = await mirror.get("/v2/a/manifests/2", { accept: "application/json" });
    t.equal(failed.status, 502);
  },
);

t.test("a push through the mirror ends what was remembered for a narrow Accept", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { upstream: { push: true } });
  const image = makeImage({ layers: [10] });
  upstream.addImage("a", "1", image);
  upstream.fault(({ method }) => (method === "PUT" ? { status: 201 } : undefined));
  const narrow = () => mirror.get("/v2/a/manifests/1", { accept: mediaTypes.ociIndex });
  const asked = () => upstream.count({ method: "GET", kind: "manifest" });
  t.equal((await narrow()).status, 404);
  t.equal((await narrow()).status, 404);
  t.equal(asked(), 2);
  const headers = { "content-type": image.mediaType };
  t.equal((await mirror.ask("PUT", "/v2/a/manifests/1", headers, image.manifest)).status, 201);
  t.equal((await narrow()).status, 404);
  t.equal(asked(), 4, "the tag and the narrow question");
});

t.test("a parameter or a generic type from upstream never reaches the client", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  for (const [tag, type] of [
    ["charset", `${image.mediaType}; charset=utf-8`],
    ["octets", "application/octet-stream"],
    ["json", "application/json"],
  ] as const) {
    upstream.addManifest("a", tag, image.manifest, type);
    t.equal((await mirror.get(`/v2/a/manifests/${tag}`)).headers["content-type"], image.mediaType, tag);
  }
});

t.test("a tag is fresh for its TTL, then confirmed by HEAD, and followed when it moves", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { clock: () => now });
  const old = makeImage({ layers: [10], seed: "old" });
  const fresh = makeImage({ layers: [10], seed: "new" });
  upstream.addImage("team/app", "latest", old);
  const digest = async (): Promise<string | undefined> =>
    (await mirror.get("/v2/team/app/manifests/latest")).headers["docker-content-digest"];
  t.equal(await digest(), old.digest);
  upstream.addImage("team/app", "latest", fresh);
  now += minute - 1;
  t.equal(await digest(), old.digest, "within the TTL nobody is asked");
  t.equal(upstream.count(), 1);
  now += 1;
  t.equal(await digest(), fresh.digest);
  t.strictSame(
    upstream.requests.slice(1).map(({ method, reference }) => `${method} ${reference}`),
    ["HEAD latest", `GET ${fresh.digest}`],
  );
  now += minute;
  t.equal(await digest(), fresh.digest);
  t.equal(upstream.requests.at(-1)?.method, "HEAD");
  t.equal(upstream.count(), 4);
});

t.test("stale while upstream fails, for each way to fail", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { clock: () => now, upstream: { firstByteTimeout: 1_000 } });
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/app", "1", image);
  await mirror.get("/v2/team/app/manifests/1");
  const faults = [
    { status: 500 },
    { status: 503 },
    { status: 429 },
    { status: 401 },
    { hang: true },
    { reset: true },
    { html: true },
  ];
  for (const fault of faults) {
    now += 2 * minute;
    const heal = upstream.fault(() => fault);
    const answer = await mirror.get("/v2/team/app/manifests/1");
    t.equal(answer.status, 200, JSON.stringify(fault));
    t.ok(answer.body.equals(image.manifest));
    heal();
  }
  t.equal(mirror.lines.filter(({ result }) => result === "stale").length, faults.length);
});

t.test("stale for as long as configured; gone when upstream says so", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { clock: () => now });
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/app", "1", image);
  await mirror.get("/v2/team/app/manifests/1");
  now += 2 * minute;
  await upstream.stop();
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200, "nobody listens there");
  await upstream.start();
  now += 8 * 24 * 60 * minute;
  await upstream.stop();
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 502, "beyond the bound");
  t.equal((await mirror.get(`/v2/team/app/manifests/${image.digest}`)).status, 200, "a digest is for ever");
  await upstream.start();
  upstream.removeTag("team/app", "1");
  now += minute;
  const gone = await mirror.get("/v2/team/app/manifests/1");
  t.equal(gone.status, 404);
  t.match(JSON.parse(gone.body.toString()), { errors: [{ code: "MANIFEST_UNKNOWN" }] });
});

t.test("a manifest above 4 MiB passes through, verified and not stored", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const body = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [],
      pad: "x".repeat(5e6),
    }),
  );
  const digest = upstream.addManifest("a", "big", body, "application/vnd.oci.image.index.v1+json");
  for (const reference of ["big", digest]) {
    const answer = await mirror.get(`/v2/a/manifests/${reference}`);
    t.equal(answer.status, 200);
    t.ok(answer.body.equals(body));
    t.equal(answer.headers["docker-content-digest"], digest);
  }
  t.equal((await mirror.ask("HEAD", "/v2/a/manifests/big")).headers["content-length"], String(body.length));
  const heal = upstream.fault(({ kind }) => (kind === "manifest" ? { corrupt: true } : undefined));
  t.notOk((await mirror.get(`/v2/a/manifests/${digest}`)).complete);
  heal();
  t.ok(mirror.lines.some(({ result }) => result === "pass"));
});

t.test("a manifest whose bytes are not its digest is an upstream error, by tag and by digest", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  upstream.addImage("a", "1", image);
  const heal = upstream.fault(({ kind }) => (kind === "manifest" ? { corrupt: true } : undefined));
  t.equal((await mirror.get("/v2/a/manifests/1")).status, 502);
  t.equal((await mirror.get(`/v2/a/manifests/${image.digest}`)).status, 502);
  heal();
  t.equal((await mirror.get(`/v2/a/manifests/${image.digest}`)).status, 200);
});
