import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import type { Readiness } from "../../src/ops/stats/stats-document.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { startJsonServer } from "../fixtures/json-server.ts";
import { gate } from "../fixtures/manual-time.ts";

const ready: Readiness = {
  schema: 1,
  at: 10_000,
  days: 7,
  nodes: 1,
  pulled: 3,
  ready: 3,
  truncated: false,
  silentNodes: [],
  unready: [],
};

async function start(t: Test, answer: Readiness) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.end(JSON.stringify(answer));
  }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  return { asked, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

t.test("all ready", async (t) => {
  const { asked, address } = await start(t, ready);
  const line = commandLine(["readiness", "--ops", address]);
  t.equal(await line.exit, 0);
  t.equal(line.out(), "3 of 3 images pulled in 7 days could be pulled now without upstream\n");
  t.equal(await commandLine(["readiness", "--days", "30", "--ops", address]).exit, 0);
  t.strictSame(asked, ["/api/v1/readiness?days=7", "/api/v1/readiness?days=30"]);
});

t.test("some are not: which, and what is missing", async (t) => {
  const found: Readiness = {
    ...ready,
    ready: 1,
    unready: [
      {
        digest: "sha256:d",
        names: ["hub/team/app:1.0", "hub/team/app:latest"],
        usedAt: 5_000,
        obstacles: [
          { kind: "missing", role: "layer", digest: "sha256:a", platform: "linux/amd64", sizeBytes: 20_000 },
          { kind: "tag_expired", role: "manifest", digest: "sha256:d", platform: null, sizeBytes: null },
        ],
      },
    ],
  };
  const { address } = await start(t, found);
  const line = commandLine(["readiness", "--ops", address]);
  t.equal(await line.exit, 1);
  t.strictSame(line.out().split("\n"), [
    "1 of 3 images pulled in 7 days could be pulled now without upstream",
    "hub/team/app:1.0 (also hub/team/app:latest), used 5.0 s ago",
    "  missing: layer sha256:a, linux/amd64, 20.0 kB",
    "  tag expired: manifest sha256:d",
    "and 1 more image",
    "",
  ]);
  const json = commandLine(["readiness", "--json", "--ops", address]);
  t.equal(await json.exit, 1);
  t.strictSame(JSON.parse(json.out()), found);
  const { address: cut } = await start(t, { ...ready, truncated: true });
  t.equal(await commandLine(["readiness", "--ops", cut]).exit, 1, "of those not looked at nothing is known");
});

t.test("no mirror, and wrong questions", async (t) => {
  const nobody = commandLine(["readiness", "--ops", "127.0.0.1:1"]);
  t.equal(await nobody.exit, 2);
  t.match(nobody.err(), /^entrepot: no mirror answers at http:\/\/127\.0\.0\.1:1 \(/);
  for (const days of ["0", "x", "366", "0.5", ""]) {
    const wrong = commandLine(["readiness", "--days", days, "--ops", "127.0.0.1:1"]);
    t.equal(await wrong.exit, 2);
    t.match(wrong.err(), /Expected a whole number from 1 to 365/);
  }
});

const missing = (name: string, platform: string): Readiness["unready"][number] => ({
  digest: `sha256:${name}`,
  names: [`hub/team/${name}:1.0`],
  usedAt: 5_000,
  obstacles: [{ kind: "missing", role: "layer", digest: "sha256:a", platform, sizeBytes: 20_000 }],
});

t.test("interrupted, --fix begins no other job and looks no more; the job goes on", async (t) => {
  const found = {
    ...ready,
    ready: 1,
    unready: [missing("app", "linux/amd64"), missing("web", "linux/arm64")],
  };
  const follows = gate();
  const sums = { images: 1, imagesDone: 0, imagesFailed: 0, imagesLeftOut: 0, retries: 0 };
  const job = {
    ...{ id: "0a1b", origin: "request", state: "running", createdAt: 1, startedAt: 1, endedAt: null },
    ...{ platforms: [], bytesPerSecond: null, failures: [], images: [] },
    sums: { ...sums, parts: 1, partsHere: 0, sizeBytes: 1, hereBytes: 0, fetchedBytes: 0 },
  };
  const { asked, url } = await startJsonServer(t, ({ method, path }) => {
    if (path.startsWith("/api/v1/readiness")) return { json: found };
    if (method === "GET") follows.open();
    return { status: method === "GET" ? 200 : 201, json: job };
  });
  const line = commandLine(["readiness", "--fix", "--ops", url.host]);
  await follows.opened;
  line.signal("SIGINT");
  t.equal(await line.exit, 1);
  t.equal(line.err(), "entrepot: job 0a1b goes on in the mirror\n");
  t.same(
    asked
      .map(({ method, path }) => `${method} ${path}`)
      .filter((each) => !each.startsWith("GET /api/v1/jobs")),
    ["GET /api/v1/readiness?days=7", "POST /api/v1/jobs"],
  );
  t.equal(line.listeners(), 0);
});

t.test("interrupted while it looks, it ends", async (t) => {
  const looks = gate();
  const server = createServer(() => looks.open()).listen(0, "127.0.0.1");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const line = commandLine(["readiness", "--ops", address]);
  await looks.opened;
  line.signal("SIGINT");
  t.equal(await line.exit, 1);
  t.equal(line.err(), "", "of a mirror that does not answer nothing is known");
  t.equal(line.listeners(), 0);
});
