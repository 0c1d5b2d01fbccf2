import fc from "fast-check";
import t from "tap";
import { type Manifest, type ManifestProblem, readManifest, signedPayload } from "../../src/oci/manifest.ts";
import { mediaTypes } from "../../src/oci/media-type.ts";
import { cpuTime } from "../fixtures/cpu-time.ts";

const digests = Array.from({ length: 8 }, (_, at) => `sha256:${String(at).repeat(64)}`);
const [d0, d1, d2, d3] = digests as [string, string, string, string];
const vendor = "application/vnd.example.bundle.v1+json";
const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";

function read(json: unknown, contentType?: string): Manifest | ManifestProblem {
  return readManifest(Buffer.from(typeof json === "string" ? json : JSON.stringify(json)), contentType);
}

function accepted(json: unknown, contentType?: string): Manifest {
  const manifest = read(json, contentType);
  if (typeof manifest === "string") throw new Error(manifest);
  return manifest;
}

function childDigests(json: unknown, contentType?: string): readonly string[] {
  return accepted(json, contentType).children.map((child) => child.digest);
}

const image = {
  schemaVersion: 2,
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: d0, size: 10 },
  layers: [
    { mediaType: layerType, digest: d1, size: 20 },
    { mediaType: layerType, digest: d2, size: 30 },
  ],
};
const index = {
  schemaVersion: 2,
  manifests: [
    {
      mediaType: mediaTypes.ociManifest,
      digest: d1,
      size: 20,
      platform: { os: "linux", architecture: "arm64", variant: "v8" },
    },
    { mediaType: mediaTypes.ociIndex, digest: d2, size: 30 },
  ],
};
const schema1 = {
  schemaVersion: 1,
  name: "library/app",
  fsLayers: [{ blobSum: d1 }, { blobSum: d2 }, { blobSum: d1 }],
  history: [{ v1Compatibility: "{}" }],
};

t.test("an image of either family: config, then layers", async (t) => {
  for (const mediaType of [mediaTypes.ociManifest, mediaTypes.dockerManifest]) {
    t.strictSame(read({ ...image, mediaType }, mediaType), {
      mediaType,
      children: [
        { digest: d0, size: 10, role: "config", platform: undefined },
        { digest: d1, size: 20, role: "layer", platform: undefined },
        { digest: d2, size: 30, role: "layer", platform: undefined },
      ],
      blobs: [
        { digest: d0, size: 10, role: "config", platform: undefined },
        { digest: d1, size: 20, role: "layer", platform: undefined },
        { digest: d2, size: 30, role: "layer", platform: undefined },
      ],
      foreign: [],
    });
  }
});

t.test("an index of either family: its manifests, nested indexes too", async (t) => {
  for (const mediaType of [mediaTypes.ociIndex, mediaTypes.dockerList]) {
    t.strictSame(read({ ...index, mediaType }, mediaType), {
      mediaType,
      children: [
        { digest: d1, size: 20, role: "manifest", platform: "linux/arm64/v8" },
        { digest: d2, size: 30, role: "manifest", platform: undefined },
      ],
      blobs: [],
      foreign: [],
    });
  }
});

t.test("the index of a build cache lists blobs", async (t) => {
  const manifests = [
    { mediaType: layerType, digest: d1, size: 20 },
    { mediaType: "application/vnd.buildkit.cacheconfig.v0", digest: d2, size: 30 },
  ];
  const { children, blobs } = accepted({ schemaVersion: 2, manifests }, mediaTypes.ociIndex);
  t.strictSame(
    children.map((child) => child.role),
    ["layer", "config"],
  );
  t.strictSame(blobs, [], "no registry looks for them when it takes the index");
});

t.test("schema 1, signed or not", async (t) => {
  const children = [d1, d2].map((digest) => ({
    digest,
    size: undefined,
    role: "layer",
    platform: undefined,
  }));
  for (const type of [mediaTypes.dockerManifestV1, mediaTypes.dockerManifestV1Signed]) {
    t.strictSame(read(schema1, type), { mediaType: type, children, blobs: children, foreign: [] });
    const inner = { ...schema1, mediaType: mediaTypes.dockerManifestV1, signatures: [] };
    t.strictSame(read(inner, type), { mediaType: type, children, blobs: children, foreign: [] });
  }
});

