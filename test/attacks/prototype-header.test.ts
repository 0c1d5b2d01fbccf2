// CVE-2026-21710 (Node): a header, a query or a JSON member with a name that every object has already.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const names = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "__defineGetter__"];

t.test("such a name is one like any other", async (t) => {
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [10], seed: "prototype" });
  for (const name of ["team/app", "constructor", "prototype"]) upstream.addImage(name, "1", image);
  const json = image.manifest.toString().slice(0, -1);
  const polluted = `${json},"__proto__":{"layers":[],"polluted":1},"constructor":{"prototype":{"polluted":1}}}`;
  upstream.addManifest("team/app", "2", Buffer.from(polluted), image.mediaType);
  const mirror = await startMirror(t, upstream);
  for (const name of names) {
    const head = `GET /v2/team/app/manifests/1?${name}=x&ns=&${name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`;
    t.match(await mirror.raw(`${head}${name}: 1\r\n${name}: 2\r\n\r\n`), /^HTTP\/1\.1 200 /, name);
  }
  for (const name of ["constructor", "prototype"]) {
    t.equal((await mirror.get(`/v2/${name}/manifests/1`)).status, 200, name);
    t.equal((await mirror.get(`/${name}/v2/team/app/manifests/1`)).status, 404, "no upstream is called so");
    t.equal((await mirror.get(`/v2/team/app/manifests/1?ns=${name}`)).status, 200);
  }
  t.match(await mirror.get("/v2/team/app/manifests/2"), { status: 200, body: Buffer.from(polluted) });
  t.equal(({} as { polluted?: unknown }).polluted, undefined);
  t.notOk(mirror.lines.some(({ msg }) => msg === "a request failed in a way nobody foresaw"));
});
