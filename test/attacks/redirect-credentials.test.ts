// CVE-2022-31151, CVE-2023-45143, CVE-2024-24758 and CVE-2024-30260 (undici), CVE-2024-28849 (follow-redirects),
// CVE-2025-4673 (Go): credentials go along when a registry redirects to another origin.
import t from "tap";
import type { Digest } from "../../src/oci/digest.ts";
import { Authority, withoutOpenssl } from "../fixtures/certificates.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [100_000], seed: "redirected" });
const layer = image.layers[0]?.digest as Digest;
const path = `/v2/team/app/blobs/${layer}`;
const secrets = ["authorization", "proxy-authorization", "cookie"];
/** A client's own, which are nobody's business at all. */
const own = {
  authorization: "Basic Y2xpZW50OnBhc3M=",
  cookie: "session=client",
  "proxy-authorization": "Basic eA==",
};

for (const status of [301, 302, 303, 307, 308])
  t.test(`to another port, and from there back, by ${status}`, async (t) => {
    const upstream = await startUpstream(t);
    upstream.addImage("team/app", "1", image);
    const other = await startUpstream(t, { anonymous: true, path: "" });
    other.addImage("team/app", "1", image);
    const mirror = await startMirror(t, upstream, {
      upstream: { redirectsTo: ["127.0.0.1"] },
    });
    upstream.fault(() => ({ status, headers: { location: `${other.url.origin}${path}` } }));
    t.equal((await mirror.get(path, own)).status, 200, `${status}`);
    t.ok(other.requests.length > 0);
    other.fault(() => ({ status, headers: { location: `${upstream.url.href}/v2/team/app/manifests/1` } }));
    upstream.forget();
    await mirror.get("/v2/team/app/manifests/1", own);
    const [first, ...back] = upstream.requests;
    t.equal(first?.headers.authorization, `Basic ${Buffer.from("ci:s3cret").toString("base64")}`);
    for (const { headers } of [...other.requests, ...back])
      for (const name of secrets) t.equal(headers[name], undefined, `${status} ${name}`);
  });

t.test("from https to http", { skip: withoutOpenssl() }, async (t) => {
  const directory = t.testdir();
  const authority = new Authority(directory, "authority");
  const upstream = await startUpstream(t, { tls: authority.issue("registry", "IP:127.0.0.1") });
  const plain = await startUpstream(t, { anonymous: true, path: "" });
  upstream.addImage("team/app", "1", image);
  plain.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream, {
    cache: { dir: t.testdir() },
    upstream: { redirectsTo: ["127.0.0.1"], tls: { ca: authority.cert } },
  });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
  upstream.fault(() => ({ status: 307, headers: { location: `${plain.url.origin}${path}` } }));
  t.equal((await mirror.get(path)).status, 502);
  t.equal(plain.connections, 0);
});

t.test("for ever", async (t) => {
  const upstream = await startUpstream(t);
  upstream.fault(({ path }) => ({ status: 302, headers: { location: path } }));
  const mirror = await startMirror(t, upstream);
  t.equal((await mirror.get(path)).status, 502);
  t.ok(upstream.count() <= 6, `${upstream.count()} requests`);
});
