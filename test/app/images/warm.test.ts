// What is fetched before clients ask for it, through the whole mirror: after a job a pull needs no upstream.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { plainUpstream } from "../../../src/config/config.ts";
import { mediaTypes } from "../../../src/oci/media-type.ts";
import { type Image, makeImage, makeIndex } from "../../fixtures/images.ts";
import { parseLines } from "../../fixtures/line-protocol.ts";
import { eventually, gate, ManualClock, ManualPause } from "../../fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../../fixtures/scripted-upstream.ts";
import { askJobs, beginJob, jobOf, jobUntil, runJob } from "../../fixtures/warm-jobs.ts";

const amd64 = makeImage({ layers: [200_000, 10], seed: "amd64" });
const arm64 = makeImage({ layers: [150_000], seed: "arm64" });
const index = makeIndex([amd64, arm64]);
const signature = makeImage({ layers: [300], seed: "signature" });
const sbom = makeImage({ layers: [400], seed: "sbom" });
const repository = "team/app";
const signatureTag = `${index.digest.replace(":", "-")}.sig`;

async function start(t: Test, options: MirrorOptions = {}) {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, options);
  return { upstream, mirror };
}

/** An index of two images, signed, with an SBOM that refers to it. */
function addSigned(upstream: ScriptedUpstream): void {
  upstream.addIndex(repository, "1.0", index);
  upstream.addImage(repository, signatureTag, signature);
  upstream.addImage(repository, undefined, sbom);
  upstream.fault(({ kind, reference }) =>
    kind === "referrers" && reference === index.digest
      ? {
          status: 200,
          headers: { "content-type": mediaTypes.ociIndex },
          body: JSON.stringify({
            schemaVersion: 2,
            mediaType: mediaTypes.ociIndex,
            manifests: [
              {
                mediaType: sbom.mediaType,
                digest: sbom.digest,
                size: sbom.manifest.length,
                artifactType: "sbom/x",
              },
            ],
          }),
        }
      : undefined,
  );
}

/** What a client of the platform gets. */
async function pull(t: Test, mirror: Mirror, reference: string, of: Image): Promise<void> {
  const at = (rest: string) => `/v2/${repository}/${rest}`;
  const manifest = await mirror.get(at(`manifests/${reference}`));
  t.equal(manifest.status, 200, reference);
  const image = await mirror.get(at(`manifests/${of.digest}`));
  t.ok(image.body.equals(of.manifest), `the manifest of ${of.digest}`);
  for (const { digest, bytes } of [of.config, ...of.layers]) {
    const { body, complete } = await mirror.get(at(`blobs/${digest}`));
    t.ok(complete && body.equals(bytes), `${digest} is whole`);
  }
}

t.test(
  "after a job a pull succeeds with the upstream gone: both platforms, signature, referrers",
  async (t) => {
    const { upstream, mirror } = await start(t);
    addSigned(upstream);
    const job = await runJob(mirror, { images: [`${repository}:1.0`] });
    t.match(job, { state: "done", sums: { images: 1, imagesDone: 1, imagesFailed: 0 }, failures: [] });
    // The index, 2 images with 2 configs and 3 layers, the signature and the SBOM with a config and a layer each.
    t.equal(job.sums.parts, 1 + 2 + 2 + 3 + 2 + 2 + 2);
    t.equal(job.sums.partsHere, job.sums.parts);
    t.equal(job.sums.hereBytes, job.sums.sizeBytes);
    t.equal(job.sums.fetchedBytes, job.sums.sizeBytes);
    t.match(job.images, [
      { image: "team/app:1.0", state: "done", digest: index.digest, upstream: "upstream" },
    ]);
    const blobs = [amd64, arm64, signature, sbom].flatMap(({ config, layers }) => [config, ...layers]);
    for (const { digest } of blobs)
      t.equal(upstream.count({ kind: "blob", reference: digest }), 1, `${digest} came once`);

    await upstream.stop();
    await pull(t, mirror, "1.0", amd64);
    await pull(t, mirror, "1.0", arm64);
    await pull(t, mirror, signatureTag, signature);
    const referrers = await mirror.get(`/v2/${repository}/referrers/${index.digest}`);
    t.equal(referrers.status, 200);
    t.match(referrers.body.toString(), sbom.digest);
    await pull(t, mirror, sbom.digest, sbom);
    const none = await mirror.get(`/v2/${repository}/manifests/${signatureTag.replace(/sig$/, "att")}`);
    t.equal(none.status, 404, "what upstream does not have is known to be absent");
  },
);

