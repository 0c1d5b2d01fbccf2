import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test(
  "the ping is answered here, with and without slash and prefix, also while upstream is down",
  async (t) => {
    const upstream = await startUpstream(t);
    const mirror = await startMirror(t, upstream);
    await upstream.stop();
    for (const path of ["/v2/", "/v2", "/upstream/v2/"]) {
      for (const method of ["GET", "HEAD"]) {
        const answer = await mirror.ask(method, path);
        t.equal(answer.status, 200, `${method} ${path}`);
        t.equal(answer.headers["docker-distribution-api-version"], "registry/2.0");
        t.equal(answer.body.toString(), method === "GET" ? "{}" : "");
      }
    }
    t.equal(upstream.count(), 0);
  },
);

t.test("a path prefix names the upstream; an unknown one is 404, not a guess", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  upstream.addImage("library/app", "1", makeImage({ layers: [10] }));
  t.equal((await mirror.get("/v2/library/app/manifests/1?ns=docker.io")).status, 200);
  t.equal((await mirror.get("/upstream/v2/library/app/manifests/1?ns=docker.io")).status, 200);
  const other = await mirror.get("/other/v2/library/app/manifests/1");
  t.equal(other.status, 404);
  t.match(JSON.parse(other.body.toString()), { errors: [{ code: "NAME_UNKNOWN" }] });
  t.ok(
    upstream.requests.every(({ path }) => !path.includes("ns=")),
    "ns is never sent on",
  );
});

t.test("everything that writes is 405 with Allow, body or not, and reaches nobody", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const digest = `sha256:${"a".repeat(64)}`;
  const paths = [
    "/v2/",
    "/v2/a/blobs/uploads/",
    "/v2/a/blobs/uploads/some-id",
    `/v2/a/blobs/${digest}`,
    "/v2/a/manifests/1",
  ];
  for (const path of paths) {
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
      const answer = await mirror.ask(method, path, {}, method === "PUT" ? Buffer.alloc(100_000) : undefined);
      t.equal(answer.status, 405, `${method} ${path}`);
      t.equal(answer.headers.allow, "GET, HEAD");
      t.match(JSON.parse(answer.body.toString()), { errors: [{ code: "UNSUPPORTED" }] });
    }
  }
  t.equal((await mirror.get("/v2/a/blobs/uploads/")).status, 405);
  t.equal(upstream.count(), 0);
});

t.test("bad names, references and paths are refused here", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const cases: [string, number, string][] = [
    ["/v2/a/manifests/sha256:baddigeststring", 400, "TAG_INVALID"],
    ["/v2/a/blobs/:", 400, "DIGEST_INVALID"],
    ["/v2/UPPER/manifests/1", 400, "NAME_INVALID"],
    ["/v2/a/../b/manifests/1", 400, "NAME_INVALID"],
    ["/v2/a%2f%2e%2e%2fb/manifests/1", 400, "NAME_INVALID"],
    ["/v2/a%252fb/manifests/1", 400, "NAME_INVALID"],
    ["//evil/v2/", 400, "NAME_INVALID"],
    ["/v2/a//b/manifests/1", 400, "NAME_INVALID"],
    ["/v1/search", 404, "UNSUPPORTED"],
    ["/", 404, "UNSUPPORTED"],
  ];
  for (const [path, status, code] of cases) {
    const answer = await mirror.get(path);
    t.equal(answer.status, status, path);
    t.match(JSON.parse(answer.body.toString()), { errors: [{ code }] });
  }
  t.equal(upstream.count(), 0);
});

t.test("escapes of a path are decoded here: upstream and the cache know one spelling", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/app", "1", image);
  const [layer = ""] = image.layers.map(({ digest }) => digest);
  t.equal((await mirror.get("/v2/team%2Fapp/manifests/1")).status, 200);
  const asked = upstream.count();
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  t.equal((await mirror.get(`/v2/team%2fapp/manifests/${encodeURIComponent(image.digest)}`)).status, 200);
  t.equal(upstream.count(), asked, "it is here under its one name");
  t.equal((await mirror.get(`/v2/team/app/blobs/${encodeURIComponent(layer)}`)).status, 200);
  t.equal((await mirror.get("/v2/team%2Fapp/tags/list/")).status, 200);
  t.notOk(upstream.requests.some(({ path }) => path.includes("%")));
});

t.test("the client's credentials are neither needed, relayed nor logged", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  upstream.addImage("a", "1", makeImage({ layers: [10] }));
  const secret = Buffer.from("hub-user:hub-password").toString("base64");
  const answer = await mirror.get("/v2/a/manifests/1", {
    authorization: `Basic ${secret}`,
    cookie: "session=abc",
  });
  t.equal(answer.status, 200);
  const own = Buffer.from(`${upstream.username}:${upstream.password}`).toString("base64");
  t.ok(upstream.requests.every(({ headers }) => headers.authorization === `Basic ${own}` && !headers.cookie));
  t.notMatch(JSON.stringify(mirror.lines), /hub-password|session=abc/);
  t.notOk(JSON.stringify(mirror.lines).includes(secret) || JSON.stringify(mirror.lines).includes(own));
});

t.test("one log line per request, with origin and bytes", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/app", "1", image);
  await mirror.get("/v2/team/app/manifests/1", { "user-agent": "containerd/2.1" });
  await mirror.get("/v2/team/app/manifests/1");
  await mirror.get("/v2/none/manifests/1");
  await mirror.line(({ repository }) => repository === "none");
  const requests = mirror.lines.filter(({ msg }) => msg === "request");
  t.match(requests, [
    {
      method: "GET",
      route: "manifest_tag",
      path: "/v2/team/app/manifests/1",
      upstream: "upstream",
      repository: "team/app",
      reference: "1",
      status: 200,
      result: "miss",
      source: "upstream:upstream",
      bytes: image.manifest.length,
      user_agent: "containerd/2.1",
    },
    { result: "hit", source: "memory", bytes: image.manifest.length },
    { result: "miss", status: 404, detail: "MANIFEST_UNKNOWN" },
  ]);
  t.equal(requests.length, 3);
});
