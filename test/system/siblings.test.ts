// Two datacenters in front of one far registry: real mirrors, a real registry, real clients, and a mirror that is killed while
// the other one reads from it.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { startFaultProxy } from "../fixtures/fault-proxy.ts";
import { run } from "./fixtures/child.ts";
import { download } from "./fixtures/download.ts";
import { farRegistryPrograms, startFarRegistry } from "./fixtures/far-registry.ts";
import { freePort } from "./fixtures/free-port.ts";
import { type Far, type Mirror, type MirrorOptions, startMirror } from "./fixtures/mirror.ts";
import { requires } from "./fixtures/requires.ts";
import { until } from "./fixtures/until.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(240_000);

/** A mirror that asks the one at that address, and has time for it on a machine that does much else. */
async function mirrorBeside(
  t: Test,
  far: Far,
  sibling: string,
  more: Pick<MirrorOptions, "listen" | "env"> = {},
) {
  const config = join(await workDirectory(t), "entrepot.yaml");
  await writeFile(config, `siblings: [{ name: other, url: "${sibling}", timeout: 30s }]\n`);
  // One layer at a time: what is asked is counted.
  return await startMirror(t, far, {
    ...more,
    config,
    env: { ENTREPOT_CACHE_PREFETCH: "0", ...more.env },
  });
}

async function skopeo(t: Test, mirror: Mirror): Promise<void> {
  const directory = await workDirectory(t);
  const image = `docker://${mirror.host}/made/app:1`;
  await run("skopeo", ["copy", "--quiet", "--src-tls-verify=false", image, `dir:${directory}`]);
}

t.test("what one datacenter has pulled the other one reads there", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const address = `127.0.0.1:${await freePort()}`;
  const b = await mirrorBeside(t, front, `http://${address}`);
  // Workers pass such questions on to their primary, and answer what they are granted.
  const env = { ENTREPOT_WORKERS: "2" };
  const a = await mirrorBeside(t, front, b.url, { listen: address, env });
  await skopeo(t, a);
  t.equal(front.log.blobGets().length, images.app.blobs.length, "each part crossed the far link once");
  const holds = "entrepot_cache_objects";
  await until("the first has stored it", async () => (await a.metric(holds)) === images.app.blobs.length + 1);
  t.equal(await a.metric("entrepot_sibling_requests_total", 'result="miss"'), images.app.blobs.length);
  t.equal(await b.metric("entrepot_probe_requests_total", 'code="504",probe="only_if_cached"'), 0);
  front.log.forget();
  await skopeo(t, b);
  t.same(front.log.blobGets(), [], "and for the second datacenter not again");
  t.equal(await b.metric("entrepot_sibling_requests_total", 'result="hit"'), images.app.blobs.length);
  t.equal(await b.metric("entrepot_sibling_received_bytes_total"), images.app.size);
  t.equal((await a.metric("entrepot_response_bytes_total", 'route="blob",source="disk"')) > 0, true);
});

t.test("one that is killed in the middle of a layer: the far registry goes on from that byte", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const a = await startMirror(t, front);
  await skopeo(t, a);
  await until("the first has stored it", async () => {
    return (await a.metric("entrepot_cache_objects")) === images.app.blobs.length + 1;
  });
  // Slow enough to be in the middle of, and no slower than what a transfer has to bring.
  const link = await startFaultProxy(t, new URL(a.url));
  link.toxics = { bandwidth: 4_000_000 };
  const b = await mirrorBeside(t, front, link.url.href);
  const manifest = await fetch(`${b.url}/v2/made/app/manifests/1`);
  t.equal(manifest.status, 200);
  front.log.forget();
  const sizes = ((await manifest.json()) as { layers: { digest: string; size: number }[] }).layers;
  const { digest = "", size = 0 } = sizes.toSorted((x, y) => y.size - x.size)[0] ?? {};
  const middle = Promise.withResolvers<void>();
  const onBytes = (bytes: number): void => {
    if (bytes > 2_000_000) middle.resolve();
  };
  const { done } = download(b.blobUrl(digest, "made/app"), { onBytes });
  await middle.promise;
  t.same(front.log.blobGets(), [], "so far the far registry has sent nothing");
  await a.kill();
  const { complete, digest: got, bytes } = await done;
  t.ok(complete && got === digest && bytes === size, "the client gets all of it, and it is right");
  const gets = front.log.blobGets(digest);
  const from = Number(/^bytes=(\d+)-/.exec(gets[0]?.range ?? "")?.[1]);
  t.ok(from >= 2_000_000, `the far registry went on from ${from}`);
  const sent = gets.reduce((sum, each) => sum + each.bytes, 0);
  t.equal(sent, size - from, "and no byte came twice");
  t.equal(await b.metric("entrepot_sibling_requests_total", 'result="failed"'), 1);
});

t.test("the far registry is away: what is known to be a repository's comes from the sibling", async (t) => {
  if (!requires(t, ...farRegistryPrograms)) return;
  const { front, images } = await startFarRegistry(t);
  const a = await startMirror(t, front);
  await skopeo(t, a);
  await until("the first has stored it", async () => {
    return (await a.metric("entrepot_cache_objects")) === images.app.blobs.length + 1;
  });
  const b = await mirrorBeside(t, front, a.url);
  await fetch(`${b.url}/v2/made/app/manifests/1`);
  const [first, second] = images.app.blobs as [string, string];
  // Upstream has shown this one in the repository, and no bytes of it.
  t.equal((await fetch(b.blobUrl(first, "made/app"), { method: "HEAD" })).status, 200);
  await front.down();
  const known = await download(b.blobUrl(first, "made/app")).done;
  t.ok(known.complete && known.digest === first);
  const unknown = await fetch(b.blobUrl(second, "made/app"));
  t.ok(unknown.status >= 500, "who may read what is not known is the registry's to say");
});
