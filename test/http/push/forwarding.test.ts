// What ends a request that is being sent on, from either side. Of http-proxy, the three abort paths that
// http-proxy 1.18 failed are named as such.
import { Agent, type IncomingMessage } from "node:http";
import { Socket } from "node:net";
import t, { type Test } from "tap";
import { openRequest, readAnswer } from "../../fixtures/push-client.ts";
import { startPushMirror } from "../../fixtures/push-mirror.ts";
import { type PushUpstream, startPushUpstream } from "../../fixtures/push-upstream.ts";
import { still } from "../../fixtures/still.ts";

const mebibyte = 1024 * 1024;
const digest = `sha256:${"a".repeat(64)}`;
const uploads = "/v2/team/app/blobs/uploads/";
const authorization = async (): Promise<string> => `Basic ${btoa("ci:s3cret")}`;

/** A session at upstream, begun behind the mirror's back, as the mirror names it. */
async function session(upstream: PushUpstream): Promise<string> {
  const headers = { authorization: await authorization() };
  const answer = await fetch(`${upstream.url.href}${uploads}`, { method: "POST", headers });
  const location = new URL(answer.headers.get("location") ?? "");
  upstream.requests.length = 0;
  return location.pathname.slice(upstream.url.pathname.length) + location.search;
}

async function startBoth(
  t: Test,
  options: Parameters<typeof startPushMirror>[2] = {},
): Promise<{ upstream: PushUpstream; mirror: Awaited<ReturnType<typeof startPushMirror>>; path: string }> {
  const upstream = await startPushUpstream(t);
  const mirror = await startPushMirror(t, upstream.url, { authorization, ...options });
  return { upstream, mirror, path: await session(upstream) };
}

t.test("abort path 1: upstream dies in the middle of its answer, and the client is cut off", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  upstream.fault(() => ({ dieInAnswer: 10 }));
  const { request, answer } = openRequest(mirror.url, "POST", uploads, 0);
  request.end();
  const message = await answer;
  t.equal(message.statusCode, 202);
  t.match(await readAnswer(message), { complete: false });
  t.match(await mirror.ended(1), [
    { status: 202, result: "error", abortedBy: "upstream", bytesSent: 10, bytesExpected: 100 },
  ]);
});

t.test(
  "abort path 2: the client leaves in the middle of its body, and upstream's request is closed",
  async (t) => {
    const { upstream, mirror, path } = await startBoth(t);
    const { request, closed } = openRequest(mirror.url, "PATCH", path, 10 * mebibyte);
    request.write(Buffer.alloc(mebibyte));
    await upstream.until(() => upstream.requests[0]?.bytes === mebibyte);
    request.destroy();
    await closed;
    await upstream.until(() => upstream.requests[0]?.finished === true);
    t.match(upstream.requests, [{ method: "PATCH", bytes: mebibyte, complete: false, cut: true }]);
    t.match(await mirror.ended(1), [{ status: 499, result: "aborted", abortedBy: "client" }]);
    await upstream.until(() => upstream.openSockets <= 1);
    t.same(mirror.told, []);
  },
);

t.test("the same with a chunked body, which must not look finished", async (t) => {
  const { upstream, mirror, path } = await startBoth(t);
  const { request } = openRequest(mirror.url, "PATCH", path, undefined);
  request.write(Buffer.alloc(1000));
  await upstream.until(() => upstream.requests[0]?.bytes === 1000);
  t.equal(upstream.requests[0]?.headers["transfer-encoding"], "chunked");
  request.destroy();
  await upstream.until(() => upstream.requests[0]?.finished === true);
  t.match(upstream.requests, [{ complete: false, cut: true }]);
  await mirror.ended(1);
});

