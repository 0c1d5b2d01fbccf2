// GHSA-8xcm-r25x-g524 (undici): a transfer that is resumed goes on with something else, and the client takes it for whole.
import t from "tap";
import { makeContent, randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { type Fault, startUpstream } from "../fixtures/scripted-upstream.ts";

const { digest, bytes } = makeContent(randomBytesFor("resumed", 1_000_000));
const path = `/v2/team/app/blobs/${digest}`;
const changed = Buffer.from(bytes).fill(0, 600_000);

/** What upstream answers to the request that goes on where the first one broke off. */
const resumptions: Readonly<Record<string, Fault>> = {
  "another place": { wrongContentRange: true },
  "another size": { headers: { "content-range": "bytes 500000-999998/999999" } },
  "a larger size": { headers: { "content-range": "bytes 500000-999999/2000000" } },
  "no place": { headers: { "content-range": undefined } },
  "from the beginning, as if it went on": { ignoreRange: true, status: 206, body: bytes },
  "other bytes": {
    status: 206,
    headers: { "content-range": "bytes 500000-999999/1000000" },
    body: changed.subarray(500_000),
  },
  "more bytes": { extraBytes: 10 },
  "a web page": { html: true },
};

for (const [what, fault] of Object.entries(resumptions))
  t.test(`resumed with ${what}`, async (t) => {
    const upstream = await startUpstream(t);
    upstream.addBlob("team/app", bytes);
    const mirror = await startMirror(t, upstream, { upstream: { segments: 1 } });
    let asked = 0;
    const heal = upstream.fault(({ kind }) => {
      if (kind !== "blob") return undefined;
      asked++;
      return asked === 1 ? { cutAfter: 500_000 } : fault;
    });
    const answer = await mirror.get(path);
    t.ok(asked > 1, "it was resumed");
    t.ok(!answer.complete || answer.status !== 200 || answer.body.equals(bytes), "never whole and wrong");
    heal();
    const again = await mirror.get(path);
    if (again.status === 200 && again.complete) t.ok(again.body.equals(bytes), "and nothing wrong was kept");
    else t.ok(again.status >= 500 || !again.complete);
    await mirror.get(path);
  });
