// CVE-2026-32591 (Quay), CVE-2020-13788 and CVE-2026-111590 (Harbor): the registry is made to ask a server inside its own
// network: by a client, by what an upstream answers, or by a webhook.
import t, { type Test } from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { webhookSources } from "../../src/ports/event.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { makeImage } from "../fixtures/images.ts";
import { type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { pushBodies } from "../fixtures/webhook-bodies.ts";

const image = makeImage({ layers: [10_000], seed: "forged" });
const layer = image.layers[0]?.digest as Digest;

/** `inside` stands for a server of the network that nobody outside may reach. */
async function setUp(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const inside = await startUpstream(t, { anonymous: true, path: "" });
  inside.addImage("team/app", "1", image);
  return { upstream, inside, mirror: await startMirror(t, upstream, options) };
}

t.test("a client cannot choose whom the mirror asks", async (t) => {
  const { mirror, inside } = await setUp(t);
  const { host } = inside.url;
  for (const target of [
    `http://${host}/v2/team/app/manifests/1`,
    `//${host}/v2/team/app/manifests/1`,
    `/${host}/v2/team/app/manifests/1`,
    `/v2/${host}/team/app/manifests/1`,
    `/v2/@${host}/team/app/manifests/1`,
    `/v2/team/app/manifests/1?ns=${host}`,
    `/v2/team/app/manifests/1?ns=http://${host}/`,
  ])
    await mirror.get(target, { "x-forwarded-host": host, forwarded: `host="${host}"` });
  await mirror.get("/v2/team/app/manifests/1", { host });
  await mirror.raw(`CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  t.equal(inside.connections, 0);
});

t.test("an upstream cannot send it inside, whatever the address is written as", async (t) => {
  const { mirror, upstream, inside } = await setUp(t);
  const { port } = inside.url;
  for (const host of [
    `127.0.0.1:${port}`,
    `localhost:${port}`,
    `[::ffff:127.0.0.1]:${port}`,
    `2130706433:${port}`,
    `0:${port}`,
    `0x7f000001:${port}`,
    "169.254.169.254",
    "10.0.0.1",
  ]) {
    const location = `http://${host}/v2/team/app/blobs/${layer}`;
    const heal = upstream.fault(({ kind }) =>
      kind === "blob" ? { status: 307, headers: { location } } : undefined,
    );
    for (const method of ["HEAD", "GET"])
      t.equal((await mirror.ask(method, `/v2/team/app/blobs/${layer}`)).status, 502, `${method} ${host}`);
    heal();
  }
  t.equal(inside.connections, 0);
});

t.test("where an operator allows it, it is asked: the test above would have seen it", async (t) => {
  const { mirror, upstream, inside } = await setUp(t, { upstream: { redirectsTo: ["127.0.0.1"] } });
  const location = `${inside.url.origin}/v2/team/app/blobs/${layer}`;
  upstream.fault(({ kind }) => (kind === "blob" ? { status: 307, headers: { location } } : undefined));
  t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`)).status, 200);
  t.ok(inside.connections > 0);
});

t.test("what a webhook says is asked of nobody", async (t) => {
  const secret = fixedSecret(new Secret("a-secret-of-the-hooks"));
  const secrets = Object.fromEntries(webhookSources.map((source) => [source, secret]));
  const { mirror, inside } = await setUp(t, { webhooks: { secrets, prefetch: true } });
  const { host, origin } = inside.url;
  for (const source of webhookSources) {
    const body = pushBodies[source]({ repository: "team/app", tag: "1", digest: image.digest });
    const urls = { url: origin, callback_url: origin, target: { url: origin }, request: { host } };
    const answer = await fetch(new URL(`/hooks/${source}`, mirror.ops), {
      method: "POST",
      headers: { authorization: "Bearer a-secret-of-the-hooks", "content-type": "application/json" },
      body: JSON.stringify({ ...body, ...urls }),
    });
    await answer.text();
  }
  await mirror.get("/v2/team/app/manifests/1");
  t.equal(inside.connections, 0);
});
