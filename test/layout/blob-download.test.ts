import { buffer } from "node:stream/consumers";
import t from "tap";
import { downloadedBytes } from "../../src/layout/blob-download.ts";
import type { Repository } from "../../src/oci/name.ts";
import type { Pause } from "../../src/ports/clock.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { connectUpstream } from "../fixtures/connected-upstream.ts";
import { randomBytesFor } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const bytes = randomBytesFor("blob", 300_000);
const noPause: Pause = async () => {};
const { signal } = new AbortController();

t.test("a transfer that breaks goes on from the byte it has reached", async (t) => {
  const upstream = await startUpstream(t);
  const digest = upstream.addBlob("team/app", bytes);
  const { upstream: registry } = connectUpstream(t, upstream.url);
  const blob = { digest, size: bytes.length, remote: remoteRepository(registry, "team/app" as Repository) };
  let breaks = 2;
  upstream.fault(({ kind }) => (kind === "blob" && breaks-- > 0 ? { cutAfter: 100_000 } : undefined));
  const got = await buffer(downloadedBytes(blob, noPause, signal));
  t.ok(got.equals(bytes));
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 3);
  t.match(upstream.requests.at(-1)?.headers.range, /^bytes=\d{5,}-$/);
  await t.test("also where a range is answered with the whole", async (t) => {
    let first = true;
    upstream.fault(({ kind }) => {
      if (kind !== "blob") return undefined;
      const fault = first ? { cutAfter: 100_000 } : { ignoreRange: true };
      first = false;
      return fault;
    });
    t.ok((await buffer(downloadedBytes(blob, noPause, signal))).equals(bytes));
  });
});

t.test("what is not there is said; what goes on failing ends", async (t) => {
  const upstream = await startUpstream(t);
  const digest = upstream.addBlob("team/app", bytes);
  const { upstream: registry } = connectUpstream(t, upstream.url);
  const remote = remoteRepository(registry, "team/app" as Repository);
  const blob = { digest, size: bytes.length, remote };
  upstream.removeBlob("team/app", digest);
  await t.rejects(buffer(downloadedBytes(blob, noPause, signal)), { code: "not_given", message: digest });
  upstream.fault(({ kind }) => (kind === "blob" ? { status: 503 } : undefined));
  upstream.forget();
  await t.rejects(buffer(downloadedBytes(blob, noPause, signal)), { code: /server_error|circuit_open/ });
  t.ok(upstream.requests.length <= 6);
});

t.test("a blob that is shorter than its manifest says is asked for some times only", async (t) => {
  const upstream = await startUpstream(t);
  const digest = upstream.addBlob("team/app", bytes);
  const { upstream: registry } = connectUpstream(t, upstream.url);
  const remote = remoteRepository(registry, "team/app" as Repository);
  let pauses = 0;
  const pause: Pause = async () => void pauses++;
  const ending = buffer(downloadedBytes({ digest, size: bytes.length + 1, remote }, pause, signal));
  await t.rejects(ending, { code: "truncated", message: /ends after 300000 of 300001 bytes/ });
  t.ok(pauses > 0 && pauses < 6, `${pauses} pauses`);
});