t.test(
  "abort path 3: the client leaves before upstream has answered, and upstream's request is closed",
  async (t) => {
    const { upstream, mirror } = await startBoth(t);
    upstream.fault(() => ({ silent: true }));
    for (const [method, path, body] of [
      ["POST", uploads, ""],
      ["PUT", "/v2/team/app/manifests/1", `{"config":{"digest":"x"},"layers":[]}`],
    ] as const) {
      upstream.requests.length = 0;
      const { request } = openRequest(mirror.url, method, path, body.length);
      request.end(body);
      await upstream.until(() => upstream.requests[0]?.complete === true);
      request.destroy();
      await upstream.until(() => upstream.requests[0]?.finished === true);
      t.match(upstream.requests, [{ method, complete: true, cut: true }]);
    }
    t.match(await mirror.ended(2), [{ result: "aborted" }, { result: "aborted" }]);
    t.same(mirror.told, ["unsure team/app 1"], "whether the manifest was written, nobody knows");
  },
);

t.test("upstream dies in the middle of the body: 502, also while the client goes on sending", async (t) => {
  const { upstream, mirror, path } = await startBoth(t);
  upstream.fault(() => ({ dieAfter: mebibyte }));
  for (const length of [200 * mebibyte, undefined]) {
    const { request, answer } = openRequest(mirror.url, "PATCH", path, length);
    let sending = true;
    const send = (): void => {
      while (sending && request.write(Buffer.alloc(64 * 1024)));
    };
    request.on("drain", send);
    send();
    const message = await answer;
    sending = false;
    t.equal(message.statusCode, 502, `length ${length}`);
    t.match(await readAnswer(message), { text: /"UNAVAILABLE"/, complete: true });
    request.destroy();
  }
  t.match(await mirror.ended(2), [
    { status: 502, detail: "unreachable" },
    { status: 502, detail: "unreachable" },
  ]);
  t.match(mirror.notices, [{ kind: "upstream_error", upstream: "far", code: "unreachable" }, {}]);
});

t.test("upstream dies without an answer: 502; where it may have written, that is told", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  upstream.fault(() => ({ dieBeforeAnswer: true }));
  const cases: [string, string, string[]][] = [
    ["PUT", "/v2/team/app/manifests/1", ["unsure team/app 1"]],
    ["DELETE", "/v2/team/app/manifests/1", ["unsure team/app 1"]],
    ["DELETE", `/v2/team/app/blobs/${digest}`, [`no blob team/app ${digest}`]],
    ["POST", uploads, []],
  ];
  for (const [method, path, told] of cases) {
    mirror.told.length = 0;
    const body = method === "PUT" ? `{"config":{"digest":"x"},"layers":[]}` : "";
    const { request, answer } = openRequest(mirror.url, method, path, body.length);
    request.end(body);
    t.equal((await answer).statusCode, 502, `${method} ${path}`);
    t.same(mirror.told, told);
  }
});

t.test("nobody listens upstream: 502, and nothing is forgotten", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  await upstream.stop();
  const { request, answer } = openRequest(mirror.url, "PUT", "/v2/team/app/manifests/1", 2);
  request.end("{}");
  t.equal((await answer).statusCode, 502);
  t.same(mirror.told, []);
});

t.test("upstream closes a kept connection just then: a request without a body is sent again", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const post = async (): Promise<number | undefined> => {
    const { request, answer } = openRequest(mirror.url, "POST", uploads, 0);
    request.end();
    return (await answer).statusCode;
  };
  t.equal(await post(), 202);
  let faults = 0;
  upstream.fault(() => (faults++ === 0 ? { dieBeforeAnswer: true } : undefined));
  t.equal(await post(), 202);
  t.equal(upstream.requests.length, 3);
});

t.test(
  "connections to upstream that were kept and died: one request finds out, the next ones connect anew",
  async (t) => {
    const { upstream, mirror, path } = await startBoth(t);
    const post = (): Promise<IncomingMessage> => {
      const { request, answer } = openRequest(mirror.url, "POST", uploads, 0);
      request.end();
      return answer;
    };
    const begun = Promise.withResolvers<void>();
    const heal = upstream.fault(() => ({ answerOn: begun.promise }));
    const many = Array.from({ length: 5 }, post);
    await upstream.until(() => upstream.requests.length === 5);
    begun.resolve();
    for (const answer of await Promise.all(many)) await readAnswer(answer);
    heal();
    const before = upstream.connections;
    upstream.requests.length = 0;
    const lost = upstream.fault(() =>
      upstream.connections === before ? { dieBeforeAnswer: true } : undefined,
    );
    t.equal((await post()).statusCode, 202);
    t.equal(upstream.requests.length, 2, "one of them, and the second try");
    const { request, answer } = openRequest(mirror.url, "PATCH", path, 10);
    request.end(Buffer.alloc(10));
    t.equal((await answer).statusCode, 202, "a body cannot be sent twice, and need not be");
    lost();
  },
);

