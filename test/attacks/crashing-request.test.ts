// GHSA-6x33-pw7p-hmpq (http-proxy), CVE-2024-21536 and CVE-2026-55602 (http-proxy-middleware): one odd request, and the
// process is gone.
import t from "tap";
import { startMirror } from "../fixtures/mirror.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";

const long = "x".repeat(10_000);
const requests = [
  "GET /v2/% HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /v2/%zz/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /v2/%ff%fe/manifests/1 HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /v2/a/manifests/1?ns=%E0%A4%A HTTP/1.1\r\nHost: a\r\n\r\n",
  `GET /v2/${long} HTTP/1.1\r\nHost: a\r\n\r\n`,
  `GET /v2/ HTTP/1.1\r\nHost: ${long}\r\n\r\n`,
  "GET /v2/ HTTP/1.1\r\nHost: [\r\n\r\n",
  "GET /v2/ HTTP/1.1\r\nHost: a:b:c\r\n\r\n",
  "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET ?x HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET /v2/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
  "GET /v2/ HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AA\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "GET /v2/ HTTP/9.9\r\nHost: a\r\n\r\n",
  "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nExpect: nonsense\r\nContent-Length: 1\r\n\r\nx",
  "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
  "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx",
  "PUT /v2/a/manifests/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
  "PATCH /v2/a/blobs/uploads/x?_state=%00 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
  "POST /v2/a/blobs/uploads/?mount=../..&from=.. HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
  "GET /v2/a/blobs/sha256:x HTTP/1.1\r\nHost: a\r\nRange: bytes=9999999999999999999-\r\n\r\n",
  'GET /v2/ HTTP/1.1\r\nHost: a\r\nForwarded: for="\\"\\"\r\nVia: ,,,\r\ntraceparent: 00-0-0-0\r\n\r\n',
];

t.test("the mirror answers the next client as if nothing had been", async (t) => {
  const upstream = await startPushUpstream(t);
  const mirror = await startMirror(t, upstream, { upstream: { push: true }, trustedProxies: ["127.0.0.1"] });
  for (const request of requests) {
    const text = await mirror.raw(request.replace("Host:", "Connection: close\r\nHost:"));
    t.match(text, /^(?:$|HTTP\/1\.1 [1-5]\d\d )/, JSON.stringify(request.slice(0, 80)));
    t.equal((await mirror.get("/v2/")).status, 200);
  }
  t.notOk(mirror.lines.some(({ msg }) => msg === "a request failed in a way nobody foresaw"));
});