t.test("what is here is not fetched again, so asking again goes on", async (t) => {
  const { upstream, mirror } = await start(t);
  addSigned(upstream);
  await runJob(mirror, { images: [`${repository}:1.0`] });
  upstream.forget();
  const again = await runJob(mirror, { images: [`${repository}:1.0`] });
  t.match(again, { state: "done", sums: { fetchedBytes: 0 } });
  t.equal(again.sums.partsHere, again.sums.parts);
  t.equal(upstream.count({ kind: "blob" }), 0);
  t.equal(upstream.count({ method: "GET", kind: "manifest", status: 200 }), 0);
});

t.test("only the platforms that are asked for; none of them is a failure", async (t) => {
  const { upstream, mirror } = await start(t);
  addSigned(upstream);
  const job = await runJob(mirror, { images: [`${repository}:1.0`], platforms: ["linux/arm64"] });
  t.equal(job.state, "done");
  t.equal(upstream.count({ reference: arm64.layers[0]?.digest as string }), 1);
  for (const { digest } of [amd64, ...amd64.layers]) t.equal(upstream.count({ reference: digest }), 0);
  const none = await runJob(mirror, { images: [`${repository}:1.0`], platforms: ["windows/amd64"] });
  t.match(none, { state: "failed", failures: [{ reason: /no image for these platforms/ }] });
  const wrong = await askJobs(mirror, "POST", "", { images: ["a:1"], platforms: ["linux"] });
  t.equal(wrong.status, 400);
  t.match(wrong.text, /expected a platform such as linux\/amd64/);
});

t.test("attestations go with the image they are about", async (t) => {
  const { upstream, mirror } = await start(t);
  const attestation = (of: Image) => makeImage({ layers: [50], seed: `attests ${of.digest}` });
  const unknown = { os: "unknown", architecture: "unknown" };
  const entry = ({ mediaType, digest, manifest }: Image, more: object) => ({
    ...{ mediaType, digest, size: manifest.length },
    ...more,
  });
  const about = ({ digest }: Image) => ({
    platform: unknown,
    annotations: {
      "vnd.docker.reference.type": "attestation-manifest",
      "vnd.docker.reference.digest": digest,
    },
  });
  const body = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests: [
        entry(amd64, { platform: { os: "linux", architecture: "amd64" } }),
        entry(arm64, { platform: { os: "linux", architecture: "arm64" } }),
        entry(attestation(amd64), about(amd64)),
        entry(attestation(arm64), about(arm64)),
      ],
    }),
  );
  for (const image of [amd64, arm64, attestation(amd64), attestation(arm64)])
    upstream.addImage(repository, undefined, image);
  upstream.addManifest(repository, "built", body, mediaTypes.ociIndex);
  const job = await runJob(mirror, { images: [`${repository}:built`], platforms: ["linux/amd64"] });
  t.match(job, { state: "done" });
  t.equal(upstream.count({ method: "GET", reference: attestation(amd64).digest }), 1);
  t.equal(upstream.count({ reference: attestation(arm64).digest }), 0);
  t.equal(upstream.count({ reference: arm64.digest }), 0);
});

t.test("what fails is told by part and reason, and ends nothing else", async (t) => {
  const { upstream, mirror } = await start(t, {
    upstream: { deny: ["secret/**"], namespaces: ["registry.example.com"] },
  });
  upstream.addImage(repository, "1", amd64);
  upstream.addImage(repository, "2", arm64);
  const [layer] = amd64.layers as [Image["layers"][0]];
  upstream.removeBlob(repository, layer.digest);
  const job = await runJob(mirror, {
    images: [
      "team/app:1",
      "registry.example.com/team/app:2",
      "team/app:3",
      "secret/app:1",
      "other.example.com/team/app:1",
    ],
  });
  t.equal(job.state, "failed");
  t.match(
    job.images.map(({ image, state, failures }) => [image, state, failures[0]?.part, failures[0]?.reason]),
    [
      ["team/app:1", "failed", layer.digest, /^upstream upstream does not have it/],
      ["registry.example.com/team/app:2", "done", undefined, undefined],
      ["team/app:3", "failed", "3", /^upstream upstream does not have it/],
      ["secret/app:1", "failed", "1", /not allowed by its allow and deny/],
      [
        "other.example.com/team/app:1",
        "failed",
        "other.example.com/team/app:1",
        /the registry other\.example\.com is none that this mirror fetches from/,
      ],
    ],
  );
  t.match(job.sums, { images: 5, imagesDone: 1, imagesFailed: 4 });
  await upstream.stop();
  await pull(t, mirror, "2", arm64);
  t.match(await (await fetch(new URL("/jobs", mirror.ops))).text(), /team\/app:1.*does not have it/s);
});

