// SIGHUP: the program reads its configuration again.
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";
import { download } from "./fixtures/download.ts";
import { type Mirror, startMirror } from "./fixtures/mirror.ts";
import { workDirectory } from "./fixtures/work-directory.ts";

t.setTimeout(60_000);

const image = makeImage({ layers: [2_000_000], seed: "reload" });
const [layer] = image.layers as [(typeof image.layers)[0]];
const other = makeImage({ layers: [1_000], seed: "other" });

/** Sends the signal and waits for the log line about it: the first with this text after so many others. */
async function reload(mirror: Mirror, msg: string, before = 0): Promise<Record<string, unknown>> {
  let seen = 0;
  mirror.process.signal("SIGHUP");
  return await mirror.process.line((line) => {
    const parsed = line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : {};
    return parsed.msg === msg && seen++ === before ? parsed : undefined;
  });
}

const taken = "the configuration was read again and is used from now on";
const refused = "the configuration was read again and cannot be used: nothing has changed";

t.test("a broken file changes nothing, a good one all it may, and nothing fails meanwhile", async (t) => {
  const upstream = await startUpstream(t, { password: "first" });
  upstream.addImage("team/app", "1", image);
  upstream.addImage("team/other", "1", other);
  const directory = await workDirectory(t);
  const [config, secret] = [join(directory, "mirror.yaml"), join(directory, "password")];
  const written = async (rest: string): Promise<void> => {
    await writeFile(`${config}.new`, `upstream:\n  passwordFile: ${secret}\n${rest}`);
    await rename(`${config}.new`, config);
  };
  await writeFile(secret, "first\n");
  await written("tags: {ttl: 1h}\n");
  const cacheDirectory = join(directory, "cache");
  await mkdir(cacheDirectory);
  const far = { url: upstream.url.href, username: upstream.username, password: "" };
  const mirror = await startMirror(t, far, { config, cacheDirectory });
  const get = async (path: string): Promise<number> => {
    const answer = await fetch(`${mirror.url}/v2/${path}`);
    await answer.arrayBuffer();
    return answer.status;
  };
  t.equal(await get("team/app/manifests/1"), 200);
  const gate = Promise.withResolvers<void>();
  upstream.fault(({ kind }) =>
    kind === "blob" ? { stallAfter: 1_000_000, releaseOn: gate.promise } : undefined,
  );
  const first = download(mirror.blobUrl(layer.digest, "team/app"));
  await first.started;

  await written("tags: {ttl: soon}\nlog: {level: loud}\n");
  const { problems } = await reload(mirror, refused);
  t.match(problems, [new RegExp(`^tags\\.ttl \\(${config}:3:13\\): found "soon"`), /^log\.level .*:4:14\)/]);
  await rename(config, `${config}.gone`);
  t.match(await reload(mirror, refused, 1), { problems: [/ENTREPOT_CONFIG.*cannot be read/] });
  t.equal(await mirror.metric("entrepot_config_last_reload_successful"), 0);
  t.equal(await get("team/app/manifests/1"), 200);

  upstream.password = "second";
  await writeFile(secret, "second\n");
  await written("  deny: [secret/**]\ntags: {ttl: 2h}\ncache: {dir: /elsewhere}\nopsListen: 127.0.0.1:1\n");
  const { changed } = await reload(mirror, taken);
  t.same(changed, [
    "tags.ttl: 1h -> 2h",
    "upstream.passwordFile: the file's content has changed",
    'upstream.deny: not set -> ["secret/**"]',
  ]);
  t.notMatch(mirror.process.output(), /"(?:first|second)"/);
  t.equal(await mirror.metric("entrepot_config_last_reload_successful"), 1);
  t.equal(await get("secret/app/manifests/1"), 403);
  t.equal(await get("team/other/manifests/1"), 200, "asked with the password of now");
  const second = download(mirror.blobUrl(layer.digest, "team/app"));
  await second.started;
  gate.resolve();
  for (const { complete, digest } of await Promise.all([first.done, second.done]))
    t.same([complete, digest], [true, layer.digest]);
  t.equal(upstream.count({ kind: "blob", method: "GET" }), 1, "one download for both");

  for (let i = 0; i < 20; i++) mirror.process.signal("SIGHUP");
  await mirror.process.line((line) =>
    line.includes("nothing has changed") && line.includes("info") ? true : undefined,
  );
  t.equal(await get("team/app/manifests/1"), 200);
  t.same(await mirror.stop(), { code: 0, signal: null });
});
