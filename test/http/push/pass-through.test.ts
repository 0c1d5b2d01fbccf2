import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import t from "tap";
import { makeContent, makeImage, randomBytesFor } from "../../fixtures/images.ts";
import { startMirror } from "../../fixtures/mirror.ts";
import { beginUpload, completed, openRequest, pushBlob, pushImage } from "../../fixtures/push-client.ts";
import { startBoth } from "../../fixtures/push-through.ts";
import type { Locations, PushFault } from "../../fixtures/push-upstream.ts";

const repository = "team/app";
const uploads = `/v2/${repository}/blobs/uploads/`;
const absent = `sha256:${"a".repeat(64)}`;
const blob = makeContent(randomBytesFor("blob", 100_000));

t.test("an image is pushed in chunks and pulled again, over one connection to upstream", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const image = makeImage({ layers: [100_000, 10] });
  await pushBlob(mirror, repository, image.layers[0] ?? blob, 30_000);
  await pushImage(mirror, repository, "1", image);
  t.equal(upstream.connections, 1);
  t.equal(upstream.openUploads, 0);
  const pulled = await mirror.get(`/v2/${repository}/manifests/1`);
  t.ok(pulled.body.equals(image.manifest));
  for (const { digest, bytes } of [image.config, ...image.layers])
    t.ok((await mirror.get(`/v2/${repository}/blobs/${digest}`)).body.equals(bytes));
  const events = mirror.lines.filter(({ msg, method }) => msg === "request" && method !== "GET");
  t.equal(events.length, 6 + 3 * 3 + 1, "one event for each request");
  t.ok(
    events.every(
      ({ result, source, status, upstream_status: told }) =>
        result === "pass" && source === "upstream:upstream" && status === told,
    ),
  );
});

t.test("headers, types and ranges of a push arrive as they were sent; the answers' come back", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const location = await beginUpload(mirror, repository);
  const headers = {
    "content-type": "application/octet-stream",
    "content-range": "0-9",
    "user-agent": "docker/28",
  };
  const answer = await mirror.ask("PATCH", location, headers, Buffer.alloc(10));
  t.match(upstream.requests[1]?.headers, { ...headers, "content-length": "10" });
  t.match(answer, { status: 202, headers: { range: "0-9", "oci-chunk-min-length": "1024" } });
  t.equal(answer.headers["docker-distribution-api-version"], "registry/2.0");
  t.ok(answer.headers["docker-upload-uuid"]);
});

t.test("no credential, cookie, challenge or hop-by-hop header passes, either way", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const headers = {
    authorization: "Basic aHViOmh1Yg==",
    cookie: "session=client",
    "proxy-authorization": "Basic aHViOmh1Yg==",
    "x-forwarded-for": "192.0.2.1",
    connection: "close, user-agent",
    "user-agent": "named in Connection",
    te: "trailers",
    upgrade: "websocket",
  };
  const answer = await mirror.ask("POST", uploads, headers);
  t.equal(answer.status, 202);
  const own = `Basic ${Buffer.from(`${upstream.username}:${upstream.password}`).toString("base64")}`;
  const { via, ...sent } = upstream.requests[0]?.headers ?? {};
  t.match(via, /^1\.1 entrepot-\w+$/, "the mirror's own");
  t.strictSame(sent, {
    host: upstream.url.host,
    authorization: own,
    connection: "keep-alive",
    "accept-encoding": "identity",
    "content-length": "0",
  });
  t.notOk(answer.headers["set-cookie"] ?? answer.headers["x-registry-supports-signatures"]);
  t.notOk(JSON.stringify(mirror.lines).match(/aHViOmh1Yg|session=|s3cret/));
  t.notOk(JSON.stringify(mirror.lines).includes(own));
});

const kinds: readonly Locations[] = ["absolute", "relative", "wrong-scheme", "outside", "foreign"];
for (const locations of kinds) {
  t.test(
    `Location ${locations}: the client stays with the mirror, the upload goes where it must`,
    async (t) => {
      const { upstream, mirror } = await startBoth(t);
      upstream.locations = locations;
      const pushed = await pushBlob(mirror, repository, blob, 40_000);
      t.match(pushed, { status: 201, headers: { location: `/v2/${repository}/blobs/${blob.digest}` } });
      t.ok((await mirror.get(`/v2/${repository}/blobs/${blob.digest}`)).body.equals(blob.bytes));
      const gone = upstream.requests.filter(({ foreign }) => foreign);
      t.equal(gone.length, locations === "foreign" ? 4 : 0);
      t.ok(
        gone.every(({ headers }) => headers.authorization === undefined),
        "never with credentials",
      );
      const location = await beginUpload(mirror, repository);
      t.match(location, /^\/v2\/team\/app\/blobs\/uploads\/[^/?]+(\?_state=[^&]+)?$/);
      t.match(await mirror.get(location), { status: 204, headers: { range: "0-0" } });
      t.equal((await mirror.ask("HEAD", location)).status, 204);
      t.equal((await mirror.ask("DELETE", location)).status, 204);
      t.equal(upstream.openUploads, 0, "cancelled");
      t.equal((await mirror.get(location)).status, 404);
    },
  );
}

