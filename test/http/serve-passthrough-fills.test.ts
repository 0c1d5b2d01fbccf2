// A download that callers share goes on with the credentials of one that is still there.
import { once } from "node:events";
import { type ClientRequest, request } from "node:http";
import t from "tap";
import type { Notice } from "../../src/ports/event.ts";
import { login } from "../fixtures/access.ts";
import { makeContent, randomBytesFor } from "../fixtures/images.ts";
import { eventually } from "../fixtures/manual-time.ts";
import type { Mirror } from "../fixtures/mirror.ts";
import { startPassthrough } from "../fixtures/passthrough.ts";

const blob = makeContent(randomBytesFor("shared fill", 12_000_000));
const alice = login("alice", "alice-pw");
const bob = login("bob", "bob-pw");
const of = (repository: string): string => `/v2/${repository}/blobs/${blob.digest}`;
const cut = 6_000_000;

/** A client that has begun to read the body, and can leave. */
async function reader(mirror: Mirror, path: string, headers: Record<string, string>) {
  const { hostname, port } = mirror.url;
  const sent: ClientRequest = request({ hostname, port, path, headers, agent: false });
  sent.on("error", () => {});
  sent.end();
  const [answer] = await once(sent, "response");
  const chunks: Buffer[] = [];
  answer.on("data", (chunk: Buffer) => chunks.push(chunk));
  answer.on("error", () => {});
  const over = new Promise<Buffer>((resolve) => answer.on("close", () => resolve(Buffer.concat(chunks))));
  return { status: answer.statusCode, leave: () => sent.destroy(), body: over };
}

for (const [name, bobs] of [
  ["of the same repository", "team/app"],
  ["of another one with the same layer", "other/app"],
] as const)
  t.test(`when its first caller leaves, with those of a follower ${name}`, async (t) => {
    const { upstream, mirror } = await startPassthrough(
      t,
      {
        alice: { password: "alice-pw", reads: ["team/app"] },
        bob: { password: "bob-pw", reads: [bobs] },
      },
      { upstream: { segments: 1 } },
    );
    for (const repository of ["team/app", "other/app"]) upstream.addBlob(repository, blob.bytes);
    let first = true;
    upstream.fault(({ method, kind, headers }) => {
      if (method !== "GET" || kind !== "blob" || !first || headers.range !== undefined) return undefined;
      first = false;
      return { stallAfter: cut, releaseOn: new Promise(() => {}) };
    });
    const one = await reader(mirror, of("team/app"), alice);
    const two = await reader(mirror, of(bobs), bob);
    t.same([one.status, two.status], [200, 200]);
    t.equal(upstream.count({ kind: "blob", method: "GET" }), 1, "one download");
    one.leave();
    await eventually("its caller is gone", () => mirror.lines.some(({ result }) => result === "aborted"));
    await upstream.stop();
    await upstream.start();
    t.ok((await two.body).equals(blob.bytes));
    const asked = upstream.requests.filter(({ kind, method }) => kind === "blob" && method === "GET");
    t.equal(asked[0]?.headers.authorization, alice.authorization);
    t.match(asked[0], { repository: "team/app" });
    for (const { headers, repository } of asked.slice(1)) {
      t.equal(headers.authorization, bob.authorization);
      t.equal(repository, bobs);
    }
    t.ok(asked.length > 1, "it has been resumed");
  });

for (const account of [true, false])
  t.test(`when nobody is left, ${account ? "with the mirror's own account" : "it ends"}`, async (t) => {
    const notices: Notice[] = [];
    const { upstream, mirror } = await startPassthrough(
      t,
      {
        alice: { password: "alice-pw", reads: ["team/app"] },
        ci: { password: "s3cret", reads: ["team/app"] },
      },
      {
        account,
        upstream: { segments: 1 },
        sinks: [{ name: "test", onNotice: (notice) => notices.push(notice) }],
      },
    );
    upstream.addBlob("team/app", blob.bytes);
    upstream.fault(({ method, kind, headers }) =>
      method === "GET" && kind === "blob" && headers.range === undefined
        ? { stallAfter: cut, releaseOn: new Promise(() => {}) }
        : undefined,
    );
    const one = await reader(mirror, of("team/app"), alice);
    t.equal(one.status, 200);
    await eventually("much of it has come", () => upstream.bytesSent >= cut);
    one.leave();
    await eventually("the caller is gone", () => mirror.lines.some(({ result }) => result === "aborted"));
    await upstream.stop();
    await upstream.start();
    const ended = (): Notice | undefined => notices.find(({ kind }) => kind === "fill");
    await eventually("the download is over", () => ended() !== undefined);
    const resumed = upstream.requests.filter(({ headers }) => headers.range !== undefined);
    const askedBy = resumed.map(({ headers }) => headers.authorization);
    t.same([...new Set(askedBy)], account ? [login("ci", "s3cret").authorization] : []);
    t.match(ended(), { result: account ? "committed" : "resumable" });
    t.ok((await mirror.get(of("team/app"), alice)).body.equals(blob.bytes));
    t.equal(
      upstream.count(({ headers }) => headers.range !== undefined),
      account ? askedBy.length : 1,
    );
  });
