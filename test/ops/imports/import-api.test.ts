// What is brought by PUT, through the whole mirror.
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import t, { type Test } from "tap";
import { z } from "zod";
import { plainUpstream } from "../../../src/config/config.ts";
import { errorSchema } from "../../../src/ops/api/api-error.ts";
import { importedBlobSchema, importedManifestSchema } from "../../../src/ops/imports/import-schema.ts";
import { makeContent, makeImage } from "../../fixtures/images.ts";
import { ask, type Mirror, type MirrorOptions, startMirror } from "../../fixtures/mirror.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [100_000] });
const [layer = makeContent(Buffer.alloc(0))] = image.layers;
const own = { "x-entrepot-request": "test" };

async function start(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { upstream: { offline: true }, ...options });
  await upstream.stop();
  return mirror;
}

async function put({ ops }: Mirror, path: string, body: Buffer, headers: Record<string, string> = {}) {
  const length = { "content-length": String(body.length) };
  const answer = await ask(ops, "PUT", `/api/v1/imports/${path}`, { ...own, ...length, ...headers }, body);
  return { status: answer.status, said: JSON.parse(answer.body.toString()) as unknown };
}

/** Of the answer's schema, or an error's. */
function says(
  t: Test,
  schema: z.ZodType,
  { status, said }: Awaited<ReturnType<typeof put>>,
  expected: number,
) {
  t.equal(status, expected, JSON.stringify(said));
  const { error } = (expected < 400 ? schema : errorSchema).safeParse(said);
  t.equal(error, undefined, error === undefined ? "as described" : z.prettifyError(error));
}

const where = "?upstream=upstream&repository=team/app&tag=1";

t.test(
  "a blob is taken by its digest and length, and nobody may read it before a manifest names it",
  async (t) => {
    const mirror = await start(t);
    const path = `blobs/${layer.digest}`;
    const look = async () => await (await fetch(new URL(`/api/v1/imports/${path}`, mirror.ops))).json();
    t.same(await look(), { digest: layer.digest, here: false, sizeBytes: null });
    const wrong = await put(mirror, path, Buffer.alloc(100_000));
    says(t, importedBlobSchema, wrong, 400);
    t.match(wrong.said, { error: { message: /do not have this digest/ } });
    says(t, importedBlobSchema, await put(mirror, `blobs/${layer.digest.slice(0, 20)}`, layer.bytes), 400);
    says(t, importedBlobSchema, await put(mirror, "layers/x", layer.bytes), 404);
    t.same(await look(), { digest: layer.digest, here: false, sizeBytes: null }, "none of it stays");
    says(t, importedBlobSchema, await put(mirror, path, layer.bytes), 201);
    t.same(await look(), { digest: layer.digest, here: true, sizeBytes: 100_000 });
    t.equal((await mirror.get(`/v2/team/app/blobs/${layer.digest}`)).status, 502);
    const line = mirror.lines.find(({ event, outcome }) => event === "audit" && outcome === "done");
    t.match(line, { method: "PUT", path: `/api/v1/imports/${path}`, about: [layer.digest] });
  },
);

