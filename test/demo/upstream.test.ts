import { once } from "node:events";
import { connect } from "node:net";
import t from "tap";
import { request } from "undici";
import { makeLayer } from "../../src/demo/sample-images.ts";
import { startDemoUpstream } from "../../src/demo/upstream.ts";

const layer = await makeLayer([{ name: "data", body: Buffer.alloc(100_000, "x") }]);
const repository = {
  name: "team/app",
  tags: new Map(),
  manifests: new Map(),
  blobs: new Map([[layer.digest, layer.body]]),
};
const authorization = `Basic ${Buffer.from("ci:s3cret").toString("base64")}`;

async function start(t: Tap, link = { roundTripMs: 0, bytesPerSecond: 1e9 }) {
  const upstream = await startDemoUpstream({
    repositories: [repository],
    username: "ci",
    password: "s3cret",
    link,
  });
  t.teardown(() => upstream.stop());
  return upstream;
}
type Tap = { teardown(action: () => Promise<void>): void };

t.test("without the right credentials there is nothing but a basic challenge", async (t) => {
  const upstream = await start(t);
  const wrong = `Basic ${Buffer.from("ci:guess").toString("base64")}`;
  for (const headers of [{}, { authorization: wrong }, { authorization: "Bearer s3cret" }]) {
    const { statusCode, headers: answer, body } = await request(`${upstream.url}/v2/`, { headers });
    t.equal(statusCode, 401);
    t.match(answer["www-authenticate"], /^Basic realm=/);
    t.match(await body.json(), { errors: [{ message: /password/ }] });
  }
  const { statusCode } = await request(`${upstream.url}/v2/`, { headers: { authorization } });
  t.equal(statusCode, 200);
});

t.test("it counts requests and the body bytes that were sent", async (t) => {
  const upstream = await start(t);
  const url = `${upstream.url}/v2/team/app/blobs/${layer.digest}`;
  t.same(upstream.counts(), { requests: 0, bytes: 0 });
  const head = await request(url, { method: "HEAD", headers: { authorization } });
  await head.body.dump();
  t.equal(Number(head.headers["content-length"]), layer.body.length);
  t.same(upstream.counts(), { requests: 1, bytes: 0 }, "a HEAD has no body");
  const part = await request(url, { headers: { authorization, range: "bytes=10-29" } });
  t.equal(part.statusCode, 206);
  t.ok(Buffer.from(await part.body.arrayBuffer()).equals(layer.body.subarray(10, 30)));
  t.same(upstream.counts(), { requests: 2, bytes: 20 });
  const whole = await request(url, { headers: { authorization } });
  t.ok(Buffer.from(await whole.body.arrayBuffer()).equals(layer.body));
  t.same(upstream.counts(), { requests: 3, bytes: layer.body.length + 20 });
});

t.test("a client that leaves stops costing bandwidth, and harms nobody", async (t) => {
  const upstream = await start(t, { roundTripMs: 0, bytesPerSecond: 500_000 });
  const url = `${upstream.url}/v2/team/app/blobs/${layer.digest}`;
  const { body } = await request(url, { headers: { authorization } });
  const closed = new Promise((resolve) => body.once("close", resolve));
  body.once("error", () => undefined).destroy();
  await closed;
  const part = await request(url, { headers: { authorization, range: "bytes=0-0" } });
  t.equal(await part.body.text(), layer.body.toString("latin1", 0, 1));
  t.ok(upstream.counts().bytes < layer.body.length);
});

t.test("stopping cuts what is under way and frees the port", async (t) => {
  const upstream = await start(t, { roundTripMs: 0, bytesPerSecond: 1000 });
  const { body } = await request(`${upstream.url}/v2/team/app/blobs/${layer.digest}`, {
    headers: { authorization },
  });
  await upstream.stop();
  await t.rejects(body.text());
  await upstream.stop();
  const refused = connect(Number(upstream.url.port), "127.0.0.1");
  t.match((await once(refused, "error"))[0], { code: "ECONNREFUSED" });
});
