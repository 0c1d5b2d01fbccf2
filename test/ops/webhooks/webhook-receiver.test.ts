import { connect } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { referenceText } from "../../../src/oci/reference.ts";
import { Health } from "../../../src/ops/health.ts";
import { createOpsListener } from "../../../src/ops/listener.ts";
import type { WebhookChange, WebhookTarget } from "../../../src/ops/webhooks/webhook-receiver.ts";
import { WebhookReceiver } from "../../../src/ops/webhooks/webhook-receiver.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { createLogger } from "../../../src/telemetry/lines/json-log.ts";
import { rememberingOutput, sampleDigest } from "../../fixtures/telemetry-samples.ts";

const secret = "a-secret-of-the-hooks";
const byHeader = { authorization: `Bearer ${secret}` };

interface Options {
  readonly changed?: WebhookTarget["changed"];
  readonly ready?: boolean;
}

async function start(t: Test, { changed, ready = true }: Options = {}) {
  const changes: WebhookChange[] = [];
  const results: string[] = [];
  const target: WebhookTarget = {
    changed: async (change) => {
      changes.push(change);
      return (await changed?.(change)) ?? true;
    },
  };
  const fixed = fixedSecret(new Secret(secret));
  const other = fixedSecret(new Secret("the-secret-of-quay"));
  const webhooks = new WebhookReceiver({
    secrets: () => ({ generic: fixed, distribution: fixed, artifactory: fixed, quay: other }),
    upstreams: () => ["corp", "hub"],
    target: () => (ready ? target : undefined),
    notices: (notice) =>
      void (notice.kind === "webhook" && results.push(`${notice.source} ${notice.result}`)),
  });
  const output = rememberingOutput();
  const { logger } = createLogger("debug", output);
  const metrics = { render: async () => "", contentType: "text/plain" };
  const listener = createOpsListener({ health: new Health(), metrics, log: logger, webhooks });
  const { port } = await listener.listen({ host: "127.0.0.1", port: 0 });
  t.teardown(() => listener.close());
  return {
    port,
    changes,
    results,
    lines: output.lines,
    /** `team/app 1 confirm corp` for each change. */
    told: () =>
      changes.map(({ repository, reference, what, upstream }) =>
        [repository, referenceText(reference), what, upstream].join(" ").trim(),
      ),
    async post(path: string, body: unknown, headers: Record<string, string> = byHeader) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: "POST",
        headers,
        body: typeof body === "string" ? body : JSON.stringify(body),
      });
      return { status: answer.status, body: await answer.text() };
    },
  };
}

const push = { repository: "team/app", tag: "1", action: "push" };

t.test("the secret, in the ways senders have; without it nothing is read", async (t) => {
  const { post, told, results } = await start(t);
  const ways: [string, Record<string, string>][] = [
    ["/hooks/generic", byHeader],
    ["/hooks/generic", { authorization: secret }],
    ["/hooks/generic", { "x-jfrog-event-auth": secret }],
    [`/hooks/generic?secret=${secret}`, {}],
  ];
  for (const [path, headers] of ways) t.equal((await post(path, push, headers)).status, 202);
  t.equal(told().length, ways.length);
  const wrong: [string, Record<string, string>][] = [
    ["/hooks/generic", {}],
    ["/hooks/generic", { authorization: `Bearer ${secret}x` }],
    ["/hooks/generic", { authorization: "Bearer " }],
    ["/hooks/generic?secret=", {}],
    ["/hooks/quay", byHeader],
  ];
  for (const [path, headers] of wrong)
    t.match(await post(path, push, headers), { status: 401, body: "not the secret of this endpoint\n" });
  t.equal(told().length, ways.length);
  t.equal(results.filter((result) => result.endsWith(" refused")).length, wrong.length);
});

t.test("a source without a secret is not there, nor is any other path; only POST", async (t) => {
  const { post, port, results } = await start(t);
  for (const path of ["/hooks/harbor", "/hooks/", "/hooks/none", "/hooks/generic/", "/hook"])
    t.equal((await post(path, push)).status, 404, path);
  const get = await fetch(`http://127.0.0.1:${port}/hooks/generic`);
  t.equal(get.status, 405);
  t.equal(get.headers.get("allow"), "POST");
  t.same(results, []);
});

t.test("whoever has the secret hears 202, whatever he says", async (t) => {
  const { post, told, results } = await start(t);
  const deep = JSON.parse(`${"[".repeat(64)}${"]".repeat(64)}`) as unknown;
  for (const body of [{ ...push, deep }, "no json", "", "[[", "[".repeat(100_000), { strange: true }])
    t.match(await post("/hooks/generic", body), { status: 202, body: "unknown\n" });
  const strange = { ...push, tag: "no tag", repository: "team/app" };
  t.match(await post("/hooks/generic", strange), { status: 202, body: "ignored\n" });
  t.match(await post("/hooks/distribution", { events: [] }), { status: 202, body: "ignored\n" });
  t.same(told(), []);
  t.equal(results.filter((result) => result === "generic unknown").length, 6);
});

