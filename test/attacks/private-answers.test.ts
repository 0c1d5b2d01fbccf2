// GHSA-4cwx and GHSA-jr45 (undici), CVE-2026-9678: what a shared cache keeps of one client's answer is given to another.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "private" });
const paths = [
  "/v2/team/app/manifests/1",
  `/v2/team/app/blobs/${image.layers[0]?.digest}`,
  "/v2/team/app/tags/list",
];
const personal = {
  authorization: `Basic ${Buffer.from("alice:pa55word").toString("base64")}`,
  cookie: "session=alice",
  "x-api-key": "alice",
  "x-jfrog-art-api": "alice",
};

t.test("nothing of a client goes upstream, and nothing of its answer to the next client", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  upstream.fault(() => ({
    headers: {
      "set-cookie": ["session=of-the-mirror; HttpOnly", "x=y"],
      "www-authenticate": 'Basic realm="x"',
      "x-request-user": "ci",
      vary: "Authorization, Cookie",
    },
  }));
  const mirror = await startMirror(t, upstream);
  for (const path of paths)
    for (const headers of [personal, {}, personal]) {
      const answer = await mirror.get(path, headers);
      t.equal(answer.status, 200, path);
      for (const name of ["set-cookie", "www-authenticate", "x-request-user"])
        t.equal(answer.headers[name], undefined, `${path} ${name}`);
      t.notMatch(answer.headers["cache-control"] ?? "", /public|s-maxage/, path);
    }
  const account = `Basic ${Buffer.from("ci:s3cret").toString("base64")}`;
  for (const { headers } of upstream.requests) {
    t.equal(headers.authorization, account);
    t.notMatch(JSON.stringify(headers), /alice/);
    t.equal(headers.cookie, undefined, "nor does the mirror keep a cookie");
  }
  t.notMatch(JSON.stringify(mirror.lines), /alice|YWxpY2U6cGE1NXdvcmQ|of-the-mirror/, "nor does the log");
});
