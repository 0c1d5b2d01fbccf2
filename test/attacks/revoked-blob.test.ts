// CVE-2026-35172 (CNCF Distribution): a blob that was deleted in one repository can be read there again, because another
// one that has it brings it back into the cache.
import t from "tap";
import { makeContent, randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";

t.test("what was deleted in one repository stays deleted there when another one has it", async (t) => {
  const upstream = await startPushUpstream(t);
  const { digest, bytes } = makeContent(randomBytesFor("revoked", 100_000));
  for (const repository of ["team/a", "team/b"]) upstream.content(repository).blobs.set(digest, bytes);
  const mirror = await startMirror(t, upstream, { upstream: { push: true } });
  const at = (repository: string) => `/v2/${repository}/blobs/${digest}`;
  for (const repository of ["team/a", "team/b"]) t.equal((await mirror.get(at(repository))).status, 200);

  t.equal((await mirror.ask("DELETE", at("team/a"))).status, 202);
  t.equal((await mirror.get(at("team/b"))).status, 200, "the other one keeps it");
  for (const [method, headers] of [
    ["GET", {}],
    ["HEAD", {}],
    ["GET", { range: "bytes=0-9" }],
  ] as const) {
    const answer = await mirror.ask(method, at("team/a"), headers);
    t.equal(answer.status, 404, `${method} ${JSON.stringify(headers)}`);
    t.notOk(answer.body.includes(bytes.subarray(0, 10)));
  }
});