t.test("an artifact manifest lists blobs", async (t) => {
  const artifact = {
    mediaType: mediaTypes.ociArtifact,
    artifactType: "application/x",
    blobs: [image.config],
  };
  t.strictSame(read(artifact, mediaTypes.ociArtifact), {
    mediaType: mediaTypes.ociArtifact,
    children: [{ digest: d0, size: 10, role: "layer", platform: undefined }],
    blobs: [{ digest: d0, size: 10, role: "layer", platform: undefined }],
    foreign: [],
  });
});

t.test("a platform is its os, architecture and variant, where they are words", async (t) => {
  const platformOf = (platform: unknown): string | undefined =>
    accepted({ schemaVersion: 2, manifests: [{ digest: d1, platform }] }).children[0]?.platform;
  t.equal(platformOf({ os: "linux", architecture: "amd64" }), "linux/amd64");
  t.equal(platformOf({ os: "linux", architecture: "arm", variant: "v7" }), "linux/arm/v7");
  t.equal(platformOf({ os: "linux", architecture: "amd64", variant: "" }), "linux/amd64");
  t.equal(platformOf({ os: "unknown", architecture: "unknown" }), "unknown/unknown");
  const none = [undefined, null, "linux/amd64", { os: "linux" }, { os: "linux", architecture: "a/b" }];
  for (const each of [...none, { os: "linux", architecture: "x".repeat(33) }, { os: 1, architecture: 2 }])
    t.equal(platformOf(each), undefined, JSON.stringify(each));
});

t.test("a subject is no child: the registry need not have it", async (t) => {
  const subject = { mediaType: mediaTypes.ociManifest, digest: d3, size: 5 };
  const artifactType = "application/vnd.example.sbom";
  t.strictSame(childDigests({ ...image, subject, artifactType }, mediaTypes.ociManifest), [d0, d1, d2]);
  t.strictSame(childDigests({ ...index, subject }, mediaTypes.ociIndex), [d1, d2]);
  t.equal(accepted({ ...image, subject, artifactType }, mediaTypes.ociManifest).subject, d3);
  for (const none of [undefined, null, "x", {}, { digest: "sha256:short" }])
    t.equal(accepted({ ...image, subject: none }, mediaTypes.ociManifest).subject, undefined);
});

t.test("no layers, no manifests, nothing at all", async (t) => {
  t.strictSame(childDigests({ ...image, layers: [] }, mediaTypes.ociManifest), [d0]);
  t.strictSame(childDigests({ ...image, layers: null }, mediaTypes.ociManifest), [d0]);
  t.strictSame(childDigests({ schemaVersion: 2, layers: [] }), []);
  t.strictSame(childDigests({ schemaVersion: 2, manifests: [] }), []);
  t.strictSame(childDigests({ schemaVersion: 2, manifests: null }, mediaTypes.ociIndex), []);
  t.strictSame(childDigests({ schemaVersion: 1, fsLayers: null }, mediaTypes.dockerManifestV1), []);
  t.strictSame(childDigests({ artifactType: "application/x" }, mediaTypes.ociArtifact), []);
});

t.test(
  "what has not the members of its type is no manifest, nor is one that says nothing of itself",
  async (t) => {
    const { ociManifest, dockerManifest, ociIndex, dockerList, dockerManifestV1, ociArtifact } = mediaTypes;
    for (const type of [ociManifest, dockerManifest, ociIndex, dockerList, dockerManifestV1, ociArtifact]) {
      t.equal(read({ k0: 1 }, type), "not_a_manifest", type);
      t.equal(read({}, type), "not_a_manifest", type);
      t.equal(read({ schemaVersion: 2, mediaType: type }, type), "not_a_manifest", type);
    }
    t.equal(read({ layers: {} }, ociManifest), "not_a_manifest");
    t.equal(read({ manifests: "x" }, ociIndex), "not_a_manifest");
    t.equal(read({ k0: 1 }, vendor), "not_a_manifest");
    t.equal(read({ errors: [{ code: "X" }] }, vendor), "not_a_manifest");
  },
);

