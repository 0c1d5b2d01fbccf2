import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import t, { type Test } from "tap";
import type { JobImage, JobReport } from "../../src/ops/jobs/job-report.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { eventually, ManualPause } from "../fixtures/manual-time.ts";

const image: JobImage = {
  ...{ image: "team/app:1", state: "done", upstream: "hub", repository: "team/app", digest: "sha256:1" },
  ...{ parts: 4, partsHere: 4, sizeBytes: 2_000_000, hereBytes: 2_000_000, fetchedBytes: 1_000_000 },
  ...{ durationMs: 1500, retries: 0, transfers: [], failures: [], failed: 0 },
};
const wrong: JobImage = {
  ...image,
  ...{ image: "team/app:2", state: "failed", partsHere: 3, failed: 7, retries: 2 },
  failures: [{ part: "sha256:2", reason: "upstream hub does not have it" }],
};

function job(state: JobReport["state"], images: readonly JobImage[]): JobReport {
  const isOver = state !== "running";
  return {
    ...{
      id: "0a1b",
      origin: "request",
      state,
      createdAt: 1000,
      startedAt: 1000,
      endedAt: isOver ? 3000 : null,
    },
    ...{ platforms: [], bytesPerSecond: null, failures: [], images },
    sums: {
      ...{ images: images.length, imagesDone: 1, imagesFailed: images.length - 1, parts: 4, partsHere: 4 },
      ...{ sizeBytes: 2_000_000, hereBytes: 2_000_000, fetchedBytes: 1_000_000, retries: 0 },
      ...{ imagesLeftOut: 0 },
    },
  };
}

const lost = { status: 404, body: { error: { code: "not_found", message: "there is no such job" } } };
const notServing = {
  status: 503,
  body: { error: { code: "unavailable", message: "the node is not serving; ask again later" } },
};

type Answer = { readonly status: number; readonly body: unknown } | "cut";

/** Something that answers like a mirror's ops listener: what the answers say, in their order. */
async function start(t: Test, answers: readonly Answer[]) {
  const asked: string[] = [];
  const bodies: unknown[] = [];
  let at = 0;
  const waiting = new Set<() => void>();
  const server = createServer(async (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    if (request.method === "POST") bodies.push(await json(request));
    const answer = answers[Math.min(at++, answers.length - 1)] as Answer;
    if (answer === "cut") response.destroy();
    else response.writeHead(answer.status).end(JSON.stringify(answer.body));
    for (const look of waiting) look();
  });
  server.listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const until = (count: number) =>
    new Promise<void>((resolve) => {
      const look = (): void => {
        if (asked.length >= count) resolve();
      };
      waiting.add(look);
      look();
    });
  return { asked, bodies, until, ops: ["--ops", `127.0.0.1:${(server.address() as AddressInfo).port}`] };
}

t.test("what is asked for, and a line for each image", async (t) => {
  const mirror = await start(t, [
    { status: 201, body: job("running", [{ ...image, state: "running" }, wrong]) },
    { status: 200, body: job("failed", [image, wrong]) },
  ]);
  const files = {
    "/list": "team/web:1\nteam/app:1\n",
    "/k8s.yaml": "spec: { containers: [{ image: busybox }] }",
  };
  const line = commandLine(
    [
      ...["warm", "team/app:1", ...mirror.ops, "--from", "/list", "--from-manifests", "/k8s.yaml"],
      ...["--platform", "linux/amd64", "--platform", "linux/arm64", "--bandwidth", "50MB/s"],
    ],
    { files },
  );
  t.equal(await line.exit, 1);
  t.same(mirror.bodies, [
    {
      images: ["team/app:1", "team/web:1", "docker.io/library/busybox"],
      platforms: ["linux/amd64", "linux/arm64"],
      bytesPerSecond: 50_000_000,
    },
  ]);
  t.same(mirror.asked, ["POST /api/v1/jobs", "GET /api/v1/jobs/0a1b"]);
  t.equal(
    line.out(),
    [
      "failed  team/app:2  3 of 4 parts, 2.00 MB, 1.00 MB fetched, 1.5 s, 2 repeats",
      "        sha256:2: upstream hub does not have it",
      "        and 6 more",
      "here    team/app:1  4 parts, 2.00 MB, 1.00 MB fetched, 1.5 s",
      "job 0a1b failed: 1 of 2 images here, 2.00 MB, 1.00 MB fetched, 2.0 s",
      "",
    ].join("\n"),
  );
  t.equal(line.err(), "");
  t.equal(line.listeners(), 0);
});

t.test("what clients have pulled from another node is asked for by its name", async (t) => {
  const { bodies, ops } = await start(t, [{ status: 201, body: job("done", [image]) }]);
  t.equal(await commandLine(["warm", "--from-node", "b", ...ops]).exit, 0);
  const more = ["--days", "30", "--platform", "linux/amd64"];
  t.equal(await commandLine(["warm", "--from-node", "b", ...more, ...ops]).exit, 0);
  t.same(bodies, [
    { fromNode: "b", platforms: [] },
    { fromNode: "b", days: 30, platforms: ["linux/amd64"] },
  ]);
  for (const [args, said] of [
    [["team/app:1", "--from-node", "b"], /--from-node: it is a job of its own/],
    [["team/app:1", "--days", "3"], /--days: only with --from-node/],
    [["--from-node", "b", "--days", "400"], /whole number from 1 to 365/],
  ] as const) {
    const line = commandLine(["warm", ...args, ...ops]);
    t.equal(await line.exit, 2, args.join(" "));
    t.match(line.err(), said);
  }
  t.equal(bodies.length, 2);
});

