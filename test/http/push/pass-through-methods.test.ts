// What may pass at all, and what must never become a second request upstream.
import t from "tap";
import { makeImage } from "../../fixtures/images.ts";
import { beginUpload, openRequest, pushImage, readAnswer } from "../../fixtures/push-client.ts";
import { startBoth } from "../../fixtures/push-through.ts";

const repository = "team/app";
const uploads = `/v2/${repository}/blobs/uploads/`;
const absent = `sha256:${"a".repeat(64)}`;

t.test("every method on every route: what passes, and 405 with Allow for the rest", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const session = `${uploads}some-id`;
  const routes: Record<string, string> = {
    "/v2/": "GET, HEAD",
    "/v2/_catalog": "GET, HEAD",
    [`/v2/${repository}/tags/list`]: "GET, HEAD",
    [`/v2/${repository}/referrers/${absent}`]: "GET, HEAD",
    [`/v2/${repository}/manifests/1`]: "GET, HEAD, PUT, DELETE",
    [`/v2/${repository}/manifests/${absent}`]: "GET, HEAD, PUT, DELETE",
    [`/v2/${repository}/blobs/${absent}`]: "GET, HEAD, DELETE",
    [uploads]: "POST",
    [session]: "GET, HEAD, PATCH, PUT, DELETE",
  };
  for (const [path, allow] of Object.entries(routes)) {
    for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]) {
      upstream.requests.length = 0;
      const answer = await mirror.ask(method, path, {}, method === "POST" ? Buffer.alloc(10) : undefined);
      const passes = allow.split(", ").includes(method);
      const writes = method !== "GET" && method !== "HEAD";
      t.equal(answer.status === 405, !passes, `${method} ${path} is ${answer.status}`);
      if (!passes) t.equal(answer.headers.allow, allow);
      if (!passes) t.same(upstream.requests, []);
      if (passes && writes) t.equal(upstream.requests[0]?.method, method);
    }
  }
});

t.test("targets that are no route never reach upstream", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const cases: [string, string, number, string][] = [
    ["PUT", "/v2/UPPER/manifests/1", 400, "NAME_INVALID"],
    ["PUT", "/v2/a/manifests/sha256:short", 400, "TAG_INVALID"],
    ["DELETE", "/v2/a/blobs/latest", 400, "DIGEST_INVALID"],
    ["PATCH", "/v2/a/blobs/uploads/a:b", 400, "BLOB_UPLOAD_INVALID"],
    ["PUT", "/v2/a/blobs/uploads/id?digest=sha256:short", 400, "DIGEST_INVALID"],
    ["POST", `/v2/a/blobs/uploads/?mount=${absent}&from=../b`, 400, "NAME_INVALID"],
    ["POST", "/v2/a/../b/blobs/uploads/", 400, "NAME_INVALID"],
    ["POST", "//evil.example.com/v2/a/blobs/uploads/", 400, "NAME_INVALID"],
    ["PUT", "/v1/search", 405, "UNSUPPORTED"],
    ["POST", "/other/v2/a/blobs/uploads/", 405, "UNSUPPORTED"],
  ];
  for (const [method, path, status, code] of cases) {
    const answer = await mirror.ask(method, path, { "content-length": "10" }, Buffer.alloc(10));
    t.equal(answer.status, status, `${method} ${path}`);
    t.match(JSON.parse(answer.body.toString()), { errors: [{ code }] });
  }
  t.same(upstream.requests, []);
});

t.test("a body on a read goes nowhere", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  await pushImage(mirror, repository, "1", makeImage({ layers: [10] }));
  const location = await beginUpload(mirror, repository);
  upstream.requests.length = 0;
  const body = Buffer.from("GET /v2/_catalog HTTP/1.1\r\nHost: a\r\n\r\n");
  for (const method of ["GET", "HEAD", "DELETE"]) {
    for (const path of [`/v2/${repository}/manifests/2`, `/v2/${repository}/blobs/${absent}`, location]) {
      await mirror.ask(method, path, { "content-length": String(body.length) }, body);
      await mirror.ask(method, path, { "transfer-encoding": "chunked" }, body);
    }
  }
  t.ok(upstream.requests.length >= 12);
  t.ok(upstream.requests.every(({ bytes, path }) => bytes === 0 && !path.includes("_catalog")));
  t.ok(upstream.requests.every(({ headers }) => (headers["content-length"] ?? "0") === "0"));
  t.ok(upstream.requests.every(({ headers }) => headers["transfer-encoding"] === undefined));
});