t.test("the type: header first, then the field, then the shape", async (t) => {
  const typeOf = (json: unknown, contentType?: string): string => accepted(json, contentType).mediaType;
  const generic = [
    undefined,
    "",
    "application/octet-stream",
    "application/json; charset=utf-8",
    "text/html",
    "bad",
  ];
  for (const header of generic) {
    t.equal(typeOf({ ...image, mediaType: mediaTypes.dockerManifest }, header), mediaTypes.dockerManifest);
    t.equal(typeOf(image, header), mediaTypes.ociManifest);
    t.equal(typeOf({ config: image.config }, header), mediaTypes.ociManifest);
    t.equal(typeOf({ layers: [] }, header), mediaTypes.ociManifest);
    t.equal(typeOf(index, header), mediaTypes.ociIndex);
    t.equal(typeOf(schema1, header), mediaTypes.dockerManifestV1);
    t.equal(typeOf({ ...schema1, signatures: [{}] }, header), mediaTypes.dockerManifestV1Signed);
    t.equal(typeOf({ ...image, mediaType: "application/json" }, header), mediaTypes.ociManifest);
    t.equal(typeOf({ ...image, mediaType: 7 }, header), mediaTypes.ociManifest);
    t.equal(typeOf({ mediaType: vendor }, header), vendor);
  }
  t.equal(typeOf(image, `${mediaTypes.dockerManifest}; charset=utf-8`), mediaTypes.dockerManifest);
  t.equal(
    typeOf({ ...image, mediaType: "text/plain" }, mediaTypes.dockerManifest),
    mediaTypes.dockerManifest,
  );
});

t.test("unknown vendor types pass, without children: nobody checked what they name", async (t) => {
  for (const json of [
    image,
    index,
    schema1,
    { schemaVersion: 2, blobs: [image.config] },
    { schemaVersion: 3 },
  ]) {
    t.strictSame(read(json, vendor), { mediaType: vendor, children: [], blobs: [], foreign: [] });
    t.strictSame(read({ ...json, mediaType: vendor }), {
      mediaType: vendor,
      children: [],
      blobs: [],
      foreign: [],
    });
  }
});

t.test("only the members of its own type are read", async (t) => {
  const blobs = [{ digest: d3, size: 1 }];
  t.strictSame(childDigests({ ...image, blobs }, mediaTypes.ociManifest), [d0, d1, d2]);
  t.strictSame(childDigests({ ...index, blobs }, mediaTypes.ociIndex), [d1, d2]);
  t.strictSame(childDigests({ ...schema1, blobs }, mediaTypes.dockerManifestV1), [d1, d2]);
  const fsLayers = [{ blobSum: d1, digest: d3 }];
  t.strictSame(childDigests({ ...schema1, fsLayers }), [d1]);
});

t.test("members of two kinds are ambiguous, whatever the type", async (t) => {
  const { manifests } = index;
  const { layers, config } = image;
  const { fsLayers } = schema1;
  for (const header of [undefined, mediaTypes.ociIndex, mediaTypes.ociManifest, vendor]) {
    t.equal(read({ manifests, layers }, header), "ambiguous");
    t.equal(read({ manifests: [], layers: [] }, header), "ambiguous");
    t.equal(read({ manifests, config }, header), "ambiguous");
    t.equal(read({ manifests, fsLayers }, header), "ambiguous");
    t.equal(read({ layers, fsLayers }, header), "ambiguous");
  }
});

t.test("members of another kind than the type are ambiguous", async (t) => {
  const wrong: [unknown, string][] = [
    [image, mediaTypes.ociIndex],
    [image, mediaTypes.dockerList],
    [image, mediaTypes.dockerManifestV1],
    [image, mediaTypes.ociArtifact],
    [{ config: image.config }, mediaTypes.ociIndex],
    [index, mediaTypes.ociManifest],
    [index, mediaTypes.dockerManifest],
    [index, mediaTypes.dockerManifestV1Signed],
    [schema1, mediaTypes.dockerManifest],
    [schema1, mediaTypes.ociIndex],
  ];
  for (const [json, type] of wrong) {
    t.equal(read(json, type), "ambiguous", type);
    t.equal(read({ ...(json as object), mediaType: type }), "ambiguous", type);
  }
});