t.test(
  "a manifest is taken once all that it names is here, into the repository that is named and no other",
  async (t) => {
    const mirror = await start(t, {
      more: [
        { ...plainUpstream("hub", new URL("http://127.0.0.1:9")), library: true, offline: true },
        { ...plainUpstream("passing", new URL("http://127.0.0.1:9")), access: "passthrough" },
      ],
    });
    const path = `manifests/${image.digest}`;
    const type = { "content-type": image.mediaType };
    await put(mirror, `blobs/${layer.digest}`, layer.bytes);
    const early = await put(mirror, path + where, image.manifest, type);
    says(t, importedManifestSchema, early, 409);
    t.match(early.said, {
      error: { message: `manifest ${image.digest} names what is not here: ${image.config.digest}` },
    });
    await put(mirror, `blobs/${image.config.digest}`, image.config.bytes);
    for (const [query, status] of [
      ["?upstream=upstream", 400],
      ["?upstream=upstream&repository=UPPER", 400],
      ["?upstream=upstream&repository=team/app&tag=a%2fb", 400],
      ["?upstream=none&repository=team/app&tag=1", 404],
      ["?upstream=passing&repository=team/app&tag=1", 409],
    ] as const)
      says(t, importedManifestSchema, await put(mirror, path + query, image.manifest, type), status);
    says(t, importedManifestSchema, await put(mirror, path + where, Buffer.from("{}"), type), 400);
    const other = { "content-type": "application/vnd.oci.image.index.v1+json" };
    says(t, importedManifestSchema, await put(mirror, path + where, image.manifest, other), 400);
    says(
      t,
      importedManifestSchema,
      await put(mirror, path + where, Buffer.alloc(4 * 1024 * 1024 + 1), type),
      413,
    );
    t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 502);
    const taken = await put(mirror, path + where, image.manifest, type);
    says(t, importedManifestSchema, taken, 201);
    t.same(taken.said, {
      upstream: "upstream",
      repository: "team/app",
      digest: image.digest,
      tag: "1",
      offline: true,
    });
    t.match(await mirror.get("/v2/team/app/manifests/1"), { status: 200, body: image.manifest });
    t.equal((await mirror.get(`/v2/team/app/blobs/${layer.digest}`)).status, 200);
    t.equal((await mirror.get(`/v2/team/web/blobs/${layer.digest}`)).status, 502);
    const official = await put(mirror, `${path}?upstream=hub&repository=busybox&tag=1`, image.manifest, type);
    t.match(official.said, { repository: "library/busybox" });
  },
);

t.test("a layer of another size than the manifest states is not taken for it", async (t) => {
  const mirror = await start(t);
  const lying = Buffer.from(image.manifest.toString().replace('"size":100000', '"size":100001'));
  const { digest } = makeContent(lying);
  for (const { digest, bytes } of [layer, image.config]) await put(mirror, `blobs/${digest}`, bytes);
  const answer = await put(mirror, `manifests/${digest}${where}`, lying, { "content-type": image.mediaType });
  says(t, importedManifestSchema, answer, 409);
  t.match(answer.said, { error: { message: /states 100001 bytes for/ } });
});

t.test(
  "nothing is taken without the header, from another site, without a length, or with other methods",
  async (t) => {
    const mirror = await start(t);
    const path = `/api/v1/imports/blobs/${layer.digest}`;
    const length = { "content-length": "100000" };
    t.equal((await ask(mirror.ops, "PUT", path, length, layer.bytes)).status, 403);
    const foreign = { ...own, ...length, origin: "http://elsewhere.example.com" };
    t.equal((await ask(mirror.ops, "PUT", path, foreign, layer.bytes)).status, 403);
    t.equal(
      (await ask(mirror.ops, "PUT", path, { ...own, "transfer-encoding": "chunked" }, layer.bytes)).status,
      400,
    );
    t.equal((await ask(mirror.ops, "POST", path, { ...own, ...length }, layer.bytes)).status, 405);
    t.equal((await ask(mirror.ops, "GET", `/api/v1/imports/manifests/${image.digest}`)).status, 405);
  },
);

t.test("what does not fit is refused with 507, whether it is known before or not", async (t) => {
  const mirror = await start(t, { cache: { maxSize: 50_000 } });
  const answer = await put(mirror, `blobs/${layer.digest}`, layer.bytes);
  says(t, importedBlobSchema, answer, 507);
  t.match(answer.said, { error: { code: "no_room", message: /no room for the 100000 bytes/ } });
});

t.test("four at once; one more is told to come again", async (t) => {
  const mirror = await start(t);
  const open = Array.from({ length: 4 }, () => {
    const { hostname, port } = mirror.ops;
    const headers = { ...own, "content-length": "100000" };
    const path = `/api/v1/imports/blobs/${layer.digest}`;
    const sent = request({ hostname, port, path, method: "PUT", headers, agent: false });
    sent.write(layer.bytes.subarray(0, 10));
    return { sent, over: once(sent, "response") as Promise<[IncomingMessage]> };
  });
  for (;;) {
    const fifth = await put(mirror, `blobs/${image.config.digest}`, image.config.bytes);
    if (fifth.status === 503) break;
  }
  for (const { sent } of open) sent.end(layer.bytes.subarray(10));
  for (const { over } of open) {
    const [answer] = await over;
    t.equal(answer.statusCode, 201, "each of them, of the same blob");
    answer.resume();
  }
  t.equal((await put(mirror, `blobs/${image.config.digest}`, image.config.bytes)).status, 201);
});