t.test("an upload never goes on at an address no download may be redirected to", async (t) => {
  const { upstream, mirror } = await startBoth(t, {
    upstream: { redirectsTo: ["10.0.0.0/8"] },
  });
  const { port } = new URL(upstream.foreignOrigin);
  const hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "127.1"];
  for (const host of [...hosts, "169.254.169.254", "[::1]", "[fe80::1]"]) {
    for (const scheme of ["http", "https"]) {
      const heal = upstream.fault(() => ({
        status: 202,
        headers: { location: `${scheme}://${host}:${port}/latest/meta-data` },
      }));
      const location = await beginUpload(mirror, repository);
      heal();
      upstream.requests.length = 0;
      for (const method of ["GET", "HEAD", "PATCH", "PUT", "DELETE"]) {
        const body = method.startsWith("P") ? Buffer.from("abc") : undefined;
        const { status, body: told } = await mirror.ask(method, location, {}, body);
        t.equal(status, 502, `${method} ${scheme}://${host}`);
        if (method !== "HEAD") t.match(told.toString(), /redirect_refused/);
      }
      t.same(upstream.requests, []);
    }
  }
  t.equal(upstream.connections, 1, "that of upstream itself");
  const told = mirror.lines.filter(({ detail }) => detail === "redirect_refused");
  t.equal(told.length, 9 * 2 * 5);
});

t.test("a prefix and ns lead back to the same upstream, and stay here", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  for (const locations of kinds) {
    upstream.locations = locations;
    const { headers } = await mirror.ask("POST", `/upstream${uploads}?ns=docker.io`);
    t.match(headers.location, /^\/upstream\/v2\/team\/app\/blobs\/uploads\/.*[?&]ns=docker\.io$/, locations);
    const answer = await mirror.ask("PATCH", headers.location ?? "", {}, blob.bytes);
    const done = await mirror.ask("PUT", completed(answer.headers.location ?? "", blob.digest));
    t.match(done, { status: 201, headers: { location: `/upstream/v2/team/app/blobs/${blob.digest}` } });
  }
  t.ok(upstream.requests.every(({ path }) => !path.includes("ns=")));
});

t.test("a blob in one request, a mounted blob, and one that cannot be mounted", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const at = { location: `/v2/${repository}/blobs/${blob.digest}` };
  const whole = await mirror.ask("POST", `${uploads}?digest=${blob.digest}`, {}, blob.bytes);
  t.match(whole, { status: 201, headers: at });
  const mounted = await mirror.ask("POST", `/v2/b/blobs/uploads/?mount=${blob.digest}&from=${repository}`);
  t.match(mounted, { status: 201, headers: { location: `/v2/b/blobs/${blob.digest}` } });
  t.ok(upstream.content("b").blobs.has(blob.digest));
  const sent = await mirror.ask("POST", `/v2/b/blobs/uploads/?mount=${absent}&from=${repository}`);
  t.match(sent, { status: 202, headers: { location: /^\/v2\/b\/blobs\/uploads\// } });
  const wrong = await mirror.ask("POST", `${uploads}?digest=${absent}`, {}, blob.bytes);
  t.match(wrong, { status: 400, headers: { "content-type": "application/json" } });
  t.match(wrong.body.toString(), /DIGEST_INVALID/);
});

t.test("what upstream refuses, and how the client hears it", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const json = { "content-type": "application/json" };
  const cases: [PushFault, number, RegExp][] = [
    [{ status: 403, headers: json, body: `{"errors":[{"code":"DENIED","message":"quota"}]}` }, 403, /quota/],
    [
      { status: 403, headers: json, body: `{"errors":[{"status":403,"message":"policy X"}]}` },
      403,
      /policy X/,
    ],
    [{ status: 403, headers: { "content-type": "text/html" }, body: "<form>login</form>" }, 403, /"DENIED"/],
    [{ status: 413, body: "" }, 413, /"SIZE_INVALID"/],
    [{ status: 404, body: "" }, 404, /"BLOB_UPLOAD_UNKNOWN"/],
    [{ status: 409, body: "x".repeat(100_000) }, 409, /refuses the write \(409\)/],
    [{ status: 500, headers: json, body: `{"errors":[{"code":"UNKNOWN","message":"disk"}]}` }, 502, /disk/],
    [{ status: 503, body: "" }, 502, /"UNAVAILABLE"/],
    [{ status: 407, body: "" }, 502, /"UNAVAILABLE"/],
    [{ status: 429, headers: { "retry-after": "7" }, body: "" }, 429, /"TOOMANYREQUESTS"/],
    [{ status: 429, headers: { "retry-after": "86400" }, body: "" }, 429, /"TOOMANYREQUESTS"/],
    [{ status: 401, headers: { "www-authenticate": `Bearer realm="https://evil"` } }, 502, /auth/],
    [{ status: 302, headers: { location: "https://evil.example.com/" } }, 502, /redirects this write/],
    [{ status: 202, headers: { location: "ftp://a/b" } }, 502, /protocol/],
    [{ status: 202, headers: { location: `http://a/${"x".repeat(9_000)}` } }, 502, /protocol/],
    [{ status: 202, headers: { "content-encoding": "gzip" } }, 502, /protocol/],
  ];
  for (const [fault, status, text] of cases) {
    const heal = upstream.fault(() => fault);
    const answer = await mirror.ask("POST", uploads);
    t.equal(answer.status, status, JSON.stringify(fault).slice(0, 80));
    const body = answer.body.toString();
    t.match(body, text);
    t.type(JSON.parse(body).errors[0].code, "string");
    t.equal(answer.headers["content-type"], "application/json");
    t.notOk(answer.headers["www-authenticate"] ?? answer.headers["set-cookie"]);
    heal();
  }
  const waits = mirror.lines.filter(({ status }) => status === 429);
  t.match(waits, [{ result: "error" }, { result: "error" }]);
  t.match(mirror.lines.filter(({ status }) => status === 403)[0], { result: "denied" });
});

t.test("a Retry-After is believed up to a minute", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  for (const [said, told] of [
    ["7", "7"],
    ["86400", "60"],
    ["Wed, 21 Oct 2026 07:28:00 GMT", "5"],
  ] as const) {
    const heal = upstream.fault(() => ({ status: 429, headers: { "retry-after": said } }));
    t.equal((await mirror.ask("POST", uploads)).headers["retry-after"], told);
    heal();
  }
});

