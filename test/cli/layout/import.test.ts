import { createReadStream, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import t, { type Test } from "tap";
import { commandLine, type Given } from "../../fixtures/command-line.ts";
import { makeImage, makeIndex } from "../../fixtures/images.ts";
import {
  contentOf,
  filesDirectory,
  layoutFiles,
  tarEntries,
  tarOf,
  writeFiles,
} from "../../fixtures/layouts.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

const app = makeImage({ layers: [5_000_000, 300_000], seed: "app" });
const arm = makeImage({ layers: [40_000], seed: "arm" });
const index = makeIndex([app, arm]);
const refName = "org.opencontainers.image.ref.name";
const own = (repository: string, tag: string) => ({
  [refName]: `${repository}:${tag}`,
  "io.entrepot.upstream": "upstream",
  "io.entrepot.repository": repository,
  "io.entrepot.tag": tag,
});

/** A mirror whose upstream is dead. */
async function closedSite(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { upstream: { offline: true }, ...options });
  await upstream.stop();
  return mirror;
}

function imported(mirror: Mirror, path: string, args: string[] = [], given: Given = {}) {
  return commandLine(["import", path, ...args, "--ops", mirror.ops.host], given);
}

/** The requests that brought something. */
function brought({ lines }: Mirror, kind: "blobs" | "manifests"): number {
  return lines.filter(({ event, path }) => event === "audit" && String(path).includes(`/imports/${kind}/`))
    .length;
}

async function serves(
  t: Test,
  mirror: Mirror,
  repository: string,
  tag: string,
  image: typeof app | typeof index,
) {
  const manifest = await mirror.get(`/v2/${repository}/manifests/${tag}`);
  t.match(manifest, { status: 200, body: image.manifest }, `${repository}:${tag}`);
  const manifests = new Set([image, ...("images" in image ? image.images : [])].map(({ digest }) => digest));
  for (const { digest, bytes } of contentOf(image)) {
    const kind = manifests.has(digest) ? "manifests" : "blobs";
    const answer = await mirror.get(`/v2/${repository}/${kind}/${digest}`);
    t.equal(answer.status, 200, `${kind} ${digest}`);
    t.ok(answer.body.equals(bytes));
  }
}

t.test(
  "what another mirror has exported is served with the upstream dead, as directory, tar and stream",
  async (t) => {
    const upstream = await startUpstream(t);
    upstream.addImage("team/app", "1.0", app);
    upstream.addIndex("team/multi", "2.0", index);
    const from = await startMirror(t, upstream);
    const out = filesDirectory(t);
    for (const path of [`${out}/layout`, `${out}/layout.tar`]) {
      const args = ["export", "team/app:1.0", "team/multi:2.0", "--to", path];
      const line = commandLine([...args, "--ops", from.ops.host, "--mirror", from.url.host]);
      t.equal(await line.exit, 0, line.err());
    }
    for (const path of [`${out}/layout`, `${out}/layout.tar`, "-"]) {
      const mirror = await closedSite(t);
      const input = () => createReadStream(`${out}/layout.tar`);
      const line = imported(mirror, path, [], { input });
      t.equal(await line.exit, 0, line.err());
      t.match(line.out(), `imported upstream/team/app:1.0  ${app.digest}, pinned\n`);
      t.match(line.out(), /2 images: 5 blobs sent \(5\.34 MB\), 0 were there\n/);
      await serves(t, mirror, "team/app", "1.0", app);
      await serves(t, mirror, "team/multi", "2.0", index);
      t.equal(
        (await mirror.get(`/v2/team/other/blobs/${app.config.digest}`)).status,
        502,
        "nobody else may read it",
      );
      const before = [brought(mirror, "blobs"), brought(mirror, "manifests")];
      const again = imported(mirror, path, ["--json"], { input });
      t.equal(await again.exit, 0, again.err());
      t.match(JSON.parse(again.out().trim().split("\n").at(-1) ?? ""), {
        images: 2,
        sent: 0,
        sentBytes: 0,
        kept: 5,
      });
      t.equal(brought(mirror, "blobs"), before[0], "no blob is sent again");
    }
  },
);