t.test("which upstream is meant", async (t) => {
  const { post, told } = await start(t);
  await post("/hooks/generic", push);
  await post("/hooks/generic?upstream=hub", push);
  await post("/hooks/generic", { ...push, upstream: "corp" });
  await post("/hooks/generic?upstream=hub", { ...push, upstream: "corp" });
  t.same(told(), [
    "team/app 1 confirm",
    "team/app 1 confirm hub",
    "team/app 1 confirm corp",
    "team/app 1 confirm hub",
  ]);
  t.match(await post("/hooks/generic?upstream=none", push), { status: 404 });
  t.match(await post("/hooks/generic", { ...push, upstream: "none" }), { status: 202, body: "unknown\n" });
});

t.test(
  "an event that is sent again is acted on once; two with one id from two sources are two",
  async (t) => {
    const { post, told } = await start(t);
    const event = (id: string, tag: string) => ({
      id,
      action: "push",
      target: { repository: "team/app", tag },
    });
    const send = (...events: object[]) => post("/hooks/distribution", { events });
    t.match(await send(event("1", "a"), event("2", "b")), { body: "applied\n" });
    t.match(await send(event("2", "b"), event("1", "a")), { body: "duplicate\n" });
    t.match(await send(event("2", "b"), event("3", "c")), { body: "applied\n" });
    t.match(await post("/hooks/generic", { ...push, id: "1" }), { body: "applied\n" });
    t.same(told(), ["team/app a confirm", "team/app b confirm", "team/app c confirm", "team/app 1 confirm"]);
  },
);

t.test("of one request: the last word on each tag, and 256 changes at most", async (t) => {
  const { post, told, changes } = await start(t);
  const event = (action: string, tag: string) => ({
    action,
    target: { repository: "team/app", tag, digest: sampleDigest },
  });
  await post("/hooks/distribution", {
    events: [event("push", "a"), event("push", "b"), event("delete", "a")],
  });
  t.same(told(), ["team/app b confirm", "team/app a drop"]);
  changes.length = 0;
  const many = Array.from({ length: 1000 }, (_, at) => event("push", `t${at}`));
  t.match(await post("/hooks/distribution", { events: many }), { status: 202 });
  t.equal(changes.length, 256);
});

t.test("more than 1 MiB is refused, announced or not", async (t) => {
  const { post, port, told, results } = await start(t);
  const announced = await post("/hooks/generic", { ...push, more: "x".repeat(1024 * 1024) });
  t.match(announced, { status: 413 });
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(
    `POST /hooks/generic HTTP/1.1\r\nhost: a\r\nauthorization: ${secret}\r\ntransfer-encoding: chunked\r\n\r\n`,
  );
  const chunk = "x".repeat(0x10000);
  for (let at = 0; at < 17; at++) socket.write(`10000\r\n${chunk}\r\n`);
  t.match(await text(socket), /^HTTP\/1\.1 413 /);
  t.same(told(), []);
  t.same(results, ["generic failed", "generic failed"]);
});

t.test(
  "16 at once; the next is to come later; so is everybody before there is something to act on",
  async (t) => {
    const gate = Promise.withResolvers<boolean>();
    const full = Promise.withResolvers<void>();
    let running = 0;
    const { post } = await start(t, {
      changed: () => {
        if (++running === 16) full.resolve();
        return gate.promise;
      },
    });
    const first = Array.from({ length: 16 }, () => post("/hooks/generic", push));
    await full.promise;
    t.match(await post("/hooks/generic", push), { status: 503 });
    gate.resolve(true);
    t.same([...new Set((await Promise.all(first)).map(({ status }) => status))], [202]);
    t.match(await post("/hooks/generic", push), { status: 202 });
    const starting = await start(t, { ready: false });
    t.match(await starting.post("/hooks/generic", push), { status: 503 });
  },
);

t.test("a sender that leaves in the middle is counted", async (t) => {
  const { port, results, post, lines } = await start(t);
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const head = `POST /hooks/generic?secret=${secret} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{`;
  await new Promise<void>((resolve) => socket.write(head, () => resolve()));
  // Its request is under way once a later one has been answered.
  await post("/hooks/generic", push);
  socket.destroy();
  while (results.length < 2) await post("/hooks/none", push);
  t.same(results, ["generic applied", "generic failed"]);
  t.same(
    lines.filter(({ level }) => level !== "info"),
    [],
    "no error of ours",
  );
});