t.test("a member in another case is ambiguous, on top and in a descriptor", async (t) => {
  t.equal(read({ ...image, Layers: [] }, mediaTypes.ociManifest), "ambiguous");
  t.equal(read({ ...image, Manifests: [] }, mediaTypes.ociManifest), "ambiguous");
  t.equal(read({ ...image, MEDIATYPE: mediaTypes.ociIndex }, mediaTypes.ociManifest), "ambiguous");
  t.equal(read({ ...image, layers: [{ digest: d1, Digest: d2 }] }, mediaTypes.ociManifest), "ambiguous");
  t.equal(read({ ...image, config: { ...image.config, URLs: [] } }, mediaTypes.ociManifest), "ambiguous");
  t.equal(read({ ...schema1, fsLayers: [{ blobsum: d1 }] }), "ambiguous");
  t.equal(
    accepted({ ...image, annotations: { Layers: "x", Digest: "y" } }).mediaType,
    mediaTypes.ociManifest,
  );
});

t.test("field and header must agree", async (t) => {
  const { ociManifest, dockerManifest, ociIndex, dockerManifestV1 } = mediaTypes;
  t.equal(read({ ...image, mediaType: dockerManifest }, ociManifest), "type_mismatch");
  t.equal(read({ ...image, mediaType: ociManifest }, dockerManifest), "type_mismatch");
  t.equal(read({ ...image, mediaType: ociIndex }, ociManifest), "type_mismatch");
  t.equal(read({ ...image, mediaType: ociManifest }, vendor), "type_mismatch");
  t.equal(read({ ...image, mediaType: vendor }, ociManifest), "type_mismatch");
  t.equal(read({ ...schema1, mediaType: dockerManifestV1 }, ociManifest), "type_mismatch");
  t.equal(read({ ...schema1, mediaType: ociManifest }, dockerManifestV1), "type_mismatch");
});

t.test("foreign layers are told apart and are no children", async (t) => {
  const windows = {
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    digest: d2,
    size: 7,
  };
  const elsewhere = { mediaType: layerType, digest: d3, size: 8, urls: ["https://registry.example.com/x"] };
  const manifest = accepted({ ...image, layers: [windows, image.layers[0], elsewhere, windows] });
  t.strictSame(
    manifest.children.map((child) => child.digest),
    [d0, d1],
  );
  t.strictSame(manifest.foreign, [
    { digest: d2, size: 7, role: "layer", platform: undefined },
    { digest: d3, size: 8, role: "layer", platform: undefined },
  ]);
});

t.test("a digest that is foreign in one place and ordinary in another is ordinary", async (t) => {
  const foreign = { ...image.layers[0], urls: ["https://registry.example.com/x"] };
  for (const layers of [
    [foreign, image.layers[0]],
    [image.layers[0], foreign],
  ]) {
    const manifest = accepted({ ...image, layers });
    t.strictSame(
      manifest.children.map((child) => child.digest),
      [d0, d1],
    );
    t.strictSame(manifest.foreign, []);
  }
});

t.test("duplicates count once, the first one", async (t) => {
  const layers = [image.layers[0], { ...image.layers[0], size: 99 }, { ...image.config, size: 98 }];
  t.strictSame(
    accepted({ ...image, layers }).children.map((child) => child.size),
    [10, 20],
  );
});

t.test("what is no descriptor is passed over", async (t) => {
  const layers = [
    null,
    1,
    "x",
    [],
    [image.layers[0]],
    {},
    { digest: "sha256:../../x" },
    { digest: 7 },
    image.layers[1],
  ];
  t.strictSame(childDigests({ ...image, config: "x", layers }), [d2]);
  t.strictSame(childDigests({ ...index, manifests: [null, ...index.manifests] }), [d1, d2]);
  t.strictSame(childDigests({ ...schema1, fsLayers: ["x", { blobSum: d1 }, { digest: d2 }] }), [d1]);
});

