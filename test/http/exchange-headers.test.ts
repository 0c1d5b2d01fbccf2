// What answers say of the request itself: its id, its trace, where the time went, who it came through.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1000] });
const [layer] = image.layers as [(typeof image.layers)[0]];
const blob = `/v2/team/app/blobs/${layer.digest}`;
const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const traceparent = `00-${trace}-00f067aa0ba902b7-01`;

t.test("every answer has the request's id, and so has its line in the log", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream);
  for (const [path, status] of [
    [blob, 200],
    ["/v2/team/app/manifests/absent", 404],
    ["/v2/UPPER/manifests/1", 400],
    ["/v2/", 200],
  ] as const) {
    const id = `ci-${path.length}`;
    const answer = await mirror.get(path, { "x-request-id": id });
    t.equal(answer.status, status);
    t.equal(answer.headers["x-request-id"], id);
    t.match(await mirror.line((line) => line.id === id), { path, status });
  }
  const harmful = await mirror.get("/v2/", { "x-request-id": "a b" });
  t.match(harmful.headers["x-request-id"], /^[0-9a-f-]{36}$/);
  const [first, second] = [await mirror.get(blob), await mirror.get(blob)];
  t.not(first.headers["x-request-id"], second.headers["x-request-id"]);
  t.equal(first.headers["server-timing"], undefined, "off unless asked for");
  t.equal(first.headers.via, undefined);
});

t.test("the client's trace is in the log and goes on upstream, under a parent of our own", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream);
  await mirror.get("/v2/team/app/manifests/1", { traceparent, "x-forwarded-for": "192.0.2.1" });
  t.match(await mirror.line((line) => line.trace === trace), {
    route: "manifest_tag",
    forwarded_for: "192.0.2.1",
  });
  const seen = upstream.requests.map(({ headers }) => headers.traceparent);
  t.ok(seen.length > 0);
  for (const header of seen) {
    t.match(header, new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
    t.not(header, traceparent);
  }
  upstream.forget();
  await mirror.get(blob, { traceparent: "00-zz" });
  t.match(await mirror.line((line) => line.path === blob), { trace: undefined });
  t.ok(upstream.count() > 0);
  t.ok(upstream.requests.every(({ headers }) => headers.traceparent === undefined));
});

t.test("a push is traced like a pull", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { upstream: { push: true } });
  const headers = { traceparent, "x-forwarded-for": "192.0.2.1", "content-type": image.mediaType };
  await mirror.ask("PUT", "/v2/team/app/manifests/2", headers, image.manifest);
  t.match(await mirror.line((line) => line.method === "PUT"), { trace, forwarded_for: "192.0.2.1" });
  const [put] = upstream.requests.filter(({ method }) => method === "PUT");
  t.match(put?.headers.traceparent, new RegExp(`^00-${trace}-[0-9a-f]{16}-01$`));
  t.not(put?.headers.traceparent, traceparent);
});

t.test("Server-Timing and Via, where they are asked for", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, { serverTiming: true, via: true });
  const miss = await mirror.get(blob);
  t.match(miss.headers["server-timing"], /^cache;desc=miss, upstream;dur=\d+\.\d$/);
  t.match(miss.headers.via, /^1\.1 entrepot-[0-9a-f]{8}$/);
  t.equal(upstream.requests[0]?.headers.via, miss.headers.via, "the name upstream knows too");
  await mirror.line((line) => line.msg === "fill committed");
  const hit = await mirror.get(blob);
  t.equal(hit.headers["server-timing"], "cache;desc=hit");
  const absent = await mirror.get(`/v2/team/app/blobs/sha256:${"0".repeat(64)}`);
  t.equal(absent.status, 404);
  t.match(absent.headers["server-timing"], /^cache;desc=\w+/);
});
