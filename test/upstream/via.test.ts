import { execFileSync } from "node:child_process";
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { pseudonym } from "../../src/upstream/via.ts";
import { connectUpstream, drain, found, repository, tagged } from "../fixtures/connected-upstream.ts";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [10_000], seed: "via" });
const layer = image.layers[0] as { digest: Digest; bytes: Buffer };

t.test("every request upstream says which process it went through", async (t) => {
  const registry = await startUpstream(t);
  const storage = await startUpstream(t, { anonymous: true, path: "" });
  registry.addImage(repository, "1", image);
  storage.addBlob("bucket", layer.bytes);
  const location = `${storage.url.origin}/v2/bucket/blobs/${layer.digest}`;
  registry.fault(({ kind }) => (kind === "blob" ? { status: 307, headers: { location } } : undefined));
  const { upstream } = connectUpstream(t, registry.url, { redirects: { allowPrivate: ["127.0.0.1"] } });
  await upstream.headManifest(repository, tagged("1"));
  await upstream.getManifest(repository, tagged("1"));
  await upstream.listTags(repository, 10, undefined);
  await drain(found(await upstream.openBlob(repository, layer.digest, 0, new AbortController().signal)).body);
  t.equal(registry.count() + storage.count(), 5);
  for (const { headers } of [...registry.requests, ...storage.requests])
    t.equal(headers.via, `1.1 ${pseudonym}`);
});

t.test("another process has another name", async (t) => {
  const module = new URL("../../src/upstream/via.ts", import.meta.url).href;
  const script = `import(${JSON.stringify(module)}).then(({ pseudonym }) => console.log(pseudonym))`;
  const other = execFileSync(process.execPath, ["-e", script], { encoding: "utf8" }).trim();
  t.match(other, /^entrepot-[0-9a-f]{8}$/);
  t.match(pseudonym, /^entrepot-[0-9a-f]{8}$/);
  t.not(other, pseudonym);
});
