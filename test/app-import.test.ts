// Images carried from a mirror with a registry to one without, as files.
import t, { type Test } from "tap";
import { mediaTypes } from "../src/oci/media-type.ts";
import { commandLine } from "./fixtures/command-line.ts";
import { type Image, makeImage, makeIndex } from "./fixtures/images.ts";
import { filesDirectory } from "./fixtures/layouts.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const repository = "team/app";
const index = makeIndex([
  makeImage({ layers: [90_000], seed: "amd" }),
  makeImage({ layers: [80_000], seed: "arm" }),
]);
const signature = makeImage({ layers: [300], seed: "signature" });
const sbom = makeImage({ layers: [400], seed: "sbom" });
const signatureTag = `${index.digest.replace(":", "-")}.sig`;
const list = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [{ mediaType: sbom.mediaType, digest: sbom.digest, size: sbom.manifest.length }],
};

async function sites(t: Test) {
  const upstream = await startUpstream(t);
  upstream.addIndex(repository, "1.0", index);
  upstream.addImage(repository, signatureTag, signature);
  upstream.addImage(repository, undefined, sbom);
  upstream.fault(({ kind, reference }) =>
    kind === "referrers" && reference === index.digest
      ? { status: 200, headers: { "content-type": mediaTypes.ociIndex }, body: JSON.stringify(list) }
      : undefined,
  );
  const open = await startMirror(t, upstream);
  const closed = await startMirror(t, upstream, { upstream: { offline: true } });
  const files = filesDirectory(t);
  const carry = async (...args: string[]): Promise<void> => {
    const file = `${files}/images.tar`;
    const given = ["--to", file, "--ops", open.ops.host, "--mirror", open.url.host];
    const exported = commandLine(["export", ...args, ...given]);
    t.equal(await exported.exit, 0, exported.err());
    upstream.forget();
    const imported = commandLine(["import", file, "--ops", closed.ops.host]);
    t.equal(await imported.exit, 0, imported.err());
  };
  return { upstream, open, closed, carry };
}

async function pulls(
  t: Test,
  mirror: Mirror,
  reference: string,
  { manifest, config, layers }: Image,
): Promise<void> {
  const at = (rest: string) => `/v2/${repository}/${rest}`;
  t.match(await mirror.get(at(`manifests/${reference}`)), { status: 200, body: manifest });
  for (const { digest, bytes } of [config, ...layers])
    t.match(await mirror.get(at(`blobs/${digest}`)), { status: 200, body: bytes });
}

t.test("signatures and referrers come along, and are found as clients look for them", async (t) => {
  const { upstream, closed, carry } = await sites(t);
  await carry(`${repository}:1.0`, "--referrers");
  t.match(await closed.get(`/v2/${repository}/manifests/1.0`), { status: 200, body: index.manifest });
  for (const image of index.images) await pulls(t, closed, image.digest, image);
  await pulls(t, closed, signatureTag, signature);
  const referrers = await closed.get(`/v2/${repository}/referrers/${index.digest}`);
  t.equal(referrers.status, 200);
  t.same(JSON.parse(referrers.body.toString()), list);
  await pulls(t, closed, sbom.digest, sbom);
  const none = await closed.get(`/v2/${repository}/referrers/${index.images[0]?.digest}`);
  t.ok([200, 404].includes(none.status), "docker asks for these with every pull");
  t.equal(
    (await closed.get(`/v2/${repository}/manifests/${signatureTag.replace("sig", "att")}`)).status,
    404,
  );
  t.equal(upstream.requests.length, 0, "the registry was asked for nothing");
  const readiness = await (await fetch(new URL("/api/v1/readiness?days=7", closed.ops))).json();
  t.match(readiness, { ready: (readiness as { pulled: number }).pulled });
});

t.test("without --referrers the image alone comes", async (t) => {
  const { closed, carry } = await sites(t);
  await carry(`${repository}:1.0`);
  for (const image of index.images) await pulls(t, closed, image.digest, image);
  t.equal((await closed.get(`/v2/${repository}/manifests/${sbom.digest}`)).status, 502);
});

t.test("what was purged comes back with the next import", async (t) => {
  const { closed, carry } = await sites(t);
  await carry(`${repository}:1.0`);
  const purge = commandLine(["purge", repository, "--yes", "--force", "--ops", closed.ops.host]);
  t.equal(await purge.exit, 0, purge.err());
  t.equal((await closed.get(`/v2/${repository}/manifests/1.0`)).status, 502);
  await carry(`${repository}:1.0`);
  for (const image of index.images) await pulls(t, closed, image.digest, image);
});

t.test("what is imported outlives a restart", async (t) => {
  const { upstream, closed, carry } = await sites(t);
  await carry(`${repository}:1.0`);
  await closed.app.stop();
  const again = await startMirror(t, upstream, {
    cache: { dir: closed.directory },
    upstream: { offline: true },
  });
  for (const image of index.images) await pulls(t, again, image.digest, image);
  t.match(await again.get(`/v2/${repository}/manifests/1.0`), { status: 200, body: index.manifest });
  await again.app.stop();
});

t.test("an image exported by its digest is served by it", async (t) => {
  const { closed, carry } = await sites(t);
  const [image] = index.images;
  if (image === undefined) throw new Error("no image");
  await carry(`${repository}@${image.digest}`);
  await pulls(t, closed, image.digest, image);
  t.equal((await closed.get(`/v2/${repository}/manifests/1.0`)).status, 502);
});