/** Pauses between attempts end at once; no others of a second and more, in which the node looks after itself. */
function retriesAtOnce(): ManualPause {
  const time = new ManualPause();
  let longest = 0;
  time.instant = (milliseconds) => {
    if (milliseconds === 60_000) return time.asked.includes(32_000) && longest++ === 0;
    return milliseconds < 1_000 || Number.isInteger(Math.log2(milliseconds / 1_000));
  };
  return time;
}

t.test("after an outage it is asked again, 8 times in all", async (t) => {
  const time = retriesAtOnce();
  const { upstream, mirror } = await start(t, { pause: time.pause });
  upstream.addImage(repository, "1", amd64);
  const [layer] = amd64.layers as [Image["layers"][0]];
  let failed = 0;
  upstream.fault(({ reference }) =>
    reference === layer.digest && failed++ < 3 ? { status: 503 } : undefined,
  );
  const job = await runJob(mirror, { images: [`${repository}:1`] });
  t.match(job, { state: "done", sums: { retries: 3 } });
  upstream.fault(({ reference }) => (reference === "2" ? { status: 503 } : undefined));
  upstream.forget();
  const given = await runJob(mirror, { images: [`${repository}:2`] });
  t.match(given, {
    state: "failed",
    sums: { retries: 7 },
    failures: [{ part: "2", reason: /server_error|circuit_open/ }],
  });
});

t.test("a tag that cannot be confirmed is a failure, and what is here of it stays", async (t) => {
  const time = retriesAtOnce();
  const { upstream, mirror } = await start(t, { pause: time.pause });
  upstream.addImage(repository, "1", amd64);
  await runJob(mirror, { images: [`${repository}:1`] });
  await upstream.stop();
  const job = await runJob(mirror, { images: [`${repository}:1`] });
  t.match(job, {
    state: "failed",
    failures: [{ part: "1", reason: /not confirmed, what is here is older/ }],
  });
  await pull(t, mirror, "1", amd64);
});

t.test("progress is told, and a job can be ended", async (t) => {
  const { upstream, mirror } = await start(t);
  upstream.addImage(repository, "1", amd64);
  const [layer] = amd64.layers as [Image["layers"][0]];
  const rest = gate();
  upstream.fault(({ reference }) =>
    reference === layer.digest ? { stallAfter: 100_000, releaseOn: rest.opened } : undefined,
  );
  const { id } = await beginJob(mirror, { images: [`${repository}:1`] });
  const running = await jobUntil(mirror, id, ({ images }) =>
    images.some(({ transfers }) => transfers.some(({ receivedBytes }) => receivedBytes === 100_000)),
  );
  t.equal(running.state, "running");
  const transfer = running.images[0]?.transfers.find(({ digest }) => digest === layer.digest);
  t.match(transfer, { receivedBytes: 100_000, sizeBytes: 200_000 });
  t.ok(running.sums.hereBytes >= 100_000 && running.sums.hereBytes < running.sums.sizeBytes);
  t.equal((await askJobs(mirror, "DELETE", `/${id}`)).status, 200);
  t.match(await jobUntil(mirror, id), { state: "cancelled", images: [{ state: "cancelled" }] });
  rest.open();
  t.equal((await askJobs(mirror, "GET", "/0123")).status, 404);
  t.equal((await askJobs(mirror, "DELETE", "/0123")).status, 404);
  t.match(JSON.parse((await askJobs(mirror, "GET")).text), { jobs: [{ id, state: "cancelled" }] });
});

t.test("a client does not wait behind a job", async (t) => {
  const { upstream, mirror } = await start(t, { upstream: { maxConnections: 2 } });
  upstream.addImage(repository, "1", amd64);
  upstream.addImage(repository, "2", arm64);
  const [big] = amd64.layers as [Image["layers"][0]];
  const rest = gate();
  let held = 0;
  upstream.fault(({ reference }) =>
    reference === big.digest && held++ === 0 ? { stallAfter: 100_000, releaseOn: rest.opened } : undefined,
  );
  const { id } = await beginJob(mirror, { images: [`${repository}:1`] });
  await upstream.until(() => upstream.count({ reference: big.digest }) === 1);
  const layer = arm64.layers[0] as Image["layers"][0];
  const answer = await mirror.get(`/v2/${repository}/blobs/${layer.digest}`);
  t.ok(answer.body.equals(layer.bytes));
  rest.open();
  t.equal((await jobUntil(mirror, id)).state, "done");
});

