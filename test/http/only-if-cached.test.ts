// Requests for nothing but what is held here (RFC 9111, section 5.2.1.7): nobody is asked for them.
import t from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { wantsOnlyCached } from "../../src/http/only-if-cached.ts";
import type { RequestEvent } from "../../src/ports/event.ts";
import { login } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { startPassthrough } from "../fixtures/passthrough.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [200_000, 10_000] });
const app = "team/app";
const onlyCached = { "cache-control": "only-if-cached" };
const manifest = `/v2/${app}/manifests/${image.digest}`;
const layerAt = (at: number) => `/v2/${app}/blobs/${image.layers[at]?.digest}`;

t.test("the directive among others, and not what looks like it", async (t) => {
  const asks = (value: string | undefined) => wantsOnlyCached({ header: () => value });
  t.notOk(asks(undefined));
  for (const value of ["only-if-cached", "max-age=0, Only-If-Cached", "only-if-cached ,no-transform"])
    t.ok(asks(value), value);
  for (const value of ["", "no-cache", "x-only-if-cached", "only-if-cached=1", 'x="only-if-cached"'])
    t.notOk(asks(value), value);
});

async function start(t: Parameters<typeof startMirror>[0], options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage(app, "1.0", image);
  const events: RequestEvent[] = [];
  const sinks = [{ name: "test", onEvent: (event: RequestEvent) => void events.push(event) }];
  const mirror = await startMirror(t, upstream, { ...options, sinks });
  return { upstream, mirror, events };
}

t.test("what is held is answered as ever, what is not is 504 and nobody is asked", async (t) => {
  const { upstream, mirror, events } = await start(t);
  for (const method of ["GET", "HEAD"])
    for (const path of [manifest, layerAt(0)]) {
      const answer = await mirror.ask(method, path, onlyCached);
      t.equal(answer.status, 504, `${method} ${path}`);
      if (method === "GET")
        t.match(JSON.parse(answer.body.toString()), {
          errors: [{ code: "UNAVAILABLE", message: /does not hold this/ }],
        });
      t.notOk(answer.headers["cache-status"], "an answer of its own has no origin (RFC 9211, section 2)");
    }
  t.equal(upstream.requests.length, 0);
  t.same(events, [], "that it does not hold something is no traffic");
  const told = mirror.lines.filter(({ status }) => status === 504);
  t.equal(told.length, 4);
  for (const line of told) t.match(line, { level: "debug", result: "negative", detail: "not_cached" });
  await mirror.get(`/v2/${app}/manifests/1.0`);
  await mirror.get(layerAt(0));
  await mirror.line(({ msg }) => msg === "fill committed");
  upstream.forget();
  for (const method of ["GET", "HEAD"]) {
    t.match(await mirror.ask(method, manifest, onlyCached), {
      status: 200,
      headers: { "docker-content-digest": image.digest },
    });
    t.equal((await mirror.ask(method, layerAt(0), onlyCached)).status, 200);
  }
  const part = await mirror.get(layerAt(0), { ...onlyCached, range: "bytes=10-19" });
  t.equal(part.status, 206);
  t.ok(part.body.equals(image.layers[0]?.bytes.subarray(10, 20) as Buffer));
  t.equal(
    (await mirror.get(layerAt(1), onlyCached)).status,
    504,
    "the image is here, and that layer of it is not",
  );
  t.equal(upstream.requests.length, 0);
});

t.test(
  "what another repository has is not held for this one, and upstream is not asked whether it is",
  async (t) => {
    const { upstream, mirror } = await start(t);
    await mirror.get(layerAt(0));
    await mirror.line(({ msg }) => msg === "fill committed");
    upstream.forget();
    const digest = image.layers[0]?.digest;
    t.equal((await mirror.get(`/v2/team/other/blobs/${digest}`, onlyCached)).status, 504);
    t.equal(upstream.requests.length, 0);
  },
);

t.test("a download that it asked for nothing of is followed; its 504 is for nobody else", async (t) => {
  const { upstream, mirror } = await start(t);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) => (kind === "blob" ? { holdUntil: gate.promise } : undefined));
  const first = mirror.get(layerAt(0));
  await upstream.until(() => upstream.count({ kind: "blob" }) === 1);
  t.equal((await mirror.get(layerAt(0), onlyCached)).status, 504, "its size is not known yet");
  gate.resolve();
  t.equal((await first).status, 200);
  t.equal((await mirror.get(layerAt(1))).status, 200, "who asks plainly is fetched for");
  t.equal((await mirror.get(layerAt(1), onlyCached)).status, 200);
});

t.test("a part of a download that is not verified is not waited for", async (t) => {
  const { upstream, mirror } = await start(t, { cache: { rangesBeforeVerified: false } });
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 100_000, releaseOn: gate.promise } : undefined,
  );
  const first = mirror.get(layerAt(0));
  const head = async () => (await mirror.ask("HEAD", layerAt(0), onlyCached)).status;
  while ((await head()) !== 200);
  t.equal((await mirror.get(layerAt(0), { ...onlyCached, range: "bytes=10-19" })).status, 504);
  gate.resolve();
  t.equal((await first).status, 200);
  await mirror.line(({ msg }) => msg === "fill committed");
  t.equal((await mirror.get(layerAt(0), { ...onlyCached, range: "bytes=10-19" })).status, 206);
});

t.test("a tag, a list and a referrer are answered as without it", async (t) => {
  const { mirror } = await start(t);
  t.equal((await mirror.get(`/v2/${app}/manifests/1.0`, onlyCached)).status, 200);
  t.equal((await mirror.get(`/v2/${app}/tags/list`, onlyCached)).status, 200);
  t.equal((await mirror.get("/v2/", onlyCached)).status, 200);
});

t.test("where upstream says who may read, only what it said before counts", async (t) => {
  const { upstream, mirror } = await startPassthrough(t, { ci: { password: "s3cret", reads: [app] } });
  upstream.addImage(app, "1.0", image);
  const { authorization } = login("ci", "s3cret");
  t.equal((await mirror.get(layerAt(0), { ...onlyCached, authorization })).status, 504);
  t.equal(upstream.requests.length, 0, "the credentials were not tried either");
  t.equal((await mirror.get(layerAt(0), { authorization })).status, 200);
  await mirror.line(({ msg }) => msg === "fill committed");
  upstream.forget();
  t.equal((await mirror.get(layerAt(0), { ...onlyCached, authorization })).status, 200, "they are known now");
  t.equal((await mirror.get(layerAt(0), onlyCached)).status, 401);
  t.equal(upstream.requests.length, 0);
});

t.test("of several upstreams none is asked", async (t) => {
  const second = await startUpstream(t, { anonymous: true });
  second.addImage(app, "1.0", image);
  const { upstream, mirror } = await start(t, {
    upstream: { next: { upstream: "second", on: ["absent", "failure"] } },
    more: [plainUpstream("second", second.url)],
  });
  t.equal((await mirror.get(layerAt(0), onlyCached)).status, 504);
  t.equal(upstream.requests.length + second.requests.length, 0);
  t.equal((await mirror.get(`/second${layerAt(0)}`)).status, 200);
  await mirror.line(({ msg }) => msg === "fill committed");
  second.forget();
  t.equal(
    (await mirror.get(layerAt(0), onlyCached)).status,
    200,
    "what the second has is held for the first",
  );
  t.equal(upstream.requests.length + second.requests.length, 0);
});
