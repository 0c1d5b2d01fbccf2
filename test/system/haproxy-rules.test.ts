// What haproxy/haproxy.cfg decides, on scripted nodes: which node a request is for, what is tried again elsewhere and
// what is not: a read that one node cannot answer is another's, an upstream's fault is nobody's, and a write that may
// have arrived is never sent twice.
import type { RequestListener } from "node:http";
import t from "tap";
import { BalancedClient } from "./fixtures/balanced-client.ts";
import { digestOf } from "./fixtures/content.ts";
import { freePort } from "./fixtures/free-port.ts";
import { haproxyPrograms, startHaproxy } from "./fixtures/haproxy.ts";
import { requires } from "./fixtures/requires.ts";
import { startScriptedNode } from "./fixtures/scripted-node.ts";

t.setTimeout(60_000);

const reads = Array.from({ length: 30 }, (_, at) => `/v2/team/app/blobs/${digestOf(Buffer.from([at]))}`);
const writes = Array.from({ length: 30 }, (_, at) => `/v2/team/app${at}/blobs/uploads/`);

const status = (code: number): RequestListener => {
  return (_request, response) => response.writeHead(code).end();
};
const hangUp: RequestListener = ({ socket }) => socket.destroy();

t.test("two nodes behind HAProxy", async (t) => {
  if (!requires(t, ...haproxyPrograms)) return;
  const port = await freePort();
  const sick = await startScriptedNode(t, "127.0.0.2", port);
  const well = await startScriptedNode(t, "127.0.0.3", port);
  const haproxy = await startHaproxy(t, [sick.address, well.address]);
  const client = new BalancedClient(t, haproxy, "http/1.1");

  const before = await haproxy.servers();

  /** How often each status came, 0 for no answer, and what the nodes saw of it. */
  const sendAll = async (method: "GET" | "HEAD" | "POST", paths: readonly string[]) => {
    sick.requests.length = 0;
    well.requests.length = 0;
    const statuses: Record<number, number> = {};
    for (const path of paths) {
      const { status } = await client.send(method, path).catch(() => ({ status: 0 }));
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
    return { statuses, sick: sick.requests.length, well: well.requests.length };
  };

  const { sick: share, well: other } = await sendAll("GET", reads);
  t.ok(share > 5 && other > 5 && share + other === reads.length, `shares ${share} and ${other}`);

  await t.test("one node for a digest, and one for everything else of a repository", async (t) => {
    const digest = digestOf(Buffer.from("shared"));
    const blobs = ["/v2/a", "/v2/a/b/c", "/v2/blobs/x", "/hub/v2/a", "/eu/hub/v2/a"];
    const seen = await sendAll(
      "GET",
      blobs.map((path) => `${path}/blobs/${digest}`),
    );
    t.equal(Math.max(seen.sick, seen.well), blobs.length, "whichever repository and path");
    const shares = { sick: 0, well: 0 };
    const others = [
      "manifests/1",
      `manifests/${digest}`,
      "tags/list",
      `referrers/${digest}`,
      "blobs/uploads/",
    ];
    for (let i = 0; i < 20; i += 1) {
      const within = [...others, "blobs/uploads/a-b_c=="].map((path) => `/v2/team/app${i}/${path}`);
      const paths = [...within, ...within.map((path) => `/hub${path}`)];
      const { sick, well } = await sendAll("GET", paths);
      t.equal(Math.max(sick, well), paths.length);
      shares[sick > 0 ? "sick" : "well"] += 1;
    }
    t.ok(shares.sick > 3 && shares.well > 3, "and repositories are spread");
  });

  for (const [name, answer] of [
    ["503", status(503)],
    ["hangs up", hangUp],
  ] as const) {
    await t.test(`a node ${name}: reads are answered by the other`, async (t) => {
      sick.answer = answer;
      for (const method of ["GET", "HEAD"] as const) {
        const seen = await sendAll(method, reads);
        t.same(seen.statuses, { 200: reads.length }, method);
        t.equal(seen.well, reads.length, "the other has answered all");
        t.ok(seen.sick >= share, "after this one was asked for its share");
      }
    });
    await t.test(`a node ${name}: no write is sent twice`, async (t) => {
      const { statuses, sick, well } = await sendAll("POST", writes);
      t.ok(sick > 5, "some came to it");
      t.equal(sick + well, writes.length, "each to one node, once");
      t.equal(statuses[200], well, "and those that came to it have failed");
    });
  }

  for (const code of [502, 504]) {
    await t.test(`${code} is the upstream's: it is passed on and not tried again`, async (t) => {
      sick.answer = status(code);
      const { statuses, sick: asked, well: others } = await sendAll("GET", reads);
      t.same(statuses, { 200: other, [code]: share });
      t.same({ asked, others }, { asked: share, others: other });
    });
  }
  t.same(await haproxy.servers(), before, "none of this took a node out");

  await t.test("clients cannot say for whom they ask", async (t) => {
    const forged = { "x-forwarded-for": "10.1.2.3", forwarded: "for=10.1.2.3", "x-real-ip": "10.1.2.3" };
    well.requests.length = 0;
    for (const path of reads) await client.get(path, forged);
    const [request] = well.requests;
    t.match(request?.headers, { "x-forwarded-for": /^127\.0\.0\.1$/, "x-forwarded-proto": "https" });
    t.notOk(request?.rawHeaders.includes("10.1.2.3") || request?.rawHeaders.includes("for=10.1.2.3"));
  });

  await t.test("a node that drains gets nothing new, and finishes what it is sending", async (t) => {
    const begun = Promise.withResolvers<() => void>();
    sick.answer = (_request, response) => {
      response.writeHead(200, { "content-length": 4 }).write("la");
      begun.resolve(() => response.end("st"));
    };
    const slow = new BalancedClient(t, haproxy, "h2");
    const transfer = (async () => {
      for (const path of reads) {
        const { digest } = await slow.get(path);
        if (digest === digestOf(Buffer.from("last"))) return true;
      }
      return false;
    })();
    const finish = await begun.promise;
    const begin = performance.now();
    sick.readiness = 404;
    await haproxy.settles("node1", "NOLB");
    t.comment(`out after ${Math.round(performance.now() - begin)} ms`);
    t.ok(performance.now() - begin < 5_000, "well within the drainDelay of 7 s");
    const { statuses, sick: asked } = await sendAll("GET", reads);
    t.same({ statuses, asked }, { statuses: { 200: reads.length }, asked: 0 });
    finish();
    t.ok(await transfer, "the body under way has come to its end");
    sick.readiness = 200;
    await haproxy.settles("node1", "UP");
  });

  await t.test(
    "a node that hangs without a word costs its clients 15 s at most, waiting or reading",
    async (t) => {
      const begun = Promise.withResolvers<void>();
      sick.answer = (_request, response) => {
        if (sick.requests.length === 1) response.writeHead(200, { "content-length": 4 }).write("la");
        begun.resolve();
      };
      sick.requests.length = 0;
      const begin = performance.now();
      const ends = reads.map(async (path) => {
        const own = new BalancedClient(t, haproxy, "http/1.1");
        const status = await own.get(path).then(
          ({ status }) => status,
          () => 0,
        );
        return { status, after: performance.now() - begin };
      });
      await begun.promise;
      sick.readiness = "silent";
      await haproxy.settles("node1", "DOWN");
      const all = await Promise.all(ends);
      const well = all.filter(({ status }) => status === 200);
      t.ok(well.length >= other, "the other's share; of this one's, what could be tried again");
      t.ok(
        all.every(({ after }) => after < 15_000),
        `the last after ${Math.round(Math.max(...all.map(({ after }) => after)))} ms`,
      );
      t.same(
        (await sendAll("GET", reads)).statuses,
        { 200: reads.length },
        "and nobody is sent there any more",
      );
      sick.readiness = 200;
      await haproxy.settles("node1", "UP");
    },
  );

  await t.test("nobody listens: reads and writes go to the other, for they arrived nowhere", async (t) => {
    await sick.refuse();
    t.same((await sendAll("GET", reads)).statuses, { 200: reads.length });
    t.same((await sendAll("POST", writes)).statuses, { 200: writes.length });
  });

  await t.test("no node at all: 503, and the balancer says so of itself", async (t) => {
    well.readiness = 503;
    await haproxy.settles("node1", "DOWN");
    await haproxy.settles("node2", "DOWN");
    t.equal((await client.get("/readyz")).status, 503);
    t.equal((await client.get("/v2/")).status, 503);
  });
});