t.test("no more than the bandwidth", async (t) => {
  const time = new ManualPause();
  const clock = new ManualClock();
  const { upstream, mirror } = await start(t, { pause: time.pause, clock: clock.read });
  upstream.addImage(repository, "1", amd64);
  const { id } = await beginJob(mirror, { images: [`${repository}:1`], bytesPerSecond: 65_536 });
  // The first chunk has come, and no more before its time is over.
  await eventually("it waits", () =>
    time.asked.some((milliseconds) => milliseconds > 1_000 && milliseconds < 4_000),
  );
  const held = await jobOf(mirror, id);
  t.equal(held.state, "running");
  t.ok(held.sums.hereBytes < 200_000, `${held.sums.hereBytes} bytes`);
  let seconds = 0;
  const over = await jobUntil(mirror, id, ({ endedAt }) => {
    if (endedAt !== null) return true;
    seconds++;
    clock.advance(1_000);
    time.elapse();
    return false;
  });
  t.equal(over.state, "done");
  t.ok(seconds >= 2, `${seconds} s`);
  const little = await askJobs(mirror, "POST", "", { images: ["a:1"], bytesPerSecond: 1 });
  t.equal(little.status, 400);
});

t.test("what the cache cannot hold is no success", async (t) => {
  const { upstream, mirror } = await start(t, { cache: { maxSize: 120_000 } });
  upstream.addImage(repository, "1", amd64);
  upstream.addImage(repository, "2", arm64);
  const job = await runJob(mirror, { images: [`${repository}:1`, `${repository}:2`] });
  t.equal(job.state, "failed");
  t.match(job.failures[0]?.reason, /cache\.maxSize/);
});

t.test("each image is a line in the log and a point for InfluxDB, beside those of requests", async (t) => {
  const dir = join(t.testdir(), "influx");
  const { upstream, mirror } = await start(t, { influx: { dir, maxFileSize: 1e6, keep: 2 } });
  upstream.addImage(repository, "1", amd64);
  const job = await runJob(mirror, { images: [`${repository}:1`, `${repository}:2`] });
  t.match(await mirror.line(({ msg }) => msg === "fetched an image ahead"), {
    ...{ job: job.id, origin: "request", image: "team/app:1", upstream: "upstream", repository },
    bytes: job.sums.fetchedBytes,
  });
  await mirror.app.stop();
  const files = await readdir(dir);
  const texts = await Promise.all(files.map((file) => readFile(join(dir, file), "utf8")));
  const points = parseLines(texts.join(""))
    .filter(({ measurement }) => measurement === "sync_job")
    .sort((a, b) => String(a.fields.image).localeCompare(String(b.fields.image)));
  t.match(points, [
    {
      tags: { node: "mirror", origin: "request", project: "team", state: "done", upstream: "upstream" },
      fields: { job: job.id, image: "team/app:1", repo: repository, success: true, error: "" },
    },
    {
      tags: { state: "failed" },
      fields: { image: "team/app:2", success: false, error: /^2: upstream upstream does not/ },
    },
  ]);
});

t.test("a schedule fetches the tags that a pattern matches, at its times", async (t) => {
  const time = new ManualPause();
  const clock = new ManualClock();
  clock.now = new Date(2026, 0, 5, 4, 59, 30).getTime();
  const warm = [
    { images: [`${repository}:1.*`, "team/none:*"], at: "0 5 * * 1-5", platforms: [], bandwidth: undefined },
  ];
  const upstream = await startUpstream(t);
  for (const [tag, image] of [
    ["1.0", amd64],
    ["1.1", arm64],
    ["2.0", sbom],
  ] as const)
    upstream.addImage(repository, tag, image);
  const mirror = await startMirror(t, upstream, {
    ...{ clock: clock.read, pause: time.pause, warm },
  });
  t.ok(time.asked.includes(30_000), "until it is due");
  t.equal(upstream.count({ kind: "tags" }), 0);
  clock.advance(30_000);
  time.elapse();
  await mirror.line(({ msg, image }) => msg === "fetched an image ahead" && image === "team/app:1.1");
  const { jobs } = JSON.parse((await askJobs(mirror, "GET")).text) as { jobs: { id: string }[] };
  t.equal(jobs.length, 1);
  const job = await jobUntil(mirror, jobs[0]?.id ?? "");
  t.match(job, { origin: "schedule", state: "failed" });
  t.match(
    job.images.map(({ image, state }) => `${image} ${state}`),
    ["team/app:1.0 done", "team/app:1.1 done", "team/none:* failed"],
  );
  await upstream.stop();
  await pull(t, mirror, "1.1", arm64);
});

