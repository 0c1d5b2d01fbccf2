// CVE-2023-2253 and CVE-2017-11468 (CNCF Distribution): one number in a request, or one endless body, takes all memory.
import t from "tap";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream, type UpstreamRequest } from "../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../fixtures/token-server.ts";

const mebibyte = 1024 * 1024;
const endless = Buffer.alloc(64 * mebibyte, " ");
/** The largest page that is read has 16 MiB; the rest is what the kernel holds of a connection. */
const most = 32 * mebibyte;

t.test("a page size", async (t) => {
  const upstream = await startUpstream(t);
  for (let tag = 0; tag < 20; tag++)
    upstream.addManifest("team/app", `${tag}`, Buffer.from("{}"), "application/json");
  const mirror = await startMirror(t, upstream);
  for (const n of ["9223372036854775807", "9".repeat(400), "2147483648"]) {
    t.equal((await mirror.get(`/v2/_catalog?n=${n}`)).status, 200);
    const answer = await mirror.get(`/v2/team/app/tags/list?n=${n}`);
    t.equal(answer.status, 200);
    t.ok(answer.body.length < 1_000);
  }
  for (const n of ["-1", "1e9", "0x7fffffff", "NaN"])
    for (const list of ["_catalog", "team/app/tags/list"])
      t.equal((await mirror.get(`/v2/${list}?n=${n}`)).status, 400, `${list} ${n}`);
  const asked = upstream.requests.map(({ query }) => Number(query.get("n") ?? 0));
  t.ok(Math.max(...asked) <= 1_000, "nor does upstream have to");
});

t.test("a body that does not end", async (t) => {
  const upstream = await startUpstream(t, { anonymous: true });
  const mirror = await startMirror(t, upstream);
  const digest = `sha256:${"a".repeat(64)}`;
  const json = { "content-type": "application/json" };
  const bodies: Readonly<Record<string, (request: UpstreamRequest) => object | undefined>> = {
    "manifests/1": () => ({ status: 200, headers: json, body: endless, noLength: true }),
    "manifests/2": ({ method }) =>
      method === "HEAD" ? undefined : { status: 200, headers: json, body: endless, noLength: true },
    "tags/list": () => ({ status: 200, headers: json, body: endless, noLength: true }),
    [`referrers/${digest}`]: () => ({
      status: 200,
      headers: { "content-type": "application/vnd.oci.image.index.v1+json" },
      body: endless,
      noLength: true,
    }),
    "manifests/403": () => ({ status: 403, headers: json, body: endless, noLength: true }),
    [`blobs/${digest}`]: () => ({ status: 404, headers: json, body: endless, noLength: true }),
  };
  for (const [target, fault] of Object.entries(bodies)) {
    const heal = upstream.fault(fault);
    upstream.forget();
    const answer = await mirror.get(`/v2/team/app/${target}`);
    t.ok(answer.status >= 400, `${target}: ${answer.status}`);
    t.ok(answer.body.length < mebibyte);
    const largest = Math.max(...upstream.requests.map(({ bytes }) => bytes));
    t.ok(largest < most, `${target}: ${largest} bytes came`);
    heal();
  }
});

t.test("a token that does not end", async (t) => {
  const bearer = await startTokenServer(t);
  bearer.fault = () => ({ status: 200, headers: { "content-type": "application/json" }, body: endless });
  const upstream = await startUpstream(t, { bearer });
  const mirror = await startMirror(t, upstream, { upstream: { tokenRealms: [bearer.realm.host] } });
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 502);
  t.ok(bearer.requests.length > 0, "it was asked");
});