t.test("4,000 descriptors are read, whatever they are, and no manifest with more", async (t) => {
  const layers = Array.from({ length: 4_000 }, (_, at) => ({
    mediaType: layerType,
    digest: `sha256:${String(at + 1).padStart(64, "0")}`,
  }));
  const { config } = image;
  t.equal(accepted({ config, layers: layers.slice(1) }).children.length, 4_000);
  t.equal(accepted({ manifests: layers }).children.length, 4_000);
  t.equal(read({ config, layers }), "too_many");
  t.equal(read({ manifests: [...layers, null] }), "too_many");
  t.equal(read({ config, layers: layers.map((layer) => ({ ...layer, urls: ["x"] })) }), "too_many");
  t.equal(read({ fsLayers: [...layers, {}] }), "too_many");
});

t.test("a manifest with more values than are read is not parsed at all", async (t) => {
  const many = 41_000;
  const named = (start: string): string =>
    `{${Array.from({ length: many }, (_, at) => `"${start}${at}":1`).join(",")}}`;
  const { ociManifest } = mediaTypes;
  const bodies = [
    named("k"),
    named(""),
    `{"layers":[],"annotations":${named("k")}}`,
    `{"layers":[],"x":[${"1,".repeat(many)}1]}`,
    `{"layers":[],"x":[${"{},".repeat(many)}{}]}`,
    `{"layers":[],"x":[${"[],".repeat(many)}[]]}`,
  ];
  const { parse } = JSON;
  t.teardown(() => {
    JSON.parse = parse;
  });
  let parsed = 0;
  JSON.parse = (...asked) => {
    parsed++;
    return parse(...asked);
  };
  for (const body of bodies) t.equal(read(body, ociManifest), "too_many");
  t.equal(parsed, 0);
  t.equal(typeof read(`{"layers":[],"x":[${"1,".repeat(39_990)}1]}`, ociManifest), "object");
  t.equal(parsed, 1);
});

t.test("what is not JSON or not an object", async (t) => {
  const { ociManifest } = mediaTypes;
  for (const text of ["", "{", "<html>", "\ufeff{}", "{}{}", "{'a':1}"])
    t.equal(read(text, ociManifest), "not_json");
  for (const text of ["null", "1", '"x"', '"not_json"', "[]", "true"]) {
    t.equal(read(text, ociManifest), "not_a_manifest", text);
  }
  for (const json of [
    {},
    { errors: [] },
    { schemaVersion: 1 },
    { blobs: [] },
    { manifests: {} },
    { config: [] },
  ]) {
    t.equal(read(json), "not_a_manifest");
    t.equal(read(json, "text/html"), "not_a_manifest");
  }
});

t.test("bytes that are no UTF-8 are read around, never thrown at", async (t) => {
  const body = Buffer.concat([
    Buffer.from('{"layers":[],"annotations":{"a":"'),
    Buffer.from([0xff, 0xc0]),
    Buffer.from('"}}'),
  ]);
  const manifest = readManifest(body, undefined);
  t.equal(typeof manifest === "object" && manifest.mediaType, mediaTypes.ociManifest);
});

t.test("__proto__ and its like are members of no meaning", async (t) => {
  const nasty = `{"__proto__":{"manifests":[{"digest":"${d1}"}],"mediaType":"${mediaTypes.ociIndex}"},"constructor":{"prototype":{}},"layers":[{"__proto__":{"digest":"${d2}","urls":["x"]}}]}`;
  t.strictSame(read(nasty), { mediaType: mediaTypes.ociManifest, children: [], blobs: [], foreign: [] });
  t.equal(({} as Record<string, unknown>).manifests, undefined);
});