t.test("a body that comes after a request without one has been sent on goes nowhere either", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const location = await beginUpload(mirror, repository);
  const gate = Promise.withResolvers<void>();
  upstream.fault(() => ({ answerOn: gate.promise }));
  for (const [method, path] of [
    ["GET", location],
    ["DELETE", `/v2/${repository}/manifests/1`],
  ] as const) {
    for (const length of [100_000, undefined]) {
      upstream.requests.length = 0;
      const chunked: Record<string, string> = length === undefined ? { "transfer-encoding": "chunked" } : {};
      const { request, answer } = openRequest(mirror.url, method, path, length, chunked);
      await upstream.first(method);
      await new Promise<void>((resolve) =>
        request.end(Buffer.alloc(100_000, "GET / HTTP/1.1\r\n\r\n"), resolve),
      );
      gate.resolve();
      await readAnswer(await answer);
      t.match(upstream.requests, [{ method, bytes: 0, complete: true }]);
      t.equal(upstream.requests.length, 1);
    }
  }
});

t.test("shapes that proxies and origins read differently are no second request upstream", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const inner = "DELETE /v2/team/app/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n";
  const both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  for (const method of ["POST", "PATCH", "PUT", "DELETE", "GET"]) {
    const path = method === "POST" ? uploads : `${uploads}id`;
    t.match(await mirror.raw(`${method} ${path} HTTP/1.1\r\nHost: a\r\n${both}${inner}`), /^HTTP\/1\.1 400 /);
  }
  t.same(upstream.requests, [], "Content-Length and Transfer-Encoding together go no further");

  // CVE-2026-58044: more headers than a parser keeps hide the length of the body.
  const many = Array.from({ length: 2_100 }, (_, at) => `a${at}:`).join("\r\n");
  const tail = `Connection: close\r\n${many}\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`;
  for (const method of ["POST", "PATCH", "PUT", "DELETE", "GET", "HEAD"]) {
    upstream.requests.length = 0;
    const path = method === "POST" ? uploads : `${uploads}id`;
    const text = await mirror.raw(`${method} ${path} HTTP/1.1\r\nHost: a\r\n${tail}`);
    t.equal(text.match(/HTTP\/1\.1 /g)?.length, 1, `${method}: one answer`);
    t.match(upstream.requests, [{ method, complete: true }], `${method}: one request upstream`);
    const takes = method === "POST" || method === "PATCH" || method === "PUT";
    t.equal(upstream.requests[0]?.bytes, takes ? inner.length : 0);
    t.ok(Object.keys(upstream.requests[0]?.headers ?? {}).length < 10);
  }
});

t.test("Expect: 100-continue is answered here, and only when the body is wanted", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const location = await beginUpload(mirror, repository);
  const { request, answer } = openRequest(mirror.url, "PATCH", location, 10, { expect: "100-continue" });
  await new Promise((resolve) => request.once("continue", resolve));
  request.end(Buffer.alloc(10));
  t.equal((await answer).statusCode, 202);
  t.notOk(upstream.requests[1]?.headers.expect);
  t.match(upstream.requests[1], { bytes: 10 });
  for (const [path, expect, status] of [
    [`/v2/${repository}/tags/list`, "100-continue", 405],
    [location, "a-miracle", 417],
  ] as const) {
    const refused = openRequest(mirror.url, "PUT", path, 10, { expect });
    refused.request.once("continue", () => t.fail("it was told to go on"));
    const message = await refused.answer;
    t.equal(message.statusCode, status);
    t.equal(message.headers.connection, "close");
    await readAnswer(message);
  }
});