t.test("lines of JSON for programs; 0 when all is here", async (t) => {
  const { ops } = await start(t, [{ status: 201, body: job("done", [image]) }]);
  const line = commandLine(["warm", "team/app:1", "--json", ...ops]);
  t.equal(await line.exit, 0);
  const [first, last] = line
    .out()
    .trim()
    .split("\n")
    .map((each) => JSON.parse(each) as object);
  t.match(first, { image: "team/app:1", state: "done" });
  t.match(last, { id: "0a1b", state: "done", images: undefined });
});

t.test("a mirror that is started again is asked for the job again", async (t) => {
  const { asked, ops } = await start(t, [
    { status: 201, body: job("running", [{ ...image, state: "running" }]) },
    "cut",
    lost,
    { status: 201, body: job("done", [image]) },
  ]);
  const line = commandLine(["warm", "team/app:1", ...ops]);
  t.equal(await line.exit, 0);
  t.same(asked, ["POST /api/v1/jobs", "GET /api/v1/jobs/0a1b", "GET /api/v1/jobs/0a1b", "POST /api/v1/jobs"]);
  t.match(line.err(), /started again/);
});

/** Pauses that are over at once. */
function noPause(): ManualPause {
  const time = new ManualPause();
  time.instant = () => true;
  return time;
}

t.test("a mirror that does not serve yet, or breaks off, is asked again for the job", async (t) => {
  const { asked, ops } = await start(t, [
    { status: 201, body: job("running", [{ ...image, state: "running" }]) },
    lost,
    notServing,
    "cut",
    { status: 201, body: job("running", [{ ...image, state: "running" }]) },
    notServing,
    { status: 200, body: job("done", [image]) },
  ]);
  const { pause } = noPause();
  const line = commandLine(["warm", "team/app:1", ...ops], { pause });
  t.equal(await line.exit, 0, line.err());
  const [post, get] = ["POST /api/v1/jobs", "GET /api/v1/jobs/0a1b"];
  t.same(asked, [post, get, post, post, post, get, get]);
});

t.test("it is asked 120 times in a row, a second between two, and no more", async (t) => {
  const { asked, ops } = await start(t, [
    { status: 201, body: job("running", [{ ...image, state: "running" }]) },
    lost,
    notServing,
  ]);
  const time = noPause();
  const line = commandLine(["warm", "team/app:1", ...ops], { pause: time.pause });
  t.equal(await line.exit, 2);
  t.match(line.err(), /the node is not serving; ask again later/);
  t.equal(asked.length, 2 + 120);
  t.equal(time.asked.filter((milliseconds) => milliseconds === 1_000).length, 119);
});

t.test("Ctrl-C while the mirror has not begun the job again ends nothing", async (t) => {
  const { asked, ops } = await start(t, [
    { status: 201, body: job("running", [{ ...image, state: "running" }]) },
    lost,
    notServing,
  ]);
  const time = new ManualPause();
  time.instant = (milliseconds) => milliseconds === 500;
  const line = commandLine(["warm", "team/app:1", "--cancel-on-interrupt", ...ops], { pause: time.pause });
  await eventually("it waits after the refusal", () => time.waiting === 1);
  line.signal("SIGINT");
  t.equal(await line.exit, 1);
  t.match(line.err(), /has not begun again/);
  t.equal(asked.length, 3, "nothing is there to be ended");
});

t.test("Ctrl-C leaves the job to the mirror, or ends it", async (t) => {
  for (const [flags, method, said] of [
    [[], "GET", /goes on in the mirror/],
    [["--cancel-on-interrupt"], "DELETE", /is ended/],
  ] as const) {
    const running = { status: 200, body: job("running", [{ ...image, state: "running" }]) };
    const { asked, until, ops } = await start(t, [running]);
    const line = commandLine(["warm", "team/app:1", ...flags, ...ops]);
    await until(2);
    line.signal("SIGINT");
    t.equal(await line.exit, 1);
    t.match(line.err(), said);
    t.match(asked.at(-1), new RegExp(`^${method} `));
  }
});

t.test("2 for a wrong command line, for what the mirror refuses, and without a mirror", async (t) => {
  const { ops } = await start(t, [{ status: 400, body: { error: { message: "images.0: no reference" } } }]);
  const files = { "/bad.yaml": "a: [1" };
  for (const [argv, said] of [
    [["warm"], /name an image/],
    [["warm", "--from", "/none"], /--from: \/none cannot be read/],
    [["warm", "--from-manifests", "/bad.yaml"], /--from-manifests: \/bad\.yaml: /],
    [["warm", "a:1", "--bandwidth", "50"], /--bandwidth: found "50", expected a unit/],
    [["warm", "a:1", "--bandwidth", "1KB/s"], /expected at least 64KiB a second/],
    [["warm", "a b", ...ops], /^entrepot: images\.0: no reference/],
    [["warm", "a:1", "--config", "/none.yaml"], /none\.yaml/],
    [["warm", "a:1", "--ops", "127.0.0.1:1"], /^entrepot: no mirror answers at http:\/\/127\.0\.0\.1:1/],
  ] as const) {
    const line = commandLine([...argv], { files });
    t.equal(await line.exit, 2, argv.join(" "));
    t.match(line.err(), said);
  }
});
