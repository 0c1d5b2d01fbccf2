// Where redirects may lead, over real connections: the upstream of every test stands on the loopback address, which
// nothing but the list lets a redirect reach.
import type { lookup } from "node:dns";
import t from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { createAddressRules } from "../../../src/upstream/connection/address-rules.ts";
import { guardedLookup } from "../../../src/upstream/connection/guarded-connector.ts";
import {
  connectUpstream,
  drain,
  found,
  idle,
  repository,
  upstreamError,
} from "../../fixtures/connected-upstream.ts";
import { makeImage } from "../../fixtures/images.ts";
import { type Owner, startUpstream } from "../../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "guard" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };
const never = new AbortController().signal;

/** A registry that redirects blobs to `host`, where a storage listens on the loopback address. */
async function setUp(t: Owner, host: string, allowPrivate: readonly string[] | undefined) {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true, path: "" });
  storage.addBlob("bucket", layer.bytes);
  const location = `http://${host}:${storage.url.port}/v2/bucket/blobs/${layer.digest}?sig=presigned`;
  registry.fault(() => ({ status: 307, headers: { location } }));
  const redirectsTo = allowPrivate ?? [];
  return { registry, storage, ...connectUpstream(t, registry.url, { redirectsTo }) };
}

for (const host of [
  "127.0.0.1",
  "localhost",
  "0.0.0.0",
  "[::ffff:127.0.0.1]",
  "[::ffff:7f00:1]",
  "2130706433",
])
  t.test(`a redirect to ${host} is refused, and nothing connects to it`, async (t) => {
    for (const allowPrivate of [undefined, ["10.0.0.0/8", "storage.example.com"]]) {
      const { registry, storage, upstream, of } = await setUp(t, host, allowPrivate);
      const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
      t.match(error, {
        code: "redirect_refused",
        message: /upstream main redirected to .* listed under redirectsTo/,
      });
      t.notMatch(error.message, /presigned|bucket/);
      t.match(of("upstream_error"), [{ code: "redirect_refused" }]);
      t.equal(registry.count(), 1, "asked once");
      t.equal(storage.connections, 0);
      await idle(upstream);
    }
  });

for (const [host, entry] of [
  ["127.0.0.1", "127.0.0.1"],
  ["127.0.0.1", "127.0.0.0/8"],
  ["localhost", "127.0.0.1"],
  ["localhost", "LocalHost"],
  ["[::ffff:127.0.0.1]", "127.0.0.0/8"],
] as const)
  t.test(`a redirect to ${host} is followed when ${entry} is listed`, async (t) => {
    const { storage, upstream } = await setUp(t, host, [entry]);
    const { body } = found(await upstream.openBlob(repository, layer.digest, 0, never));
    t.ok((await drain(body)).bytes.equals(layer.bytes));
    t.equal(storage.count({ status: 200 }), 1);
  });

t.test("a private address among those of a name is left out", async (t) => {
  const addresses = [
    { address: "169.254.169.254", family: 4 },
    { address: "52.95.110.1", family: 4 },
    { address: "::1", family: 6 },
  ];
  const resolve = ((_: string, __: unknown, callback: (...result: unknown[]) => void) =>
    callback(null, addresses)) as unknown as typeof lookup;
  const guard = { upstream: "main", did: "redirected to", setting: "redirectsTo", resolve };
  const find = guardedLookup({ ...guard, rules: createAddressRules([]) });
  find("cdn.example.com", { all: true }, (error, found) => {
    t.equal(error, null);
    t.same(found, [{ address: "52.95.110.1", family: 4 }]);
  });
  find("cdn.example.com", {}, (_, address, family) => t.same([address, family], ["52.95.110.1", 4]));
  const trusted = guardedLookup({ ...guard, rules: createAddressRules(["cdn.example.com"]) });
  trusted("cdn.example.com", { all: true }, (_, found) => t.same(found, addresses));
  t.plan(4);
});

t.test("a storage whose name does not resolve is unreachable", async (t) => {
  const { upstream } = await setUp(t, "storage.invalid", []);
  const error = await upstreamError(upstream.openBlob(repository, layer.digest, 0, never));
  t.equal(error.code, "unreachable");
});