t.test("one that was interrupted sends only what is missing", async (t) => {
  const directory = filesDirectory(t);
  writeFiles(directory, layoutFiles([{ image: app, annotations: own("team/app", "1.0") }]));
  const whole = await tarOf(tarEntries(layoutFiles([{ image: app, annotations: own("team/app", "1.0") }])));
  const mirror = await closedSite(t);
  // It ends in the middle of the last layer.
  const broken = imported(mirror, "-", [], {
    input: () => Readable.from([whole.subarray(0, whole.length - 200_000)]),
  });
  t.equal(await broken.exit, 1);
  t.match(broken.err(), /-: the standard input cannot be read as a tar: Unexpected end of data/);
  t.equal((await mirror.get("/v2/team/app/manifests/1.0")).status, 502, "nothing is served");
  for (const { digest } of contentOf(app))
    t.equal((await mirror.get(`/v2/team/app/blobs/${digest}`)).status, 502, "nor a part of it");
  const rest = imported(mirror, directory, ["--json"]);
  t.equal(await rest.exit, 0, rest.err());
  t.match(JSON.parse(rest.out().trim().split("\n").at(-1) ?? ""), { sent: 2, kept: 1 });
  await serves(t, mirror, "team/app", "1.0", app);
});

t.test("layouts of other programs need to be told where they belong", async (t) => {
  const directory = filesDirectory(t);
  const layout = `${directory}/layout`;
  const mirror = await closedSite(t);
  const cases = [
    // skopeo copy … oci:layout:1.0
    [{ [refName]: "1.0" }, ["--upstream", "upstream", "--repository", "team/a"], "team/a", "1.0"],
    // skopeo copy … oci-archive:app.tar:team/b:1.0
    [{ [refName]: "team/b:1.0" }, ["--upstream", "upstream"], "team/b", "1.0"],
    // docker buildx build --output type=oci
    [
      { [refName]: "1.0", "io.containerd.image.name": "registry.example.com/team/c:1.0" },
      ["--upstream", "upstream"],
      "team/c",
      "1.0",
    ],
    // skopeo copy … oci:layout
    [undefined, ["--upstream", "upstream", "--repository", "team/d:2"], "team/d", "2"],
  ] as const;
  for (const [annotations, args, repository, tag] of cases) {
    writeFiles(layout, layoutFiles([{ image: arm, ...(annotations === undefined ? {} : { annotations }) }]));
    const untold = imported(mirror, layout);
    t.equal(await untold.exit, 2);
    t.match(untold.err(), /does not say which upstream it is of.*--upstream/);
    const line = imported(mirror, layout, [...args]);
    t.equal(await line.exit, 0, line.err());
    await serves(t, mirror, repository, tag, arm);
  }
  writeFiles(layout, layoutFiles([{ image: arm, annotations: { [refName]: "1.0" } }]));
  const line = imported(mirror, layout, ["--upstream", "upstream"]);
  t.equal(await line.exit, 2);
  t.match(line.err(), /image "1.0".*name it with --repository/);
  const wrong = imported(mirror, layout, ["--upstream", "hub", "--repository", "team/a"]);
  t.equal(await wrong.exit, 1);
  t.match(wrong.err(), /this mirror has no upstream "hub"; it has upstream/);
});

t.test(
  "an index of which only one platform was brought is served and pinned as far as it goes",
  async (t) => {
    const directory = filesDirectory(t);
    const files = layoutFiles([{ image: index, annotations: own("team/multi", "2.0") }]);
    for (const { digest } of contentOf(app)) files.delete(`blobs/sha256/${digest.slice(7)}`);
    writeFiles(`${directory}/layout`, files);
    const mirror = await closedSite(t);
    const line = imported(mirror, `${directory}/layout`);
    t.equal(await line.exit, 0, line.err());
    t.match(line.out(), /without 1 image of its index, pinned/);
    t.match(await mirror.get("/v2/team/multi/manifests/2.0"), { status: 200, body: index.manifest });
    await serves(t, mirror, "team/multi", arm.digest, arm);
    const pins = commandLine(["pins", "--ops", mirror.ops.host]);
    await pins.exit;
    t.match(pins.out(), new RegExp(`upstream/team/multi@${arm.digest}  whole`));
  },
);

