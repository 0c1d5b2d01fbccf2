// Referrers and signature tags while upstream is away. Clients ask for them with every pull and fail on any answer but 200
// and 404: docker since 29.1, podman with sigstore attachments, cosign, oras, notation.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestHex } from "../../src/oci/digest.ts";
import { type Image, makeImage } from "../fixtures/images.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../fixtures/scripted-upstream.ts";

const indexType = "application/vnd.oci.image.index.v1+json";
const list = `{"schemaVersion":2,"mediaType":"${indexType}","manifests":[{"artifactType":"application/x"}]}`;
const day = 24 * 3_600_000;

interface Place {
  readonly upstream: ScriptedUpstream;
  readonly image: Image;
  /** In milliseconds since the epoch. */
  now: number;
  start(options?: MirrorOptions): Promise<Mirror>;
}

/** An upstream with one image, and a mirror that finds its directory again. */
async function place(t: Test): Promise<Place> {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [10] });
  upstream.addImage("team/app", "1", image);
  const directory = join(t.testdir(), "cache");
  await mkdir(directory);
  const here: Place = {
    upstream,
    image,
    now: Date.parse("2026-01-01T00:00:00Z"),
    start: (options) =>
      startMirror(t, upstream, {
        clock: () => here.now,
        ...options,
        cache: { dir: directory, ...options?.cache },
      }),
  };
  return here;
}

/** What a client asks about the image besides the image. */
function questions(image: Image): string[] {
  const hex = digestHex(image.digest);
  return [
    `/v2/team/app/referrers/${image.digest}`,
    `/v2/team/app/referrers/${image.digest}?artifactType=application/x`,
    `/v2/team/app/manifests/sha256-${hex}`,
    `/v2/team/app/manifests/sha256-${hex}.sig`,
  ];
}

async function statuses(mirror: Mirror, paths: readonly string[]): Promise<number[]> {
  const answers: number[] = [];
  for (const path of paths) {
    const [head, get] = [await mirror.ask("HEAD", path), await mirror.get(path)];
    if (head.status !== get.status) throw new Error(`${path}: HEAD ${head.status}, GET ${get.status}`);
    answers.push(get.status);
  }
  return answers;
}

t.test("what upstream said is absent stays absent when it is away, also after a restart", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  const mirror = await here.start();
  t.equal((await mirror.get(`/v2/team/app/manifests/${image.digest}`)).status, 200);
  const asked = questions(image);
  t.strictSame(await statuses(mirror, asked), [404, 404, 404, 404], "while upstream answers");
  await upstream.stop();
  here.now += day;
  t.strictSame(await statuses(mirror, asked), [404, 404, 404, 404], "while it is away");
  await mirror.app.stop();
  here.now += 30 * day;
  const restarted = await here.start();
  t.strictSame(await statuses(restarted, asked), [404, 404, 404, 404], "after a restart");
  const { headers } = await restarted.get(asked[0] as string);
  t.match(headers.warning, /^299 - "not asked again: the upstream registry failed \(.*\)"$/);
  t.equal((await restarted.get(`/v2/team/app/manifests/${image.digest}`)).status, 200);
});

