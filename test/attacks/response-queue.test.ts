// CVE-2026-6733 and CVE-2026-1525 (undici): an upstream sends more than it was asked for, and the rest is taken for the
// answer to the next client's question.
import t from "tap";
import { startMirror } from "../fixtures/mirror.ts";
import { type RawStep, startRawUpstream } from "../fixtures/raw-upstream.ts";

const json = "Content-Type: application/json";
const list = (tag: string) => JSON.stringify({ name: "x", tags: [tag] });
const answer = (tag: string) =>
  `HTTP/1.1 200 OK\r\n${json}\r\nContent-Length: ${list(tag).length}\r\n\r\n${list(tag)}`;
const poison = answer("poison");

/** What comes for the list of the repository `first`; every other one is answered as it should be. */
const attacks: Readonly<Record<string, readonly RawStep[]>> = {
  "a second answer in the same packet": [answer("first") + poison],
  "a second answer behind it": [answer("first"), new Promise((resolve) => setImmediate(resolve)), poison],
  "a longer body than announced": [answer("first") + "x".repeat(100)],
  "two lengths": [
    `HTTP/1.1 200 OK\r\n${json}\r\nContent-Length: ${list("first").length}\r\nContent-Length: ${list("first").length + poison.length}\r\n\r\n${list("first")}${poison}`,
  ],
  "a length and chunks": [
    `HTTP/1.1 200 OK\r\n${json}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${poison}`,
  ],
  "a 204 with a body": [`HTTP/1.1 204 No Content\r\nContent-Length: ${poison.length}\r\n\r\n${poison}`],
  "an answer before there is a question": [answer("first") + poison + poison],
};

for (const [what, steps] of Object.entries(attacks))
  t.test(what, async (t) => {
    const upstream = await startRawUpstream(t, (head) => {
      const repository = /\/v2\/(\w+)\/tags/.exec(head)?.[1];
      return repository === "first" ? steps : [answer(`${repository}`)];
    });
    const mirror = await startMirror(t, { url: upstream.url, username: "ci", password: "s3cret" });
    await mirror.get("/v2/first/tags/list");
    for (const repository of ["second", "third"]) {
      const { status, body } = await mirror.get(`/v2/${repository}/tags/list`);
      t.equal(status, 200);
      t.same((JSON.parse(body.toString()) as { tags: unknown }).tags, [repository]);
    }
  });