t.test("nesting is bounded, and deep nesting takes no time", async (t) => {
  const nested = (depth: number): string => `{"layers":[],"x":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  t.equal(typeof read(nested(63)), "object");
  t.equal(read(nested(64)), "not_a_manifest");
  const half = 2 * 1024 * 1024;
  const attacks = ["[".repeat(half) + "]".repeat(half), '{"a":'.repeat(half / 3), "[".repeat(2 * half)];
  const spent = cpuTime(() => {
    for (const attack of attacks) t.equal(read(attack, mediaTypes.ociManifest), "not_a_manifest");
  });
  t.ok(spent < 1000, `${spent} ms`);
});

t.test("4 MiB of one string is read in bounded time", async (t) => {
  const fill = (unit: string): string => unit.repeat(Math.floor((4 * 1024 * 1024 - 100) / unit.length));
  const bodies = [
    `{"layers":[],"mediaType":"${fill("a")}/b"}`,
    `{"layers":[],"mediaType":"${fill(" ")}"}`,
    `{"layers":[{"digest":"${fill("sha256:")}"}]}`,
  ];
  for (const body of bodies) {
    const spent = cpuTime(() => t.strictSame(childDigests(body), []));
    t.ok(spent < 3000, `${spent} ms`);
  }
});

t.test("any JSON gives a manifest or a problem, and children only by their digests", async () => {
  const digest = fc.constantFrom<unknown>(...digests, "sha256:bad", null, 7);
  const type = fc.constantFrom<unknown>(...Object.values(mediaTypes), vendor, "", null, 7);
  const descriptor = fc.oneof(
    fc.jsonValue(),
    fc.record({ digest, mediaType: type, size: fc.jsonValue(), urls: fc.jsonValue() }, { requiredKeys: [] }),
  );
  const list = fc.oneof(fc.array(descriptor, { maxLength: 4 }), fc.jsonValue());
  const body = fc.record(
    { mediaType: type, manifests: list, layers: list, config: descriptor, fsLayers: list, blobs: list },
    { requiredKeys: [] },
  );
  const problems = new Set<unknown>(["not_json", "not_a_manifest", "too_many", "ambiguous", "type_mismatch"]);
  fc.assert(
    fc.property(fc.oneof(body, fc.jsonValue()), type, (json, header) => {
      const text = JSON.stringify(json);
      const manifest = read(text, typeof header === "string" ? header : undefined);
      if (typeof manifest === "string") return problems.has(manifest);
      return [...manifest.children, ...manifest.foreign].every((child) => text.includes(`"${child.digest}"`));
    }),
    { numRuns: 2000 },
  );
});

// ---- signed schema 1 --------------------------------------------------------------------------------------------

/** As libtrust signs: the signatures are put in before the last brace. */
function signed(payload: string, format: object = {}): Buffer {
  const body = payload.slice(0, -2);
  const formatLength = Buffer.byteLength(body);
  const formatTail = Buffer.from("\n}").toString("base64url");
  const text = JSON.stringify({ formatLength, formatTail, time: "2016-01-01T00:00:00Z", ...format });
  const signature = {
    header: { alg: "ES256" },
    signature: "xx",
    protected: Buffer.from(text).toString("base64url"),
  };
  return Buffer.from(`${body},\n   "signatures": [${JSON.stringify(signature)}]\n}`);
}

t.test("what the signatures of a schema 1 manifest cover", async (t) => {
  const payload = JSON.stringify({ ...schema1, name: "library/äpp" }, undefined, 3);
  t.equal(signedPayload(signed(payload))?.toString(), payload);
  t.equal(accepted(signed(payload).toString()).mediaType, mediaTypes.dockerManifestV1Signed);
});

t.test("what is not signed has no payload, however it is spelled", async (t) => {
  const payload = JSON.stringify(schema1, undefined, 3);
  const none: (string | Buffer)[] = [
    payload,
    "x",
    "null",
    JSON.stringify({ ...schema1, signatures: [] }),
    JSON.stringify({ ...schema1, signatures: [{}] }),
    JSON.stringify({ ...schema1, signatures: {} }),
    JSON.stringify({ ...schema1, signatures: [{ protected: "!" }] }),
    signed(payload, { formatLength: 0 }),
    signed(payload, { formatLength: "7" }),
    signed(payload, { formatLength: 1e9 }),
    signed(payload, { formatTail: 7 }),
    signed(JSON.stringify(image, undefined, 3)),
  ];
  for (const body of none) t.equal(signedPayload(Buffer.from(body)), undefined, String(body).slice(0, 80));
});
