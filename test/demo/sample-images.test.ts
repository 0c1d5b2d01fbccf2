import { createHash } from "node:crypto";
import { gunzipSync } from "node:zlib";
import t from "tap";
import { extract } from "tar-stream";
import { makeLayer, makeSampleImages, type SampleRepository } from "../../src/demo/sample-images.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { readManifest } from "../../src/oci/manifest.ts";

const sha256 = (body: Buffer): string => `sha256:${createHash("sha256").update(body).digest("hex")}`;
const repositories = await makeSampleImages();
const named = (name: string): SampleRepository =>
  repositories.find((repository) => repository.name === name) as SampleRepository;

interface ImageJson {
  manifests: { digest: Digest; size: number; platform: { architecture: string; os: string } }[];
  config: { digest: Digest; size: number };
  layers: { digest: Digest; size: number }[];
}
const manifestJson = (repository: SampleRepository, digest: Digest): ImageJson =>
  JSON.parse((repository.manifests.get(digest) as { body: Buffer }).body.toString());

interface Entry {
  readonly mode: number | undefined;
  readonly body: Buffer;
}
async function untar(tar: Buffer): Promise<Map<string, Entry>> {
  const files = new Map<string, Entry>();
  const reader = extract();
  reader.end(tar);
  for await (const entry of reader) {
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    files.set(entry.header.name, { mode: entry.header.mode, body: Buffer.concat(parts) });
  }
  return files;
}

t.test("everything is what its digest says, and every manifest can be read", async (t) => {
  for (const { manifests, blobs, tags } of repositories) {
    for (const [digest, body] of blobs) t.equal(sha256(body), digest);
    for (const digest of tags.values()) t.ok(manifests.has(digest));
    for (const [digest, { mediaType, body }] of manifests) {
      t.equal(sha256(body), digest);
      const manifest = readManifest(body, mediaType);
      if (typeof manifest === "string") throw new Error(manifest);
      t.equal(manifest.mediaType, mediaType);
      for (const child of manifest.children) {
        const stored =
          child.role === "manifest" ? manifests.get(child.digest)?.body : blobs.get(child.digest);
        t.equal(stored?.length, child.size, "the descriptor's size is the stored size");
      }
    }
  }
});

t.test("layers unpack, and diff_ids are those of the tars inside", async (t) => {
  for (const { manifests, blobs } of repositories) {
    for (const { body } of manifests.values()) {
      const image: ImageJson = JSON.parse(body.toString());
      if (image.manifests) continue;
      const config = JSON.parse((blobs.get(image.config.digest) as Buffer).toString());
      const tars = image.layers.map((layer) => gunzipSync(blobs.get(layer.digest) as Buffer));
      t.same(config.rootfs.diff_ids, tars.map(sha256));
      t.equal(config.history.length, tars.length);
      const top = await untar(tars.at(-1) as Buffer);
      const program = top.get("hello");
      t.equal(program?.mode, 0o755);
      t.equal(program?.body.toString("latin1", 0, 4), "\x7fELF");
      t.ok(program?.body.includes(top.get("greeting.txt")?.body ?? "no greeting"));
    }
  }
});

t.test(
  "team/app: an index over two architectures, four layers, base layers shared between versions",
  async (t) => {
    const app = named("team/app");
    t.same([...app.tags.keys()].sort(), ["1.0", "2.0", "latest"]);
    t.equal(app.tags.get("latest"), app.tags.get("2.0"));
    const versions = ["1.0", "2.0"].map((tag) => manifestJson(app, app.tags.get(tag) as Digest).manifests);
    const [one = [], two = []] = versions.map((children) =>
      children.map((child) => manifestJson(app, child.digest)),
    );
    t.same(
      versions.flat().map((child) => `${child.platform.os}/${child.platform.architecture}`),
      ["linux/amd64", "linux/arm64", "linux/amd64", "linux/arm64"],
    );
    const layers = (image: ImageJson | undefined): string[] =>
      image?.layers.map((layer) => layer.digest) ?? [];
    t.equal(layers(one[0]).length, 4);
    t.same(layers(one[0]).slice(0, 2), layers(two[0]).slice(0, 2), "two layers in both versions");
    t.same(
      layers(one[0]).slice(0, 3),
      layers(one[1]).slice(0, 3),
      "only the program differs between platforms",
    );
    t.not(layers(one[0])[2], layers(two[0])[2]);
    const size = one[0]?.layers.reduce((sum, layer) => sum + layer.size, 0) ?? 0;
    t.ok(size > 23e6 && size < 25e6, `${size} bytes`);
  },
);

t.test("the same digests every time", async (t) => {
  const again = await makeSampleImages();
  t.same(
    again.map(({ name, tags }) => [name, [...tags]]),
    repositories.map(({ name, tags }) => [name, [...tags]]),
  );
  const file = { name: "a/b.txt", body: Buffer.from("hello") };
  t.equal((await makeLayer([file])).digest, (await makeLayer([file])).digest);
});
