// CVE-2005-0174, CVE-2016-4554 and CVE-2020-15049 (Squid): what a client says about the host becomes part of what is kept
// for others.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "host" });
const path = "/v2/team/app/manifests/1";

t.test("Host, and what stands for it, reaches neither upstream nor another client", async (t) => {
  const upstream = await startUpstream(t);
  for (const tag of ["1", "2"]) upstream.addImage("team/app", tag, image);
  const mirror = await startMirror(t, upstream);
  for (const host of [
    "evil.example",
    "upstream.evil.example",
    "127.0.0.1:1",
    "evil.example/v2/x?",
    "a@evil.example",
  ]) {
    const forged = {
      host,
      "x-forwarded-host": host,
      "x-original-url": `/${host}`,
      "x-rewrite-url": "/x",
      forwarded: `host="${host}"`,
    };
    for (const target of [path, "/v2/team/app/tags/list?n=1", "/v2/", "/v2/_catalog?n=1"]) {
      const answer = await mirror.get(target, forged);
      t.ok([200, 400].includes(answer.status), `${host} ${target}: ${answer.status}`);
      t.notMatch(JSON.stringify(answer.headers), "evil.example");
    }
    const { body, headers, status } = await mirror.get("/v2/team/app/tags/list?n=1");
    t.equal(status, 200);
    t.notMatch(JSON.stringify(headers) + body.toString(), "evil.example");
  }
  for (const { headers, path: asked } of upstream.requests) {
    t.equal(headers.host, upstream.url.host);
    t.notMatch(JSON.stringify(headers) + asked, "evil.example");
  }
  t.equal(upstream.count({ kind: "manifest", method: "GET" }), 1, "one manifest for all of them");
});

t.test("a request with two of them, or with none, is refused", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  for (const hosts of [
    "Host: a\r\nHost: b\r\n",
    "Host: a\r\nhost: a\r\n",
    "Host: a\r\n Host: b\r\n",
    "Host : a\r\n",
    "",
  ])
    t.match(
      await mirror.raw(`GET ${path} HTTP/1.1\r\n${hosts}Connection: close\r\n\r\n`),
      /^HTTP\/1\.1 400 /,
      hosts,
    );
  t.equal(upstream.connections, 0);
});
