import { linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import t, { type Test } from "tap";
import { directorySource } from "../../src/layout/directory-source.ts";
import { type ImportOptions, type ImportTarget, importLayout } from "../../src/layout/import.ts";
import type { LayoutErrorCode } from "../../src/layout/layout-error.ts";
import { blobPath } from "../../src/layout/layout-files.ts";
import type { LayoutSource } from "../../src/layout/layout-source.ts";
import { tarSource } from "../../src/layout/tar-source.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { digestOf, makeContent, makeImage, makeIndex } from "../fixtures/images.ts";
import { layoutFiles, type TarEntry, tarEntries, tarOf, writeFiles } from "../fixtures/layouts.ts";

const image = makeImage({ layers: [20_000, 5_000_000] });
const other = makeImage({ layers: [6_000_000], seed: "other" });
const index = makeIndex([image, other]);
const given = { upstream: "hub" };
const named = (name: string) => ({ "org.opencontainers.image.ref.name": name });
const right = layoutFiles([{ image, annotations: named("team/app:1") }]);

/** A mirror that remembers what it was brought, and in which order. */
class Target implements ImportTarget {
  readonly calls: string[] = [];
  readonly has = new Set<Digest>();

  async here(digest: Digest): Promise<boolean> {
    return this.has.has(digest);
  }
  async blob(digest: Digest, size: number, bytes: AsyncIterable<Buffer>): Promise<void> {
    let length = 0;
    for await (const chunk of bytes) length += chunk.length;
    if (length !== size) throw new Error("another length");
    this.calls.push(`blob ${digest}`);
    this.has.add(digest);
  }
  async manifest(
    place: Parameters<ImportTarget["manifest"]>[0],
    digest: Digest,
  ): ReturnType<ImportTarget["manifest"]> {
    const { upstream, repository, tag } = place;
    this.calls.push(`manifest ${upstream}/${repository}:${tag ?? ""} ${digest}`);
    return { upstream, repository, offline: true };
  }
}

function bring(source: LayoutSource, changes: Partial<ImportOptions> = {}) {
  const signal = new AbortController().signal;
  return importLayout({ source, target: new Target(), given, signal, progress: () => {}, ...changes });
}

async function tar(entries: Iterable<TarEntry>): Promise<LayoutSource> {
  return tarSource("the tar", Readable.from([await tarOf(entries)]));
}

t.test("blobs go as they come, manifests after everything they name, in any order of the tar", async (t) => {
  const files = tarEntries(
    layoutFiles([
      { image: index, annotations: named("team/multi:2") },
      { image, annotations: named("team/app:1") },
    ]),
  );
  for (const entries of [
    files,
    [...files].reverse(),
    files.map((each) => ({ ...each, name: `./${each.name}` })),
  ]) {
    const target = new Target();
    const { images, sent, kept } = await bring(await tar(entries), { target });
    t.equal(sent, 5);
    t.equal(kept, 0);
    t.equal(new Set(target.calls).size, target.calls.length, "each once");
    const at = (digest: Digest) => target.calls.findIndex((call) => call.endsWith(`${digest}`));
    for (const each of index.images) {
      t.ok(at(each.digest) < at(index.digest));
      for (const { digest } of [each.config, ...each.layers])
        t.ok(at(digest) >= 0 && at(digest) < at(each.digest));
    }
    t.match(images, [
      { upstream: "hub", repository: "team/multi", tag: "2", digest: index.digest, leftOut: 0 },
      { upstream: "hub", repository: "team/app", tag: "1", digest: image.digest },
    ]);
  }
});

t.test("what the mirror has is read and not sent", async (t) => {
  const target = new Target();
  target.has.add((image.layers[1] as (typeof image.layers)[0]).digest);
  t.match(await bring(await tar(tarEntries(right)), { target }), { sent: 2, kept: 1 });
  const wrong = new Map(right).set(blobPath([...target.has][0] as Digest), Buffer.alloc(5_000_000));
  await t.rejects(bring(await tar(tarEntries(wrong)), { target }), { code: "wrong_bytes" });
});

t.test("of a directory only what images name is taken", async (t) => {
  const directory = t.testdir();
  const extra = makeContent(Buffer.alloc(9_000_000, 1));
  writeFiles(directory, new Map(right).set(blobPath(extra.digest), extra.bytes));
  const target = new Target();
  await bring(directorySource(directory), { target });
  t.notOk(target.has.has(extra.digest));
  t.equal(target.has.size, 3);
});

/** Brings nothing, and names nothing that was brought. */
async function refused(t: Test, source: LayoutSource, code: LayoutErrorCode, says: RegExp): Promise<void> {
  const target = new Target();
  await t.rejects(bring(source, { target }), { code, message: says });
  t.notOk(
    target.calls.some((call) => call.startsWith("manifest")),
    "nothing is served",
  );
}

t.test("hostile tars", async (t) => {
  const files = tarEntries(right);
  const cases: readonly [string, readonly TarEntry[], LayoutErrorCode, RegExp][] = [
    [
      "a path that leads out",
      [{ name: "../../etc/passwd" }],
      "hostile",
      /"\.\.\/\.\.\/etc\/passwd" leads out/,
    ],
    ["in the middle", [{ name: "blobs/../../x" }], "hostile", /leads out/],
    ["an absolute path", [{ name: "/etc/passwd" }], "hostile", /leads out/],
    ["a backslash", [{ name: "blobs\\..\\x" }], "hostile", /leads out/],
    [
      "a symbolic link",
      [{ name: "blobs/sha256/x", type: "symlink", linkname: "/etc/shadow" }],
      "hostile",
      /is a symlink/,
    ],
    ["a hard link", [{ name: "index.json", type: "link", linkname: "oci-layout" }], "hostile", /is a link/],
    ["a device", [{ name: "dev", type: "character-device" }], "hostile", /is a character-device/],
    ["an overlong name", [{ name: `${"a/".repeat(200)}b` }], "hostile", /a path of 401 characters/],
    [
      "two indexes",
      [{ name: "index.json", body: right.get("index.json") as Buffer }],
      "hostile",
      /two files/,
    ],
    [
      "a huge index",
      [{ name: "./index.json", body: Buffer.alloc(17 * 1024 * 1024, 32) }],
      "too_large",
      /index\.json has more than/,
    ],
  ];
  for (const [what, entries, code, says] of cases)
    await t.test(what, async (t) => {
      const first = what === "a huge index" ? [...entries, ...files] : [...files, ...entries];
      await refused(t, await tar(first), code, says);
    });
  await t.test("no tar", async (t) => {
    const source = tarSource("the tar", Readable.from([Buffer.alloc(4_096, 7)]));
    await refused(t, source, "not_a_layout", /cannot be read as a tar: Invalid tar header/);
  });
  await t.test("a header that says nonsense of its size", async (t) => {
    const bytes = await tarOf(files);
    bytes.write("80000000000000000000", 124, "latin1");
    await refused(t, tarSource("the tar", Readable.from([bytes])), "not_a_layout", /cannot be read as a tar/);
  });
  await t.test("one that ends too early", async (t) => {
    const bytes = await tarOf(files);
    const source = tarSource("the tar", Readable.from([bytes.subarray(0, bytes.length - 1_000_000)]));
    await refused(t, source, "not_a_layout", /Unexpected end of data/);
  });
  await t.test("a second blob of the same name counts for nothing", async (t) => {
    const [path] = [blobPath(image.config.digest)];
    const target = new Target();
    await bring(await tar([...files, { name: path, body: Buffer.from("other") }]), { target });
    t.equal(target.calls.length, 4);
  });
});

t.test("hostile directories", async (t) => {
  const cases: readonly [string, (directory: string) => void][] = [
    [
      "a blob that is a link",
      (directory) => {
        const path = `${directory}/${blobPath(image.config.digest)}`;
        rmSync(path);
        symlinkSync("/etc/hostname", path);
      },
    ],
    [
      "an index that is a link",
      (directory) => {
        rmSync(`${directory}/index.json`);
        symlinkSync("/etc/hostname", `${directory}/index.json`);
      },
    ],
    [
      "blobs that are elsewhere",
      (directory) => {
        rmSync(`${directory}/blobs`, { recursive: true });
        symlinkSync("/tmp", `${directory}/blobs`);
      },
    ],
    ["a directory for a blob", (directory) => mkdirSync(`${directory}/blobs/sha256/${"0".repeat(64)}`)],
  ];
  for (const [what, spoil] of cases)
    await t.test(what, async (t) => {
      const directory = t.testdir();
      writeFiles(directory, right);
      spoil(directory);
      await refused(t, directorySource(directory), "hostile", /a layout has no links/);
    });
  await t.test("hard links within it are files", async (t) => {
    const directory = t.testdir();
    writeFiles(directory, right);
    linkSync(`${directory}/oci-layout`, `${directory}/copy`);
    t.equal((await bring(directorySource(directory))).images.length, 1);
  });
});

t.test("layouts that are not right", async (t) => {
  const without = (...paths: string[]) => new Map([...right].filter(([path]) => !paths.includes(path)));
  const indexOf = (value: unknown) => new Map(right).set("index.json", Buffer.from(JSON.stringify(value)));
  const huge = Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [], x: "y".repeat(4 * 1024 * 1024) }));
  const descriptor = (body: Buffer) => ({
    digest: digestOf(body),
    mediaType: mediaTypes.ociManifest,
    size: body.length,
  });
  const lying = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, manifests: [], layers: [] }),
  );
  const cases: readonly [string, ReadonlyMap<string, Buffer>, LayoutErrorCode, RegExp][] = [
    ["no index.json", without("index.json"), "not_a_layout", /has no index\.json: .*docker-archive/],
    ["no oci-layout", without("oci-layout"), "not_a_layout", /no file oci-layout/],
    [
      "another version",
      new Map(right).set("oci-layout", Buffer.from('{"imageLayoutVersion":"2.0.0"}')),
      "not_a_layout",
      /found version "2\.0\.0"/,
    ],
    [
      "an index that is no JSON",
      new Map(right).set("index.json", Buffer.from("{")),
      "not_a_layout",
      /no JSON object/,
    ],
    ["an index without a list", indexOf({}), "not_a_layout", /no list of manifests/],
    ["no image", indexOf({ manifests: [] }), "incomplete", /names no image/],
    [
      "a digest that is none",
      indexOf({ manifests: [{ digest: "sha256:../../x" }] }),
      "not_a_layout",
      /manifest 1 has no digest/,
    ],
    [
      "deep JSON",
      new Map(right).set("index.json", Buffer.from("[".repeat(100_000))),
      "too_large",
      /nests deeper/,
    ],
    ["no manifest", without(blobPath(image.digest)), "incomplete", /does not have manifest sha256/],
    [
      "no layer",
      without(blobPath((image.layers[0] as typeof image.config).digest)),
      "incomplete",
      /names what it does not have/,
    ],
    [
      "wrong bytes of a manifest",
      new Map(right).set(blobPath(image.digest), Buffer.from("{}")),
      "wrong_bytes",
      /do not have this digest/,
    ],
    [
      "a huge manifest",
      new Map(indexOf({ manifests: [{ ...descriptor(huge), annotations: named("a:1") }] })).set(
        blobPath(digestOf(huge)),
        huge,
      ),
      "not_a_layout",
      /more than 4 MiB/,
    ],
    [
      "a manifest of two kinds",
      new Map(indexOf({ manifests: [{ ...descriptor(lying), annotations: named("a:1") }] })).set(
        blobPath(digestOf(lying)),
        lying,
      ),
      "not_a_layout",
      /no manifest that is read/,
    ],
    ["no name", layoutFiles([{ image }]), "unnamed", /does not say which repository/],
  ];
  for (const [what, files, code, says] of cases)
    await t.test(what, async (t) => {
      await refused(t, await tar(tarEntries(files)), code, says);
      const directory = t.testdir();
      writeFiles(directory, files);
      await refused(t, directorySource(directory), code, says);
    });
});

