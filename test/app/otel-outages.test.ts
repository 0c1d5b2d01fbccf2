// A receiver of OTLP that is down, slow or refuses: requests are served as ever, what is lost is counted and said once, and the end
// does not wait for it for long.
import t, { type Test } from "tap";
import type { OtelConfig } from "../../src/config/config.ts";
import { parseExposition, sampleOf } from "../fixtures/exposition.ts";
import { makeImage } from "../fixtures/images.ts";
import { startMirror } from "../fixtures/mirror.ts";
import { otelSettings } from "../fixtures/otel-settings.ts";
import { type Reaction, startOtlpReceiver } from "../fixtures/otlp-receiver.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

const image = makeImage({ layers: [1_000] });
const path = "/v2/team/app/manifests/1";
const lostSpans = "spans are lost: entrepot_telemetry_lost_total counts them";

async function start(t: Test, usual: Reaction, changes: Partial<OtelConfig> = {}) {
  const [upstream, receiver] = [await startUpstream(t), await startOtlpReceiver(t)];
  upstream.addImage("team/app", "1", image);
  receiver.usual = usual;
  const otel = otelSettings(receiver, { metrics: false, ...changes });
  const mirror = await startMirror(t, upstream, { otel, cache: { dir: t.testdir() } });
  const lost = async () => {
    const text = await (await fetch(new URL("/metrics", mirror.ops))).text();
    return sampleOf(parseExposition(text), "entrepot_telemetry_lost_total", { sink: "otel" });
  };
  const pull = async (times: number) => {
    await mirror.get(path);
    for (let at = 1; at < times; at++) t.equal((await mirror.get(path)).status, 200);
  };
  const said = () => mirror.lines.filter(({ msg }) => msg === lostSpans);
  return { upstream, receiver, mirror, lost, pull, said };
}

t.test("what waits is bounded: spans beyond the queue are dropped, counted, and said once", async (t) => {
  const { receiver, mirror, lost, pull, said } = await start(t, "hang", { queue: 4 });
  await pull(30);
  // A full queue goes out at once, as one request that is never answered; the next four wait.
  await receiver.until(() => receiver.requests.length === 1);
  const dropped = (await lost()) ?? 0;
  t.ok(dropped >= 20, `${dropped} spans`);
  t.equal(said().length, 1);
  t.match(said()[0], { level: "warn", reason: "4 spans wait already" });
  receiver.stop();
  await mirror.app.stop();
});

t.test("a receiver that fails: its spans are counted, its words are not repeated", async (t) => {
  const { receiver, mirror, lost, pull, said } = await start(t, 500, { queue: 1_000 });
  await pull(3);
  await mirror.app.drain();
  const spans = receiver.requests.length;
  t.ok(spans > 0);
  t.ok(((await lost()) ?? 0) >= 3);
  t.match(said(), [{ reason: "the receiver answers 500" }]);
  t.notMatch(JSON.stringify(mirror.lines), /a secret/);
});

t.test("a receiver that is gone, and comes back: what is traced then is sent", async (t) => {
  const { receiver, mirror, lost, pull, said } = await start(t, 200, { timeout: 100, delay: 1 });
  const port = Number(new URL(receiver.url).port);
  receiver.stop();
  await pull(3);
  await mirror.line(({ msg }) => msg === lostSpans);
  t.ok(((await lost()) ?? 0) >= 1);
  t.match(said(), [{ reason: /ECONNREFUSED|ECONNRESET|socket hang up/ }]);
  await receiver.start(port);
  for (const asked = receiver.requests.length; receiver.requests.length === asked; ) await pull(1);
  t.ok(receiver.spans.length > 0);
});

for (const reaction of ["hang", "endless"] as const)
  t.test(`the end waits 2 s at most: ${reaction}`, async (t) => {
    const { mirror, pull } = await start(t, reaction, { metrics: true });
    await pull(2);
    await t.resolves(mirror.app.drain());
    await t.resolves(mirror.app.stop());
  });

t.test("metrics that cannot be sent are said once", async (t) => {
  const { mirror } = await start(t, 403, { metrics: true, traces: false });
  await mirror.app.drain();
  await mirror.app.stop();
  const lines = mirror.lines.filter(({ msg }) => msg === "metrics cannot be sent by OTLP");
  t.match(lines, [{ level: "warn", reason: "the receiver answers 403" }]);
  t.equal(lines.length, 1);
});
