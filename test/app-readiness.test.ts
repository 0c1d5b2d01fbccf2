// The promise of warm and readiness together: after the one, and by the word of the other, images are pulled with their registry gone.
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type Digest, digestHex } from "../src/oci/digest.ts";
import type { Readiness } from "../src/ops/stats/stats-document.ts";
import { commandLine } from "./fixtures/command-line.ts";
import { type Image, makeImage, makeIndex } from "./fixtures/images.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const amd64 = makeImage({ layers: [200_000, 1_000], seed: "amd64" });
const arm64 = makeImage({ layers: [150_000], seed: "arm64" });
const index = makeIndex([amd64, arm64]);
const tool = makeImage({ layers: [70_000, 80_000], seed: "tool" });
const base = makeImage({ layers: [40_000], seed: "base" });
const images = ["team/app:1.0", "team/tool:2.0", "base:latest"];

async function start(t: Test) {
  const upstream = await startUpstream(t);
  upstream.addIndex("team/app", "1.0", index);
  upstream.addImage("team/tool", "2.0", tool);
  upstream.addImage("base", "latest", base);
  const mirror = await startMirror(t, upstream);
  return { upstream, mirror, ops: ["--ops", mirror.ops.host] };
}

/** What a client gets that pulls it; the statuses of what it could not have. */
async function pull(mirror: Mirror, repository: string, reference: string, of: Image): Promise<number[]> {
  const wanted = [
    [`manifests/${reference}`, undefined],
    [`manifests/${of.digest}`, of.manifest],
    ...[of.config, ...of.layers].map(({ digest, bytes }) => [`blobs/${digest}`, bytes] as const),
  ] as const;
  const refused: number[] = [];
  for (const [path, bytes] of wanted) {
    const { status, complete, body } = await mirror.get(`/v2/${repository}/${path}`);
    if (status !== 200 || !complete || (bytes !== undefined && !body.equals(bytes))) refused.push(status);
  }
  return refused;
}

async function pullAll(mirror: Mirror): Promise<number[]> {
  return [
    ...(await pull(mirror, "team/app", "1.0", amd64)),
    ...(await pull(mirror, "team/app", "1.0", arm64)),
    ...(await pull(mirror, "team/tool", "2.0", tool)),
    ...(await pull(mirror, "base", "latest", base)),
  ];
}

function fileOf({ directory }: Mirror, digest: Digest): string {
  const hex = digestHex(digest);
  return join(directory, "blobs/sha256", hex.slice(0, 2), hex);
}

t.test(
  "after warm all that was listed is pulled with the upstream cut, and readiness is right",
  async (t) => {
    const { upstream, mirror, ops } = await start(t);
    // Somebody has seen the manifests, and pulled nothing of them yet.
    await mirror.get("/v2/team/app/manifests/1.0");
    await mirror.get("/v2/team/tool/manifests/2.0");
    const before = commandLine(["readiness", ...ops]);
    t.equal(await before.exit, 1);
    t.match(before.out(), /^0 of 2 images pulled in 7 days could be pulled now without upstream\n/);

    const warmed = commandLine(["warm", ...images, ...ops]);
    t.equal(await warmed.exit, 0, warmed.out());
    await upstream.stop();
    const after = commandLine(["readiness", ...ops]);
    t.equal(await after.exit, 0, after.out());
    t.equal(after.out(), "3 of 3 images pulled in 7 days could be pulled now without upstream\n");
    t.strictSame(await pullAll(mirror), []);

    const [layer] = tool.layers as [Image["layers"][0]];
    await unlink(fileOf(mirror, layer.digest));
    const deleted = commandLine(["readiness", "--json", ...ops]);
    t.equal(await deleted.exit, 1);
    t.match(JSON.parse(deleted.out()) as Readiness, {
      ...{ pulled: 3, ready: 2 },
      unready: [
        { names: ["upstream/team/tool:2.0"], obstacles: [{ kind: "missing", digest: layer.digest }] },
      ],
    });
    t.strictSame(await pullAll(mirror), [502], "just what it says, and nothing else");
  },
);

t.test("--fix fetches what somebody has deleted, and says what it could not", async (t) => {
  const { upstream, mirror, ops } = await start(t);
  t.equal(await commandLine(["warm", ...images, ...ops]).exit, 0);
  const [layer] = tool.layers as [Image["layers"][0]];
  for (const { digest } of [layer, arm64.config]) await unlink(fileOf(mirror, digest));
  upstream.forget();
  const fixed = commandLine(["readiness", "--fix", "--json", ...ops]);
  t.equal(await fixed.exit, 0, fixed.err());
  const lines = fixed
    .out()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.match(lines[0], { ready: 1, pulled: 3 });
  t.match(lines.at(-1), { ready: 3, pulled: 3, unready: [] });
  t.equal(lines.filter(({ state }) => state === "done").length, 4, "two jobs of an image each");
  const fetched = upstream.requests.filter(({ kind, method }) => kind === "blob" && method === "GET");
  t.same(fetched.map(({ reference }) => reference).sort(), [layer.digest, arm64.config.digest].sort());

  await unlink(fileOf(mirror, layer.digest));
  upstream.fault(({ reference }) => (reference === layer.digest ? { status: 404 } : undefined));
  const failed = commandLine(["readiness", "--fix", ...ops]);
  t.equal(await failed.exit, 1);
  t.match(failed.out(), /failed .*team\/tool@sha256:[^\n]*\n {8}sha256:/);
  t.match(failed.out(), /2 of 3 images pulled in 7 days could be pulled now without upstream\n/);
});