t.test("who names a blob without having it gets nothing, although the mirror has it", async (t) => {
  const target = new Target();
  const secret = image.layers[0] as typeof image.config;
  target.has.add(secret.digest);
  const files = new Map([...right].filter(([path]) => path !== blobPath(secret.digest)));
  await t.rejects(bring(await tar(tarEntries(files)), { target }), { code: "incomplete" });
  t.notOk(target.calls.some((call) => call.startsWith("manifest")));
});

t.test(
  "of an index whole images are taken, and the others are counted; without any it is not whole",
  async (t) => {
    const files = layoutFiles([{ image: index, annotations: named("team/multi:2") }]);
    files.delete(blobPath((other.layers[0] as typeof other.config).digest));
    const { images } = await bring(await tar(tarEntries(files)));
    t.match(images, [{ digest: index.digest, leftOut: 1, whole: [image.digest] }]);
    files.delete(blobPath(image.config.digest));
    await t.rejects(bring(await tar(tarEntries(files))), { code: "incomplete" });
  },
);

t.test("it ends with the signal", async (t) => {
  const ends = new AbortController();
  ends.abort(new Error("enough"));
  const directory = t.testdir();
  writeFileSync(`${directory}/x`, "");
  writeFiles(directory, right);
  await t.rejects(bring(directorySource(directory), { signal: ends.signal }), /enough/);
});