t.test("what does not fit into pin.budget is served, said and 1; --no-pin pins nothing", async (t) => {
  const directory = filesDirectory(t);
  writeFiles(`${directory}/layout`, layoutFiles([{ image: app, annotations: own("team/app", "1.0") }]));
  const mirror = await closedSite(t, {
    pin: { images: [], budget: { bytes: 1_000_000 }, refresh: 3_600_000 },
  });
  const line = imported(mirror, `${directory}/layout`);
  t.equal(await line.exit, 1);
  t.match(line.err(), /is not pinned: pinned images would come to .*nothing brings it back/);
  t.match(line.out(), /^imported upstream\/team\/app:1.0 {2}sha256:[0-9a-f]{64}\n/);
  await serves(t, mirror, "team/app", "1.0", app);
  t.equal(await imported(mirror, `${directory}/layout`, ["--no-pin"]).exit, 0);
});

t.test("while the upstream answers, it has the last word on an imported tag", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1.0", app);
  const directory = filesDirectory(t);
  const mirror = await startMirror(t, upstream);
  writeFiles(`${directory}/layout`, layoutFiles([{ image: arm, annotations: own("team/app", "1.0") }]));
  const line = imported(mirror, `${directory}/layout`);
  t.equal(await line.exit, 0, line.err());
  t.notMatch(line.out(), /pinned/, "what is evicted comes back");
  t.match(await mirror.get("/v2/team/app/manifests/1.0"), { body: app.manifest });
  t.equal(await imported(mirror, `${directory}/layout`).exit, 0);
  await upstream.stop();
  t.match(await mirror.get("/v2/team/app/manifests/1.0"), { status: 200, body: arm.manifest });
});

t.test("--dry-run checks everything and brings nothing", async (t) => {
  const directory = filesDirectory(t);
  const mirror = await closedSite(t);
  const files = layoutFiles([{ image: app, annotations: own("team/app", "1.0") }]);
  writeFiles(`${directory}/layout`, files);
  const line = imported(mirror, `${directory}/layout`, ["--dry-run"]);
  t.equal(await line.exit, 0, line.err());
  t.match(line.out(), /would import upstream\/team\/app:1.0/);
  t.equal(brought(mirror, "blobs"), 0);
  t.equal((await mirror.get("/v2/team/app/manifests/1.0")).status, 502);
  const [layer] = app.layers;
  writeFileSync(`${directory}/layout/blobs/sha256/${layer?.digest.slice(7)}`, Buffer.alloc(5_000_000));
  const wrong = imported(mirror, `${directory}/layout`, ["--dry-run"]);
  t.equal(await wrong.exit, 1);
  t.match(wrong.err(), /do not have this digest/);
});

t.test("wrong bytes are found here and never sent as a whole; nothing is served", async (t) => {
  const directory = filesDirectory(t);
  const mirror = await closedSite(t);
  const files = layoutFiles([{ image: app, annotations: own("team/app", "1.0") }]);
  const [layer] = app.layers;
  files.set(`blobs/sha256/${layer?.digest.slice(7)}`, Buffer.alloc(5_000_000));
  writeFiles(`${directory}/layout`, files);
  const line = imported(mirror, `${directory}/layout`);
  t.equal(await line.exit, 1);
  t.match(line.err(), /the bytes of sha256:[0-9a-f]{64} do not have this digest/);
  t.equal((await mirror.get("/v2/team/app/manifests/1.0")).status, 502);
});

t.test("a mirror that wants a login, or none that answers, is 2", async (t) => {
  const directory = filesDirectory(t);
  writeFiles(`${directory}/layout`, layoutFiles([{ image: arm, annotations: own("team/app", "1.0") }]));
  const nobody = commandLine(["import", `${directory}/layout`, "--ops", "127.0.0.1:9"]);
  t.equal(await nobody.exit, 2);
  t.match(nobody.err(), /no mirror answers/);
  const missing = commandLine(["import", `${directory}/none`, "--ops", "127.0.0.1:9"]);
  t.equal(await missing.exit, 2);
});
