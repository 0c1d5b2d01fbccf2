// The whole mirror: a tag that clients ask for regularly is confirmed before it expires, without their asking.
import t from "tap";
import { makeImage } from "./fixtures/images.ts";
import { ask, startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1000] });
const ttl = 60_000;

t.test("a tag in use is confirmed by itself, counted, and its clients wait for nothing", async (t) => {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const upstream = await startUpstream(t, { anonymous: true });
  upstream.addImage("team/app", "1", image);
  const mirrored = { url: upstream.url, username: "", password: "" };
  const mirror = await startMirror(t, mirrored, { clock: () => now });
  const status = async () => (await mirror.get("/v2/team/app/manifests/1")).headers["cache-status"] ?? "";
  const isCounted = async () =>
    /entrepot_tag_refreshes_total\{upstream="\w+",when="ahead",result="confirmed"\} 1\n/.test(
      (await ask(mirror.ops, "GET", "/metrics")).body.toString(),
    );
  for (let asked = 0; asked <= 8; asked++) {
    await status();
    if (asked < 8) now += ttl / 3;
  }
  upstream.forget();
  // Confirmed 58.5 s ago, for a client: the program looks by itself.
  now += ttl / 3 - 1_500;
  t.match(await status(), /; hit; ttl=\d/);
  await upstream.until(() => upstream.count({ kind: "manifest" }) === 1);
  // Its answer is on the way.
  while (!(await isCounted()));
  t.match(await status(), /; hit; ttl=\d/);
  now += ttl / 3;
  t.match(await status(), /; hit; ttl=\d/);
  t.equal(upstream.count({ method: "HEAD" }), upstream.count());
});
