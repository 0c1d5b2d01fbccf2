// Questions for a node's health are no traffic.
import t from "tap";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("probes have a counter of their own, and are in no other number, line or list", async (t) => {
  const upstream = await startUpstream(t);
  upstream.addImage("a", "1", makeImage({ layers: [10] }));
  let events = 0;
  const mirror = await startMirror(t, upstream, { sinks: [{ name: "test", onEvent: () => events++ }] });
  for (let i = 0; i < 20; i++) {
    t.equal((await mirror.get("/readyz")).status, 200);
    t.equal((await mirror.ask("HEAD", "/livez")).status, 200);
  }
  await mirror.get("/v2/a/manifests/1");
  await mirror.line(({ path }) => path === "/v2/a/manifests/1");
  const probed = mirror.lines.filter(({ path }) => path === "/readyz" || path === "/livez");
  t.ok(
    probed.every(({ level }) => level === "debug"),
    "for debugging only",
  );
  t.equal(events, 1, "no other sink hears of them");
  const metrics = await (await fetch(new URL("/metrics", mirror.ops))).text();
  t.match(metrics, /^entrepot_probe_requests_total\{probe="readyz",code="200"\} 20$/m);
  t.match(metrics, /^entrepot_probe_requests_total\{probe="livez",code="200"\} 20$/m);
  const counted = [...metrics.matchAll(/^entrepot_requests_total\{.*\} (\d+)$/gm)].map(([, value]) =>
    Number(value),
  );
  t.equal(
    counted.reduce((sum, value) => sum + value, 0),
    1,
  );
  const stats = await (await fetch(new URL("/stats.json", mirror.ops))).text();
  t.notMatch(stats, /readyz"|livez"/);
});

t.test("an unhealthy answer is counted by its status, and no error of the log", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { drainDelay: 60_000 });
  void mirror.app.drain();
  const { status } = await mirror.get("/readyz");
  t.not(status, 200);
  const metrics = await (await fetch(new URL("/metrics", mirror.ops))).text();
  t.match(metrics, new RegExp(`^entrepot_probe_requests_total\\{probe="readyz",code="${status}"\\} 1$`, "m"));
  t.notOk(mirror.lines.some(({ level, path }) => path === "/readyz" && level !== "debug"));
});

t.test("/healthz is another name of /readyz, on both listeners", async (t) => {
  const upstream = await startUpstream(t);
  const mirror = await startMirror(t, upstream, { drainDelay: 60_000 });
  const ops = async (path: string) => {
    const answer = await fetch(new URL(path, mirror.ops));
    return [answer.status, await answer.text()] as const;
  };
  t.match(await mirror.get("/healthz"), { status: 200, body: Buffer.from("ok\n") });
  t.same(await ops("/healthz"), await ops("/readyz"));
  void mirror.app.drain();
  t.equal((await mirror.get("/healthz")).status, 404, "while it drains");
  t.same(await ops("/healthz"), await ops("/readyz"));
  const metrics = await (await fetch(new URL("/metrics", mirror.ops))).text();
  t.match(metrics, /^entrepot_probe_requests_total\{probe="readyz",code="404"\} 1$/m);
});
