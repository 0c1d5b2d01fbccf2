// What another node is told of the images that clients have pulled.
import t, { type Test } from "tap";
import { createPulledImages } from "../../../src/app/images/pulled-images.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/name.ts";
import { NodeProof, proofHeader } from "../../../src/ports/datacenter/node-proof.ts";
import { nodePaths, type PulledImages } from "../../../src/ports/datacenter/nodes.ts";
import { pulledImagesSchema } from "../../../src/ports/datacenter/pulled-schema.ts";
import { upstreamId } from "../../../src/ports/datacenter/upstream-id.ts";
import type { UsedManifest } from "../../../src/ports/records.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { peerHeader } from "../../../src/ports/shared.ts";
import { digestOf, makeImage, makeIndex } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

const secret = fixedSecret(new Secret("s".repeat(32)));
const host = "node-a.test:5000";
const day = 86_400_000;

async function start(t: Test) {
  const clock = new ManualClock();
  const upstream = await startUpstream(t);
  const node = { name: "a", address: `http://${host}`, secret };
  const mirror = await startMirror(t, upstream, { clock: clock.read, node });
  const proof = new NodeProof(secret, clock.read);
  const ask = async (query: string) => {
    const target = `${nodePaths.pulled}${query}`;
    const signed = await proof.sign({ node: "b", method: "GET", host, target });
    const { status, body } = await mirror.get(target, { host, [peerHeader]: "b", [proofHeader]: signed });
    return { status, json: JSON.parse(body.toString()) as unknown };
  };
  const pulled = async (days: number): Promise<PulledImages> =>
    pulledImagesSchema.parse((await ask(`?days=${days}`)).json);
  const id = upstreamId({ name: "upstream", url: upstream.url, repositoryPrefix: "" });
  return { clock, upstream, mirror, ask, pulled, id };
}

const names = ({ images }: PulledImages) =>
  images.map(({ repository, reference, platforms }) => [
    `${repository}${reference.kind === "tag" ? `:${reference.tag}` : `@${reference.digest}`}`,
    ...platforms,
  ]);

t.test("tags with the platforms that were pulled, digests without one, those used last first", async (t) => {
  const { clock, upstream, mirror, pulled, ask, id } = await start(t);
  const made = (seed: string) => makeImage({ layers: [10], seed });
  const [amd64, arm64, old, plain] = [made("amd64"), made("arm64"), made("old"), made("plain")];
  upstream.addImage("team/old", "1", old);
  upstream.addIndex("team/app", "2", makeIndex([amd64, arm64]));
  upstream.addImage("team/plain", "3", plain);
  await mirror.get("/v2/team/old/manifests/1");
  clock.advance(3 * day);
  await mirror.get("/v2/team/app/manifests/2");
  await mirror.get(`/v2/team/app/manifests/${amd64.digest}`);
  clock.advance(1000);
  await mirror.get(`/v2/team/plain/manifests/${plain.digest}`);
  t.strictSame(names(await pulled(1)), [[`team/plain@${plain.digest}`], ["team/app:2", "linux/amd64"]]);
  t.same(new Set((await pulled(1)).images.map(({ upstream }) => upstream)), new Set([id]));
  t.strictSame(names(await pulled(7)).at(-1), ["team/old:1"]);
  t.equal((await pulled(7)).leftOut, 0);
  for (const query of ["", "?days=0", "?days=366", "?days=x", "?days=1.5"])
    t.match(await ask(query), { status: 404 }, query);
  t.equal((await mirror.get(`${nodePaths.pulled}?days=1`)).status, 404, "to nobody but a node");
});

t.test("of more than are told the ones used last are, and the others are counted", async (t) => {
  const now = 100 * day;
  const manifests = Array.from({ length: 1_300 }, (_, at): UsedManifest => {
    const digest = digestOf(Buffer.from(`${at}`));
    return { digest, size: 1, mediaType: "x", usedAt: now - (1_300 - at) * 60_000 };
  });
  const scope = { upstream: "hub", repository: "team/app" as Repository };
  const looks: number[] = [];
  const graph = {
    pulled(since: number, after: UsedManifest | undefined, limit: number) {
      if (after === undefined) looks.push(now - since);
      const from = after === undefined ? 0 : manifests.indexOf(after) + 1;
      const page = manifests.slice(from, from + limit);
      const found = page.filter(({ usedAt }) => usedAt >= since);
      return { manifests: found, next: from + limit < manifests.length ? page.at(-1) : undefined };
    },
    parts: () => [],
    users: (digest: Digest) => ({ manifests: [], tags: [], repositories: [scope], truncated: false, digest }),
  };
  const hub = { name: "hub", url: new URL("https://registry.example.com"), repositoryPrefix: "" };
  const read = createPulledImages({
    graph,
    tags: { get: () => undefined },
    upstreams: () => [hub],
    clock: () => now,
  });
  const [seven, again] = await Promise.all([read(7), read(7)]);
  t.equal(seven, again, "who asks meanwhile gets the same answer");
  t.equal(seven.images.length, 1_000);
  t.equal(seven.leftOut, 300);
  t.match(seven.images[0], { reference: { digest: manifests.at(-1)?.digest } });
  t.match(seven.images.at(-1), { reference: { digest: manifests[300]?.digest } });
  t.strictSame(
    looks,
    [3, 24].map((hours) => hours * 3_600_000),
    "no further back than for as many",
  );
});
