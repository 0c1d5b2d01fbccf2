// CVE-2026-31801 and CVE-2026-61833 (zot), CVE-2026-41888 (CNCF Distribution): a method that the table of rights does not
// know, or takes for another one, does what nobody allowed.
import { METHODS } from "node:http";
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000], seed: "methods" });
const layer = image.layers[0]?.digest;
const targets = [
  "/v2/",
  "/v2/_catalog",
  "/v2/team/app/tags/list",
  "/v2/team/app/manifests/1",
  "/v2/team/app/manifests/latest",
  `/v2/team/app/manifests/${image.digest}`,
  `/v2/team/app/blobs/${layer}`,
  `/v2/team/app/referrers/${image.digest}`,
  "/v2/team/app/blobs/uploads/",
  "/v2/team/app/blobs/uploads/session",
];
/** CONNECT is no request for a resource; Node's client reads its answer as a tunnel. */
const methods = METHODS.filter((method) => method !== "CONNECT");

t.test("a mirror without push: nothing but GET and HEAD, and nothing else reaches upstream", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", image);
  const mirror = await startMirror(t, upstream);
  const disguise = {
    "x-http-method-override": "DELETE",
    "x-http-method": "DELETE",
    "x-method-override": "PUT",
  };
  for (const target of targets)
    for (const method of methods) {
      const { status } = await mirror.ask(method, target, disguise);
      const upload = target.includes("/uploads/");
      if (upload || (method !== "GET" && method !== "HEAD")) t.equal(status, 405, `${method} ${target}`);
      else t.not(status, 405, `${method} ${target}`);
    }
  t.match(
    await mirror.raw("CONNECT registry.example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    /^(?:$|HTTP\/1\.1 4)/,
  );
  t.ok(upstream.requests.every(({ method }) => method === "GET" || method === "HEAD"));
  t.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
});

/** By method, what each may be sent for. */
const writes: Readonly<Record<string, RegExp>> = {
  DELETE: /\/manifests\/|\/blobs\//,
  PATCH: /\/uploads\/session$/,
  POST: /\/uploads\/$/,
  PUT: /\/manifests\/|\/uploads\/session$/,
  GET: /./,
  HEAD: /./,
};

t.test("a mirror with push: each method where it belongs, as itself", async (t) => {
  const upstream = await startPushUpstream(t);
  const mirror = await startMirror(t, upstream, { upstream: { push: true } });
  for (const target of targets)
    for (const method of methods) {
      const before = upstream.requests.length;
      const { status } = await mirror.ask(method, target);
      const sent = upstream.requests.slice(before).map((request) => request.method);
      if (writes[method]?.test(target)) {
        if (method !== "GET" && method !== "HEAD")
          t.ok(
            sent.every((each) => each === method),
            `${method} ${target} arrives as ${sent}`,
          );
        continue;
      }
      t.equal(status, 405, `${method} ${target}`);
      t.same(sent, [], `${method} ${target}`);
    }
});