t.test("a schedule that is due again while it waits for its tags is one job", async (t) => {
  const time = new ManualPause();
  const clock = new ManualClock();
  clock.now = new Date(2026, 0, 5, 4, 59, 30).getTime();
  const warm = [{ images: [`${repository}:*`], at: "* * * * *", platforms: [], bandwidth: undefined }];
  const upstream = await startUpstream(t);
  upstream.addImage(repository, "1.0", amd64);
  const rest = gate();
  upstream.fault(({ kind }) => (kind === "tags" ? { holdUntil: rest.opened } : undefined));
  const mirror = await startMirror(t, upstream, { clock: clock.read, pause: time.pause, warm });
  clock.advance(30_000);
  time.elapse();
  await upstream.until(() => upstream.count({ kind: "tags" }) === 1);
  clock.advance(60_000);
  time.elapse();
  await mirror.line(({ msg }) => String(msg).includes("this one is left out"));
  rest.open();
  await mirror.line(({ msg, image }) => msg === "fetched an image ahead" && image === "team/app:1.0");
  const { jobs } = JSON.parse((await askJobs(mirror, "GET")).text) as { jobs: { id: string }[] };
  t.equal(jobs.length, 1);
});

t.test("images of a schedule beyond those of one job are told of", async (t) => {
  const time = new ManualPause();
  const clock = new ManualClock();
  clock.now = new Date(2026, 0, 5, 4, 59, 30).getTime();
  const images = Array.from({ length: 1_003 }, (_, at) => `other.example.com/team/app:${at}`);
  const warm = [{ images, at: "0 5 * * 1-5", platforms: [], bandwidth: undefined }];
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { clock: clock.read, pause: time.pause, warm });
  clock.advance(30_000);
  time.elapse();
  const told = await mirror.line(({ leftOut }) => leftOut !== undefined);
  t.match(told, { level: "warn", at: "0 5 * * 1-5", leftOut: 3 });
  const job = await jobUntil(mirror, told.job as string);
  t.match(job, { state: "failed", sums: { images: 1_000, imagesLeftOut: 3 } });
});

t.test("an upstream that only its callers' credentials open is not asked", async (t) => {
  const upstream = await startUpstream(t);
  const own = { ...plainUpstream("upstream", upstream.url), access: "passthrough" as const };
  const mirror = await startMirror(t, upstream, { upstream: own, access: undefined });
  const job = await runJob(mirror, { images: ["team/app:1"] });
  t.match(job, { state: "failed", failures: [{ reason: /credentials alone/ }] });
  t.equal(upstream.count({ kind: "manifest" }), 0);
});

t.test("what asks for a change obeys the rules of the ops listener", async (t) => {
  const { upstream, mirror } = await start(t);
  upstream.addImage(repository, "1", amd64);
  const post = (headers: Record<string, string>) =>
    fetch(new URL("/api/v1/jobs", mirror.ops), {
      ...{ method: "POST", headers, body: JSON.stringify({ images: ["team/app:1"] }) },
    });
  t.equal((await post({ "content-type": "text/plain" })).status, 403);
  const foreign = { "content-type": "application/json", origin: "http://elsewhere.example.com" };
  t.equal((await post(foreign)).status, 403);
  t.equal((await post({ "content-type": "application/json" })).status, 201);
  t.match(await mirror.line(({ event, status }) => event === "audit" && status === 201), {
    ...{ who: "local", method: "POST", path: "/api/v1/jobs", about: ["team/app:1"] },
  });
  t.equal((await askJobs(mirror, "POST", "", { images: ["UPPER:1"] })).status, 400);
  t.equal((await askJobs(mirror, "PUT", "")).status, 405);
  t.equal((await askJobs(mirror, "POST", "", { images: [] })).status, 400);
});
