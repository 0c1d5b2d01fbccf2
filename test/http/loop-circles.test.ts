// Mirrors that fetch from each other, in this process: a circle ends where it closes.
import { join } from "node:path";
import t, { type Test } from "tap";
import { plainUpstream } from "../../src/config/config.ts";
import { startFaultProxy } from "../fixtures/fault-proxy.ts";
import { makeImage } from "../fixtures/images.ts";
import { eventually, gate, quiet } from "../fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../fixtures/mirror.ts";
import { mirrorOf } from "../fixtures/mirror-chain.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [300_000] });
const [layer] = image.layers as [(typeof image.layers)[0]];
const cold = `sha256:${"0".repeat(64)}`;

/** Requests of the registry API the mirror has answered. */
function asked(mirror: Mirror): number {
  return mirror.lines.filter(({ path }) => String(path).startsWith("/v2/")).length;
}

/** Resolves when the mirror has taken so many requests that it has not answered. */
async function underWay(mirror: Mirror, count: number): Promise<void> {
  const gauge = new RegExp(`^entrepot_http_in_flight_requests ${count}$`, "m");
  while (!gauge.test(await (await fetch(new URL("/metrics", mirror.ops))).text()));
}

/** Mirrors of which each fetches from the next, and the last from the first. */
async function startCircle(t: Test, count: number, options: MirrorOptions = {}): Promise<readonly Mirror[]> {
  // First of all: what is torn down then goes before the directory.
  const closing = await startFaultProxy(t, new URL("http://127.0.0.1"));
  const base = t.testdir();
  const mirrors: Mirror[] = [];
  for (let at = count; at > 0; at--) {
    const url = mirrors[0]?.url ?? closing.url;
    mirrors.unshift(await mirrorOf(t, url, join(base, String(at)), options));
  }
  closing.target = mirrors[0]?.url as URL;
  return mirrors;
}

const questions = [
  ["GET", "manifests/1"],
  ["HEAD", "manifests/2"],
  ["GET", `manifests/${image.digest}`],
  ["GET", `blobs/${layer.digest}`],
  ["HEAD", `blobs/${cold}`],
  ["GET", "tags/list"],
  ["GET", `referrers/${image.digest}`],
] as const;

for (const count of [1, 2, 3])
  t.test(`a circle of ${count}: 508 at once, however it is asked`, async (t) => {
    const mirrors = await startCircle(t, count);
    const [first] = mirrors as readonly [Mirror, ...Mirror[]];
    for (const [round, [method, path]] of questions.entries()) {
      const answer = await first.ask(method, `/v2/team/app/${path}`);
      t.equal(answer.status, 508, `${method} ${path}`);
      t.notOk(answer.headers["cache-status"]);
      if (method === "GET")
        t.match(JSON.parse(answer.body.toString()), {
          errors: [{ code: "UNAVAILABLE", message: /from each other in a circle/ }],
        });
      await eventually("every answer is logged", () => mirrors.every((mirror) => asked(mirror) > 2 * round));
    }
    await eventually("its own requests, too", () => asked(first) >= 3 * questions.length);
    t.same(
      mirrors.map(asked),
      [3 * questions.length, ...Array(count - 1).fill(2 * questions.length)],
      "each question goes round twice at most",
    );
    const closed = first.lines.filter(({ detail }) => String(detail).startsWith("circle entrepot-"));
    t.equal(closed.length, 2 * questions.length);
    t.equal(String(closed[0]?.detail).split(" ").length, 1 + count, "the log names who is in it");
    const told = first.lines.filter(({ msg }) => String(msg).includes("mirrors form a circle"));
    t.match(told[0], { level: "error", upstream: "upstream" });
    for (const mirror of mirrors)
      t.equal(mirror.lines.filter(({ state }) => state === "open").length, 0, "the circuit stays closed");
  });

t.test("a write goes round once, too", async (t) => {
  const mirrors = await startCircle(t, 2, { upstream: { push: true } });
  const answer = await (mirrors[0] as Mirror).ask("POST", "/v2/team/app/blobs/uploads/");
  t.equal(answer.status, 508);
  t.match(answer.body.toString(), /in a circle: entrepot-\w+ -> entrepot-\w+ -> entrepot-/);
  t.same(mirrors.map(asked), [2, 1]);
});

t.test("who says to come through a circle breaks nobody else's pull", async (t) => {
  const far = await startUpstream(t, { anonymous: true });
  far.addImage("team/app", "1", image);
  const mirror = await startMirror(t, far);
  for (const path of ["manifests/1", `blobs/${layer.digest}`]) {
    const answering = gate();
    const remove = far.fault(({ headers }) =>
      String(headers.via).includes("liar") ? { holdUntil: answering.opened, status: 508 } : undefined,
    );
    far.forget();
    const lie = mirror.get(`/v2/team/app/${path}`, { via: "1.1 liar" });
    await far.until(() => far.count() === 1);
    const honest = mirror.get(`/v2/team/app/${path}`);
    await underWay(mirror, 2);
    await quiet(50);
    answering.open();
    t.equal((await lie).status, 508);
    t.equal((await honest).status, 200, path);
    t.equal(far.count(), 2);
    remove();
  }
});

t.test("more mirrors than a chain has: 508 without asking", async (t) => {
  const far = await startUpstream(t);
  const mirror = await startMirror(t, far);
  const via = Array.from({ length: 17 }, (_, at) => `1.1 node-${at}`).join(", ");
  const answer = await mirror.get("/v2/team/app/manifests/1", { via });
  t.equal(answer.status, 508);
  t.match(answer.body.toString(), /more than 16 mirrors/);
  t.equal(far.count(), 0);
});

t.test("two mirrors that fall back on each other: 404 only if both lack it", async (t) => {
  const registries = [await startUpstream(t), await startUpstream(t)] as const;
  registries[1].addImage("team/app", "1", image);
  const base = t.testdir();
  const closing = await startFaultProxy(t, new URL("http://127.0.0.1"));
  const start = (at: 0 | 1, other: URL): Promise<Mirror> => {
    const next = { upstream: "peer", on: ["absent", "failure"] } as const;
    return startMirror(t, registries[at], {
      cache: { dir: join(base, String(at)) },
      upstream: { next },
      more: [plainUpstream("peer", other)],
    });
  };
  const second = await start(1, closing.url);
  const first = await start(0, second.url);
  closing.target = first.url;
  for (const path of ["manifests/1", `blobs/${layer.digest}`])
    t.equal((await first.get(`/v2/team/app/${path}`)).status, 200, path);
  for (const path of ["manifests/none", `manifests/${cold}`, `blobs/${cold}`, "tags/list"])
    t.equal((await first.get(`/v2/none/${path}`)).status, 404, path);
  await registries[0].stop();
  t.equal(
    (await first.get("/v2/none/manifests/2")).status,
    404,
    "the peer has asked a registry that answers",
  );
  await registries[1].stop();
  t.equal((await first.get("/v2/none/manifests/3")).status, 502, "nobody is there");
});

t.test("mirrors that wait for each other are let go by their time-outs", async (t) => {
  const mirrors = await startCircle(t, 2, { upstream: { firstByteTimeout: 300 } });
  const path = `/v2/team/app/blobs/${layer.digest}`;
  const answers = await Promise.all(mirrors.map((mirror) => mirror.get(path)));
  for (const { status } of answers) t.ok(status === 508 || status === 504, String(status));
  for (const mirror of mirrors) t.ok(asked(mirror) <= 3, "without asking on");
});