t.test("upstream takes a request and says nothing: 504", async (t) => {
  const { upstream, mirror } = await startBoth(t, { timeouts: { answer: 500 } });
  upstream.fault(() => ({ silent: true }));
  const { request, answer } = openRequest(mirror.url, "POST", uploads, 0);
  request.end();
  t.equal((await answer).statusCode, 504);
  await upstream.until(() => upstream.requests[0]?.finished === true);
  t.match(upstream.requests, [{ cut: true }]);
});

t.test("after a body upstream has ten times as long", async (t) => {
  const { upstream, mirror, path } = await startBoth(t, { timeouts: { answer: 30 } });
  upstream.fault(() => ({ silent: true }));
  const begin = performance.now();
  const { request, answer } = openRequest(mirror.url, "PATCH", path, 10);
  request.end(Buffer.alloc(10));
  t.equal((await answer).statusCode, 504);
  t.ok(performance.now() - begin >= 299, "300 ms");
});

t.test("upstream stops taking the body: 504", async (t) => {
  const { upstream, mirror, path } = await startBoth(t, { timeouts: { idle: 100 } });
  upstream.fault(() => ({ stopAfter: 1, readOn: new Promise(() => {}) }));
  const { request, answer } = openRequest(mirror.url, "PATCH", path, 100 * mebibyte);
  const send = (): void => {
    while (request.write(Buffer.alloc(mebibyte)) && request.writableLength < 2 * mebibyte);
  };
  request.on("drain", send);
  send();
  t.equal((await answer).statusCode, 504);
  request.destroy();
  await mirror.ended(1);
});

t.test("the client stops giving its body: 408, and upstream's request is closed", async (t) => {
  const { upstream, mirror, path } = await startBoth(t, { timeouts: { client: 1_000, idle: 10_000 } });
  const { request, answer } = openRequest(mirror.url, "PATCH", path, 10 * mebibyte);
  request.write(Buffer.alloc(1000));
  const message = await answer;
  t.equal(message.statusCode, 408);
  t.match(await readAnswer(message), { text: /BLOB_UPLOAD_INVALID/ });
  await upstream.until(() => upstream.requests[0]?.finished === true);
  t.match(upstream.requests, [{ bytes: 1000, complete: false, cut: true }]);
});

t.test("upstream falls silent in the middle of its answer: the client is cut off", async (t) => {
  const { upstream, mirror } = await startBoth(t, { timeouts: { idle: 500 } });
  upstream.fault(() => ({ stallInAnswer: 10 }));
  const { request, answer } = openRequest(mirror.url, "POST", uploads, 0);
  request.end();
  t.match(await readAnswer(await answer), { complete: false });
  t.match(await mirror.ended(1), [{ abortedBy: "upstream", bytesSent: 10, detail: "timeout" }]);
});

t.test("upstream refuses before it has the body: the client hears it at once", async (t) => {
  const { upstream, mirror, path } = await startBoth(t);
  upstream.fault(() => ({ early: true }));
  const { request, answer } = openRequest(mirror.url, "PATCH", path, 100 * mebibyte);
  request.write(Buffer.alloc(mebibyte));
  const message = await answer;
  t.equal(message.statusCode, 403);
  t.match(await readAnswer(message), { text: /"DENIED"/, complete: true });
  await upstream.until(() => upstream.requests[0]?.finished === true);
  request.destroy();
});

