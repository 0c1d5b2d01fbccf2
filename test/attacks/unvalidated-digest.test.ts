// CVE-2024-3727 (containers/image): a digest from a registry is used as it came, as a path of the store or of the next
// request.
import { existsSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const hex = "a".repeat(64);
const wrong = [
  "sha256:../../../../escaped",
  `sha256:${hex}/../../escaped`,
  `../escaped:${hex}`,
  `sha256:${hex.toUpperCase()}`,
  `SHA256:${hex}`,
  `sha256:${hex.slice(1)}`,
  `sha256:${hex}a`,
  `sha512:${hex}`,
  `md5:${"a".repeat(32)}`,
  "sha256:",
  "escaped",
];

t.test("as upstream's header", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("team/app", "1", makeImage({ layers: [10] }));
  const mirror = await startMirror(t, upstream);
  for (const value of [...wrong, [`sha256:${hex}`, `sha256:${"b".repeat(64)}`]]) {
    const heal = upstream.fault(() => ({ headers: { "docker-content-digest": value } }));
    for (const method of ["HEAD", "GET"])
      t.equal((await mirror.ask(method, "/v2/team/app/manifests/1")).status, 502, `${method} ${value}`);
    heal();
  }
  const stored = readdirSync(mirror.directory, { recursive: true }).map(String);
  t.notOk(stored.some((name) => name.includes("escaped") || name.includes(hex)));
  t.notOk(existsSync(`${dirname(mirror.directory)}/escaped`));
});

t.test("in a manifest, and then by a client", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream);
  const image = makeImage({ layers: [10] });
  const json = JSON.parse(image.manifest.toString()) as { layers: { digest: string }[] };
  for (const [at, digest] of wrong.entries()) {
    const body = { ...json, layers: json.layers.map((layer) => ({ ...layer, digest })) };
    upstream.addManifest("team/app", `t${at}`, Buffer.from(JSON.stringify(body)), image.mediaType);
    await mirror.get(`/v2/team/app/manifests/t${at}`);
    upstream.forget();
    for (const path of [`blobs/${digest}`, `blobs/${encodeURIComponent(digest)}`, `manifests/${digest}`]) {
      const answer = await mirror.get(`/v2/team/app/${path}`);
      t.ok(answer.status === 400 || answer.status === 404, `${path}: ${answer.status}`);
    }
    t.same(
      upstream.requests
        .map(({ path }) => path.slice(upstream.url.pathname.length))
        .filter((path) => !/^\/v2\/$|\/manifests\/[\w.-]+$/.test(path)),
      [],
      `${digest}: a tag at most is asked for`,
    );
  }
  t.notOk(
    readdirSync(mirror.directory, { recursive: true }).some((name) => String(name).includes("escaped")),
  );
});