t.test("lists upstream gave are given when it is away, also after a restart, with a Warning", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  upstream.fault(({ kind, query }) => {
    if (kind !== "referrers") return undefined;
    const filtered = query.has("artifactType") ? { "oci-filters-applied": "artifactType" } : {};
    return { status: 200, headers: { "content-type": indexType, ...filtered }, body: list };
  });
  const mirror = await here.start();
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  const [whole, filtered] = questions(image) as [string, string, ...string[]];
  const tags = "/v2/team/app/tags/list";
  for (const path of [whole, filtered, tags]) t.equal((await mirror.get(path)).status, 200);
  await mirror.app.stop();
  await upstream.stop();
  here.now += 6 * day;
  const restarted = await here.start();
  for (const path of [whole, filtered]) {
    const { status, headers, body } = await restarted.get(path);
    t.equal(status, 200);
    t.equal(body.toString(), list);
    t.match(headers, { "content-type": indexType, warning: /^299 - "stale listing/, age: "518400" });
    t.equal(headers["oci-filters-applied"], path === filtered ? "artifactType" : undefined);
  }
  t.match(JSON.parse((await restarted.get(tags)).body.toString()), { tags: ["1"] });
  here.now += 30 * day;
  t.equal((await restarted.get(whole)).status, 200, "as long as the manifest, which has no age");
  t.equal((await restarted.get(tags)).status, 502, "tags have the bound of stale tags");
});

t.test("what was never asked is none while upstream is away, where the manifest is known", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  const mirror = await here.start();
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  await upstream.stop();
  t.strictSame(await statuses(mirror, questions(image)), [404, 404, 404, 404]);
  const unknown = makeImage({ layers: [10], seed: "unknown" });
  t.strictSame(await statuses(mirror, questions(unknown)), [502, 502, 502, 502], "an image nobody pulled");
  const elsewhere = questions(image).map((path) => path.replace("team/app", "team/other"));
  t.strictSame(await statuses(mirror, elsewhere), [502, 502, 502, 502], "another repository");
});

t.test("a signature that appears is found at once, and stays when upstream goes away", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  const mirror = await here.start();
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  const signature = `/v2/team/app/manifests/sha256-${digestHex(image.digest)}.sig`;
  t.equal((await mirror.get(signature)).status, 404);
  upstream.addImage(
    "team/app",
    `sha256-${digestHex(image.digest)}.sig`,
    makeImage({ layers: [10], seed: "signature" }),
  );
  t.equal((await mirror.get(signature)).status, 200);
  await upstream.stop();
  here.now += day;
  t.equal((await mirror.get(signature)).status, 200);
});

t.test("while upstream answers, a 404 of its referrers is believed for ten seconds", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  const mirror = await here.start();
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  const [whole] = questions(image) as [string, ...string[]];
  t.equal((await mirror.get(whole)).status, 404);
  upstream.fault(({ kind }) =>
    kind === "referrers" ? { status: 200, headers: { "content-type": indexType }, body: list } : undefined,
  );
  here.now += 9_999;
  t.equal((await mirror.get(whole)).status, 404);
  here.now += 1;
  t.equal((await mirror.get(whole)).status, 200);
});

t.test("that there is no such repository is told as such, and not kept on disk", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  const mirror = await here.start();
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  const [whole] = questions(image) as [string, ...string[]];
  const codeOf = async (from: Mirror): Promise<unknown> =>
    JSON.parse((await from.get(whole)).body.toString()).errors[0].code;
  t.equal(await codeOf(mirror), "MANIFEST_UNKNOWN");
  for (const body of [
    '{"errors":[{"code":"NAME_UNKNOWN"}]}',
    '{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}',
  ]) {
    here.now += 11_000;
    const heal = upstream.fault(({ kind }) => (kind === "referrers" ? { status: 404, body } : undefined));
    t.equal(
      await codeOf(mirror),
      "NAME_UNKNOWN",
      "oras takes it for an error, any other code for no referrers",
    );
    heal();
    t.equal(await codeOf(mirror), "NAME_UNKNOWN", "also from memory");
  }
  await mirror.app.stop();
  await upstream.stop();
  t.equal(
    await codeOf(await here.start()),
    "MANIFEST_UNKNOWN",
    "the manifest is here, and nothing else is known",
  );
});

t.test("while upstream hangs, clients wait a second at most for what it said was absent", async (t) => {
  const here = await place(t);
  const { upstream, image } = here;
  const mirror = await here.start({ upstream: { firstByteTimeout: 600_000 } });
  await mirror.get(`/v2/team/app/manifests/${image.digest}`);
  await statuses(mirror, questions(image));
  here.now += day;
  upstream.fault(() => ({ hang: true }));
  // The test's own time-out is far below that of the upstream.
  t.strictSame(await statuses(mirror, questions(image)), [404, 404, 404, 404]);
});
