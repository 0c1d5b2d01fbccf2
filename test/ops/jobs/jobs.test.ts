import t from "tap";
import {
  type ImageRun,
  type ImageState,
  Jobs,
  maxImages,
  type WantedImage,
} from "../../../src/ops/jobs/jobs.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { eventually, ManualClock, quiet } from "../../fixtures/manual-time.ts";

const settings = { origin: "request", platforms: [], bytesPerSecond: undefined } as const;

function made() {
  const notices: Notice[] = [];
  const clock = new ManualClock();
  return { notices, clock, jobs: new Jobs({ notices: (notice) => notices.push(notice), clock: clock.read }) };
}

/** An image that is fetched when it is told to be. */
function scripted(image: string, failed = 0) {
  const { promise, resolve } = Promise.withResolvers<void>();
  let begun = false;
  let reports = 0;
  let state: ImageState = {
    ...{ upstream: "hub", repository: "a/b", digest: "sha256:1", parts: 2, partsHere: 2, sizeBytes: 7 },
    ...{ hereBytes: 7, fetchedBytes: 5, retries: 1, transfers: [], failures: [], failed: 0 },
  };
  const fail = (count: number): void => {
    if (count > 0)
      state = { ...state, failed: count, failures: [{ part: "sha256:2", reason: "by the test" }] };
  };
  const rechecks = { failing: 0 };
  const run: ImageRun = {
    report: () => {
      reports++;
      return state;
    },
    recheck: () => fail(rechecks.failing),
    async run(signal) {
      begun = true;
      signal.addEventListener("abort", () => resolve());
      await promise;
      fail(failed);
    },
  };
  const wanted: WantedImage = { image, begin: () => run };
  return { wanted, end: resolve, begun: () => begun, reports: () => reports, rechecks };
}

t.test("a job is done when all of its images are, and each is told of", async (t) => {
  const { jobs, notices, clock } = made();
  const [first, second] = [scripted("a/b:1"), scripted("a/b:2", 1)];
  const id = jobs.add([first.wanted, second.wanted], settings) ?? "";
  t.match(jobs.get(id), { state: "running", images: [{ state: "running" }, { state: "running" }] });
  clock.advance(250);
  first.end();
  second.end();
  await eventually("it is over", () => jobs.get(id)?.endedAt !== null);
  t.match(jobs.get(id), {
    state: "failed",
    sums: {
      images: 2,
      imagesDone: 1,
      imagesFailed: 1,
      parts: 4,
      sizeBytes: 14,
      fetchedBytes: 10,
      retries: 2,
    },
    failures: [{ image: "a/b:2", part: "sha256:2", reason: "by the test" }],
  });
  t.match(notices, [
    {
      kind: "sync_job",
      job: id,
      image: "a/b:1",
      result: "done",
      bytes: 5,
      durationMs: 250,
      reason: undefined,
    },
    { result: "failed", reason: "sha256:2: by the test", from: { upstream: "hub", repository: "a/b" } },
    { kind: "job", job: id, result: "failed", images: 2, imagesFailed: 1, imagesLeftOut: 0 },
  ]);
  t.equal(notices.length, 3);
});

t.test("what has gone again by the end of the job is a failure", async (t) => {
  const { jobs } = made();
  const image = scripted("a/b:1");
  image.rechecks.failing = 1;
  image.end();
  const id = jobs.add([image.wanted], settings) ?? "";
  await eventually("it is over", () => jobs.get(id)?.endedAt !== null);
  t.match(jobs.get(id), { state: "failed", images: [{ state: "failed" }] });
});

t.test("two jobs of an origin run at once, and none waits for those of another", async (t) => {
  const { jobs } = made();
  const all = [1, 2, 3].map((each) => scripted(`a/b:${each}`));
  const ids = all.map(({ wanted }) => jobs.add([wanted], settings) ?? "");
  t.same(
    ids.map((id) => jobs.get(id)?.state),
    ["running", "running", "queued"],
  );
  const hook = scripted("a/b:hook");
  jobs.add([hook.wanted], { ...settings, origin: "webhook" });
  t.ok(hook.begun());
  all[0]?.end();
  await eventually("the third begins", () => all[2]?.begun() === true);
  jobs.stop();
});

