// CVE-2022-35949 (undici): `//host/path` in the place of a path is another origin.
import t from "tap";
import { makeContent, makeImage, randomBytesFor } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startPushUpstream } from "../fixtures/push-upstream.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("in a request line", async (t) => {
  const upstream = await startUpstream(t, { path: "" });
  const attacker = await startUpstream(t, { anonymous: true, path: "" });
  const mirror = await startMirror(t, upstream);
  const { host } = attacker.url;
  for (const target of [
    `//${host}/v2/`,
    `///${host}/v2/a/manifests/1`,
    `/\\${host}/v2/a/manifests/1`,
    `http://${host}/v2/`,
  ])
    for (const method of ["GET", "HEAD", "POST", "PUT"]) {
      const answer = await mirror.raw(
        `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      t.match(answer, /^HTTP\/1\.1 4\d\d /, `${method} ${target}`);
    }
  t.equal(attacker.connections + upstream.connections, 0);
});

t.test("in a Link of upstream's list", async (t) => {
  const upstream = await startUpstream(t);
  const attacker = await startUpstream(t, { anonymous: true, path: "" });
  for (const tag of ["1", "2"]) upstream.addImage("team/app", tag, makeImage({ layers: [10], seed: tag }));
  const mirror = await startMirror(t, upstream);
  const { host } = attacker.url;
  for (const link of [`//${host}/v2/team/app/tags/list?last=1`, `http://${host}/?last=1`]) {
    const heal = upstream.fault(() => ({ headers: { link: `<${link}>; rel="next"` } }));
    for (const query of ["", "?n=1"]) {
      const answer = await mirror.get(`/v2/team/app/tags/list${query}`);
      t.equal(answer.status, 200);
      t.notMatch(answer.headers.link ?? "", host);
    }
    heal();
  }
  t.equal(attacker.connections, 0);
});

t.test("in the place of an upload", async (t) => {
  const upstream = await startPushUpstream(t);
  const attacker = await startUpstream(t, { anonymous: true, path: "" });
  const mirror = await startMirror(t, upstream, { upstream: { push: true } });
  const { digest, bytes } = makeContent(randomBytesFor("pushed", 100));
  for (const location of [
    `//${attacker.url.host}/v2/a/blobs/uploads/1`,
    `${attacker.url.origin}/v2/a/blobs/uploads/1`,
  ]) {
    const heal = upstream.fault(({ method }) =>
      method === "POST" ? { status: 202, headers: { location } } : undefined,
    );
    const begun = await mirror.ask("POST", "/v2/a/blobs/uploads/");
    t.notMatch(begun.headers.location ?? "", attacker.url.host);
    const next = begun.headers.location ?? "/v2/a/blobs/uploads/1";
    const joint = next.includes("?") ? "&" : "?";
    await mirror.ask("PUT", `${next}${joint}digest=${digest}`, {}, bytes);
    heal();
  }
  t.equal(attacker.connections, 0);
});