t.test("a redirect of an upload is followed by the client, through the mirror", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const location = await beginUpload(mirror, repository);
  const heal = upstream.fault(() => ({
    status: 307,
    headers: { location: `${upstream.foreignOrigin}/v2/x` },
  }));
  const answer = await mirror.ask("PATCH", location, {}, blob.bytes);
  heal();
  t.match(answer, { status: 307, headers: { location: /^\/v2\/team\/app\/blobs\/uploads\/[\w-]{32}$/ } });
  await mirror.ask("PATCH", answer.headers.location ?? "", {}, blob.bytes);
  t.match(upstream.requests.at(-1), { foreign: true, path: "/v2/x" });
  t.notOk(upstream.requests.at(-1)?.headers.authorization);
});

t.test("as many writes as connections; whoever comes then waits for the next that is free", async (t) => {
  const { upstream, mirror } = await startBoth(t, { upstream: { maxConnections: 1 } });
  const [first, second] = [await beginUpload(mirror, repository), await beginUpload(mirror, repository)];
  const { request, answer } = openRequest(mirror.url, "PATCH", first, 10);
  request.write(Buffer.alloc(5));
  await upstream.until(() => upstream.requests.at(-1)?.bytes === 5);
  const asked = upstream.requests.length;
  const waiting = mirror.ask("PATCH", second, {}, Buffer.alloc(3));
  t.equal((await mirror.ask("POST", uploads)).status, 202, "no body: not kept waiting by one that is slow");
  t.equal(upstream.requests.length, asked + 1, "and the other body waits");
  request.end(Buffer.alloc(5));
  t.equal((await answer).statusCode, 202);
  t.equal((await waiting).status, 202);
});

t.test("an answer to a write is 4 MiB at most: it is cut there, and upstream blamed", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const most = 4 * 1024 * 1024;
  const heal = upstream.fault(() => ({ status: 201, body: "x".repeat(most) }));
  const whole = await mirror.ask("POST", uploads);
  t.match([whole.status, whole.body.length, whole.complete], [201, most, true]);
  heal();
  upstream.fault(() => ({ status: 201, body: "x".repeat(most + 1) }));
  const cut = await mirror.ask("POST", uploads);
  t.equal(cut.complete, false);
  t.ok(cut.body.length <= most);
  t.match(await mirror.line(({ aborted_by: by }) => by !== undefined), {
    aborted_by: "upstream",
    result: "error",
  });
});

t.test("a status that is no answer is upstream's fault, at once, and not a bug of ours", async (t) => {
  const upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
  for (const line of ["HTTP/1.1 99 What", "HTTP/1.1 000 Nothing", upgrade]) {
    const strange = createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(`${line}\r\nContent-Length: 0\r\n\r\n`));
    }).listen(0, "127.0.0.1");
    await once(strange, "listening");
    t.teardown(() => strange.close());
    const url = new URL(`http://127.0.0.1:${(strange.address() as AddressInfo).port}`);
    const far = { url, username: "ci", password: "s3cret" };
    const mirror = await startMirror(t, far, {
      upstream: { push: true },
      cache: { dir: t.testdir({ [line.slice(9, 12).trim()]: {} }) },
    });
    t.equal((await mirror.ask("POST", uploads)).status, 502, line);
    const put = await mirror.ask(
      "PUT",
      "/v2/team/app/manifests/1",
      { "content-length": "2" },
      Buffer.from("{}"),
    );
    t.equal(put.status, 502, line);
    t.notOk(mirror.lines.some(({ msg }) => String(msg).includes("nobody foresaw")));
    await mirror.app.stop();
  }
});