t.test("a job that waits, and one that runs, can be ended", async (t) => {
  const { jobs, notices } = made();
  const all = [1, 2, 3].map((each) => scripted(`a/b:${each}`));
  const ids = all.map(({ wanted }) => jobs.add([wanted], settings) ?? "") as [string, string, string];
  t.ok(jobs.cancel(ids[2]));
  t.match(jobs.get(ids[2]), { state: "cancelled", startedAt: null, images: [{ state: "cancelled" }] });
  t.ok(jobs.cancel(ids[0]));
  await eventually("it is over", () => jobs.get(ids[0])?.endedAt !== null);
  t.match(jobs.get(ids[0]), { state: "cancelled" });
  t.match(notices, [
    { kind: "job", job: ids[2], result: "cancelled" },
    { kind: "sync_job", result: "cancelled", image: "a/b:1" },
    { kind: "job", job: ids[0], result: "cancelled" },
  ]);
  t.notOk(jobs.cancel("0123"));
  jobs.stop();
  t.equal(jobs.add([scripted("a/b:4").wanted], settings), undefined);
  await quiet();
  t.notOk(all[2]?.begun());
});

t.test("a push of a hundred tags drops no job of an operator", async (t) => {
  const { jobs } = made();
  const ended = scripted("a/b:1");
  ended.end();
  const own = jobs.add([ended.wanted], settings) ?? "";
  await eventually("it is over", () => jobs.get(own)?.endedAt !== null);
  for (let each = 0; each < 102; each++)
    t.type(jobs.add([ended.wanted], { ...settings, origin: "webhook" }), "string");
  await eventually("all are over", () => jobs.list().every(({ endedAt }) => endedAt !== null));
  t.match(jobs.get(own), { state: "done" });
  t.equal(jobs.list().filter(({ origin }) => origin === "webhook").length, 100);
});

t.test("images beyond those of one job are counted, and are no success", async (t) => {
  const { jobs } = made();
  const ended = scripted("a/b:1");
  ended.end();
  const many = Array.from({ length: maxImages + 7 }, () => ended.wanted);
  const id = jobs.add(many, settings) ?? "";
  await eventually("it is over", () => jobs.get(id)?.endedAt !== null);
  t.match(jobs.get(id), {
    state: "failed",
    sums: { images: maxImages, imagesDone: maxImages, imagesFailed: 0, imagesLeftOut: 7 },
  });
});

t.test("an image that is over is not summed up again while its job goes on", async (t) => {
  const { jobs } = made();
  const [first, second] = [scripted("a/b:1"), scripted("a/b:2")];
  const id = jobs.add([first.wanted, second.wanted], settings) ?? "";
  first.end();
  await eventually("the first is over", () => jobs.get(id)?.images[0]?.state === "done");
  const before = first.reports();
  t.match(jobs.get(id), { state: "running", sums: { partsHere: 4 } });
  t.equal(jobs.list().length, 1);
  t.equal(first.reports(), before);
  first.rechecks.failing = 1;
  second.end();
  await eventually("it is over", () => jobs.get(id)?.endedAt !== null);
  t.match(jobs.get(id), { state: "failed", images: [{ state: "failed", failed: 1 }, { state: "done" }] });
});

t.test("bounds: images of a job, jobs that wait, jobs that are remembered", async (t) => {
  const { jobs } = made();
  const [first, second] = [scripted("a/b:1"), scripted("a/b:2")];
  for (const { wanted } of [first, second]) jobs.add([wanted], settings);
  const ended = { image: "a/b", begin: () => first.wanted.begin({ ...settings, id: "" }) };
  for (let each = 0; each < 100; each++) t.type(jobs.add([ended], settings), "string");
  t.equal(jobs.add([ended], settings), undefined, "100 wait");
  first.end();
  second.end();
  await eventually("all are over", () => jobs.list().every(({ endedAt }) => endedAt !== null));
  t.equal(jobs.list().length, 100);
  const many = Array.from({ length: maxImages + 1 }, () => ended);
  const id = jobs.add(many, settings) ?? "";
  t.equal(jobs.get(id)?.images.length, maxImages);
  jobs.stop();
});