t.test("upstream accepts what it has not got: 502", async (t) => {
  const { upstream, mirror, path } = await startBoth(t);
  upstream.fault(() => ({ early: true, status: 202 }));
  const { request, answer } = openRequest(mirror.url, "PATCH", path, 100 * mebibyte);
  request.write(Buffer.alloc(1000));
  t.equal((await answer).statusCode, 502);
  request.destroy();
  t.match(await mirror.ended(1), [{ detail: "protocol" }]);
});

t.test("a slow upstream slows the client: nothing piles up here", async (t) => {
  const { upstream, mirror, path } = await startBoth(t);
  const gate = Promise.withResolvers<void>();
  upstream.fault(() => ({ stopAfter: 1, readOn: gate.promise }));
  const total = 64 * mebibyte;
  const { request, answer } = openRequest(mirror.url, "PATCH", path, total);
  const piece = Buffer.alloc(256 * 1024);
  let taken = 0;
  const send = (): void => {
    for (; taken < total; taken += piece.length) if (!request.write(piece)) break;
    if (taken === total) request.end();
    else taken += piece.length;
  };
  request.on("drain", send);
  send();
  await upstream.until(() => (upstream.requests[0]?.bytes ?? 0) > 0);
  await still(() => taken);
  t.ok(taken < 40 * mebibyte, `${taken} bytes were taken, most of them by the kernel`);
  gate.resolve();
  t.equal((await answer).statusCode, 202);
  t.match(upstream.requests, [{ bytes: total, complete: true }]);
});

t.test("upstream does not accept the connection in time: 504", async (t) => {
  const unconnected = (): Socket => Object.assign(new Socket(), { connecting: true });
  const agent = Object.assign(new Agent(), { createConnection: unconnected });
  const { mirror } = await startBoth(t, { agent, timeouts: { connect: 50 } });
  const { request, answer } = openRequest(mirror.url, "POST", uploads, 0);
  request.end();
  t.equal((await answer).statusCode, 504);
});

t.test("the client has left while the account was asked for: upstream hears nothing", async (t) => {
  const asked = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<undefined>();
  const { upstream, mirror } = await startBoth(t, {
    limit: 1,
    authorization: () => {
      asked.resolve();
      return gate.promise;
    },
  });
  const { request } = openRequest(mirror.url, "POST", uploads, 0);
  request.end();
  await asked.promise;
  request.destroy();
  await mirror.ended(1);
  gate.resolve(undefined);
  await still(() => 0);
  t.same(upstream.requests, []);
  t.match(mirror.events, [{ result: "aborted" }]);
  const next = openRequest(mirror.url, "POST", uploads, 0);
  next.request.end();
  t.equal(
    (await next.answer).statusCode,
    502,
    "its place is free again; without an account upstream refuses",
  );
});

t.test("only what completes an upload, as upstream tells it, is said to be there", async (t) => {
  const { upstream, mirror } = await startBoth(t);
  const ask = async (method: string, path: string, headers: Record<string, string> = {}): Promise<void> => {
    const heal = upstream.fault(() => ({ status: 201, headers }));
    const { request, answer } = openRequest(mirror.url, method, path, 0);
    request.end();
    await readAnswer(await answer);
    heal();
  };
  const session = `${uploads}id`;
  const other = `sha256:${"b".repeat(64)}`;
  for (const method of ["GET", "HEAD", "PATCH", "DELETE"]) await ask(method, `${session}?digest=${digest}`);
  await ask("PUT", session);
  await ask("POST", uploads);
  await ask("PUT", `${session}?digest=${digest}`, { "docker-content-digest": other });
  await ask("POST", `${uploads}?mount=${digest}&from=team/base`, { "docker-content-digest": other });
  t.same(mirror.told, []);
  t.ok(mirror.events.every(({ write, content }) => write === undefined && content === undefined));
  await ask("PUT", `${session}?digest=${digest}`, { "docker-content-digest": digest });
  await ask("POST", `${uploads}?mount=${digest}&from=team/base`);
  await ask("POST", `${uploads}?digest=${digest}`);
  t.same(mirror.told, Array(3).fill(`blob team/app ${digest}`));
});
