import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Digest } from "../../../src/oci/digest.ts";
import { commandLine } from "../../fixtures/command-line.ts";
import { digestOf, makeImage, makeIndex } from "../../fixtures/images.ts";
import { contentOf } from "../../fixtures/layouts.ts";
import { type Mirror, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

const app = makeImage({ layers: [50_000, 300_000], seed: "app" });
const arm = makeImage({ layers: [40_000], seed: "arm" });
const index = makeIndex([app, arm]);

async function start(t: Test) {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", app);

  upstream.addIndex("team/multi", "2.0", index);
  const mirror = await startMirror(t, upstream);
  const directory = `${mirror.directory}-out`;
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  t.teardown(() => rmSync(`${directory}.tar`, { force: true }));
  t.teardown(() => rmSync(`${directory}.tar.partial`, { force: true }));
  return { upstream, mirror, directory };
}

function exported(mirror: Mirror, ...args: string[]) {
  return commandLine(["export", ...args, "--ops", mirror.ops.host, "--mirror", mirror.url.host]);
}

interface IndexFile {
  readonly manifests: readonly {
    readonly digest: Digest;
    readonly annotations: Readonly<Record<string, string>>;
  }[];
}

function indexOf(directory: string): IndexFile {
  return JSON.parse(readFileSync(join(directory, "index.json"), "utf8")) as IndexFile;
}

function blobsIn(directory: string): string[] {
  return readdirSync(join(directory, "blobs/sha256")).sort();
}

function hexesOf(...images: Parameters<typeof contentOf>[0][]): string[] {
  return [...new Set(images.flatMap(contentOf).map(({ digest }) => digest.slice(7)))].sort();
}

t.test("several images into a directory: each blob once, named for those who read it", async (t) => {
  const { upstream, mirror, directory } = await start(t);
  const line = exported(mirror, "team/app:1.0", "upstream/team/multi:2.0", "--to", directory);
  t.equal(await line.exit, 0, line.err());
  t.match(line.out(), new RegExp(`team/app:1.0  ${app.digest}`));
  t.match(line.out(), /2 images in .*-out: 8 blobs written\n/);
  t.same(blobsIn(directory), hexesOf(app, index));
  for (const hex of blobsIn(directory))
    t.equal(digestOf(readFileSync(join(directory, "blobs/sha256", hex))), `sha256:${hex}`);
  t.same(JSON.parse(readFileSync(join(directory, "oci-layout"), "utf8")), { imageLayoutVersion: "1.0.0" });
  const { host } = mirror.url;
  t.match(indexOf(directory).manifests, [
    {
      digest: app.digest,
      annotations: {
        "org.opencontainers.image.ref.name": "team/app:1.0",
        "io.containerd.image.name": /^mirror:\d+\/team\/app:1\.0$/,
        "io.entrepot.upstream": "upstream",
        "io.entrepot.repository": "team/app",
        "io.entrepot.tag": "1.0",
      },
    },
    { digest: index.digest, annotations: { "org.opencontainers.image.ref.name": "team/multi:2.0" } },
  ]);
  t.ok(host);
  t.notOk(readdirSync(directory).some((name) => name.includes("partial")));
  t.equal(upstream.requests.filter(({ kind, method }) => kind === "blob" && method === "GET").length, 5);
});

t.test(
  "the same directory again: nothing is transferred, wrong and missing blobs are, other images stay",
  async (t) => {
    const { mirror, directory } = await start(t);
    t.equal(await exported(mirror, "team/app:1.0", "--to", directory).exit, 0);
    const [layer, other] = app.layers;
    writeFileSync(join(directory, "blobs/sha256", `${layer?.digest.slice(7)}`), Buffer.alloc(50_000));
    rmSync(join(directory, "blobs/sha256", `${other?.digest.slice(7)}`));
    rmSync(join(directory, "index.json"));
    const again = exported(mirror, "team/app:1.0", "--to", directory, "--json");
    t.equal(await again.exit, 0);
    const [, sum] = again.out().trim().split("\n");
    t.match(JSON.parse(sum ?? ""), { images: 1, written: 2, kept: 2, fetchedBytes: 350_000 });
    const third = exported(mirror, "team/multi:2.0", "--to", directory, "--json");
    t.equal(await third.exit, 0);
    t.match(JSON.parse(third.out().trim().split("\n")[1] ?? ""), {
      kept: 4,
      fetchedBytes: 40_000 + arm.config.bytes.length,
    });
    t.same(
      indexOf(directory).manifests.map(({ digest }) => digest),
      [app.digest, index.digest],
    );
    t.equal(await exported(mirror, "team/app:1.0", "--to", directory).exit, 0);
    t.equal(indexOf(directory).manifests.length, 2, "an image stands there once");
  },
);

t.test("only a platform: the index stays as it is", async (t) => {
  const { mirror, directory } = await start(t);
  const line = exported(mirror, "team/multi:2.0", "--platform", "linux/arm64", "--to", directory);
  t.equal(await line.exit, 0, line.err());
  const index256 = index.digest.slice(7);
  t.same(blobsIn(directory), [...hexesOf(arm), index256].sort());
  t.same(indexOf(directory).manifests[0]?.digest, index.digest);
  const none = exported(mirror, "team/multi:2.0", "--platform", "linux/s390x", "--to", directory);
  t.equal(await none.exit, 1);
  t.match(none.err(), /has no image for these platforms/);
});

t.test(
  "a tar is written beside its name; an interrupted one goes on behind its last whole blob",
  async (t) => {
    const { upstream, mirror, directory } = await start(t);
    const file = `${directory}.tar`;
    t.equal(await exported(mirror, "team/app:1.0", "--to", file).exit, 0);
    const whole = readFileSync(file);
    t.notOk(existsSync(`${file}.partial`));
    t.equal(statSync(file).size % 512, 0);
    // As it is when the export ends in the middle of the second layer, which is the last.
    writeFileSync(`${file}.partial`, whole);
    truncateSync(`${file}.partial`, whole.length - 200_000);
    rmSync(file);
    const line = exported(mirror, "team/app:1.0", "--to", file, "--json");
    t.equal(await line.exit, 0, line.err());
    t.match(JSON.parse(line.out().trim().split("\n")[1] ?? ""), {
      written: 1,
      kept: 3,
      fetchedBytes: 300_000,
    });
    t.ok(readFileSync(file).equals(whole), "the same bytes as in one go");
    upstream.addImage("team/app", "1.0", arm);
    writeFileSync(`${file}.partial`, whole);
    const moved = exported(mirror, "upstream/team/multi:2.0", "--to", file, "--json");
    t.equal(await moved.exit, 0);
    t.match(
      JSON.parse(moved.out().trim().split("\n")[1] ?? ""),
      { kept: 0 },
      "other images: from the beginning",
    );
  },
);

t.test("what cannot be had is 1 and leaves no layout; a wrong command line is 2", async (t) => {
  const { mirror, directory } = await start(t);
  const absent = exported(mirror, "team/none:1", "--to", directory);
  t.equal(await absent.exit, 1);
  t.match(absent.err(), /the mirror has no team\/none:1/);
  t.notOk(existsSync(directory));
  for (const [args, says] of [
    [["team/app:1.0", "--platform", "linux"], /--platform: found "linux"/],
    [["team/app:1.0", "--username", "ci"], /go together/],
    [["UPPER:1"], /expected \[upstream\/\]repository:tag/],
  ] as const) {
    const line = exported(mirror, ...args, "--to", directory);
    t.equal(await line.exit, 2);
    t.match(line.err(), says);
  }
  const occupied = exported(mirror, "team/app:1.0", "--to", mirror.directory);
  t.equal(await occupied.exit, 2);
  t.match(occupied.err(), /is no OCI layout/);
  const nobody = commandLine(["export", "team/app:1.0", "--to", directory, "--ops", "127.0.0.1:9"]);
  t.equal(await nobody.exit, 2);
  const gone = commandLine([
    ...["export", "team/app:1.0", "--to", directory],
    ...["--ops", mirror.ops.host, "--mirror", "127.0.0.1:9"],
  ]);
  t.equal(await gone.exit, 2);
  t.match(gone.err(), /--mirror says where clients pull from/);
});
