// Limits for some callers, with a clock that stands still: what may go on is a matter of counts.
import t from "tap";
import type { CallerLimitRule } from "../../src/http/limits/caller-limits.ts";
import { login, namedAccess } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { ManualClock } from "../fixtures/manual-time.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const mebibyte = 1024 * 1024;

function limitsWith(some: Partial<CallerLimitRule>) {
  return { rules: [{ users: [], groups: [], anonymous: false, networks: [], shared: false, ...some }] };
}

t.test(
  "requests a second: some at once, some wait, one more is 429; another caller does not notice",
  async (t) => {
    const clock = new ManualClock();
    const mirror = await startMirror(t, await startUpstream(t), {
      steady: clock.read,
      access: namedAccess({ alice: "a", bob: "b" }),
      limits: limitsWith({ users: ["alice"], requestsPerSecond: 2 }),
    });
    const ping = (name: string) => mirror.ask("GET", "/v2/", login(name, name[0] ?? ""));
    t.same([(await ping("alice")).status, (await ping("alice")).status], [200, 200]);
    const answers = Array.from({ length: 21 }, () => ping("alice"));
    for (const each of answers) each.catch(() => {}); // They wait until the mirror stops.
    const refused = await Promise.race(answers);
    t.equal(refused.status, 429);
    t.equal(refused.headers["retry-after"], "11");
    t.match(JSON.parse(refused.body.toString()), { errors: [{ code: "TOOMANYREQUESTS" }] });
    t.equal((await ping("bob")).status, 200);
  },
);

t.test("bytes a second hold a blob back, and no small answer", async (t) => {
  const clock = new ManualClock();
  const upstream = await startUpstream(t);
  const image = makeImage({ layers: [9 * mebibyte] });
  upstream.addImage("library/app", "1", image);
  const [layer] = image.layers;
  const mirror = await startMirror(t, upstream, {
    steady: clock.read,
    limits: limitsWith({ networks: ["127.0.0.1"], bytesPerSecond: 8 * mebibyte }),
  });
  let done = false;
  const whole = mirror.get(`/v2/library/app/blobs/${layer?.digest}`).finally(() => {
    done = true;
  });
  t.equal((await mirror.get("/v2/library/app/manifests/1")).status, 200);
  t.equal((await mirror.ask("HEAD", "/v2/library/app/manifests/1")).status, 200);
  t.equal(done, false, "the ninth MiB waits");
  clock.advance(10_000);
  t.ok((await whole).body.equals(layer?.bytes ?? Buffer.alloc(0)));
});
