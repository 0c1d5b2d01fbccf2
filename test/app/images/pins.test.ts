// Pinned images through the whole mirror.
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { mock } from "node:test";
import t, { type Test } from "tap";
import {
  Pins,
  type PinsOptions,
  type PinsParts,
  pinExchangeInterval,
  pinLookInterval,
} from "../../../src/app/images/pins.ts";
import type { PinReport, PinsReport } from "../../../src/ops/pins/pin-report.ts";
import { pinSchema, pinsSchema, unpinnedSchema } from "../../../src/ops/pins/pin-schema.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { makeImage, makeIndex } from "../../fixtures/images.ts";
import { gate, ManualClock } from "../../fixtures/manual-time.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../../fixtures/mirror.ts";
import { type ScriptedUpstream, startUpstream } from "../../fixtures/scripted-upstream.ts";
import { freePort } from "../../system/fixtures/free-port.ts";

const amd64 = makeImage({ layers: [200_000, 10], seed: "amd64" });
const arm64 = makeImage({ layers: [150_000], seed: "arm64" });
const index = makeIndex([amd64, arm64]);

async function askPins(mirror: Mirror, method: string, query = "", body?: object) {
  const answer = await fetch(new URL(`/api/v1/pins${query}`, mirror.ops), {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const json = (await answer.json()) as {
    readonly error?: { readonly code: string; readonly message: string };
  };
  return { status: answer.status, json };
}

async function pin(t: Test, mirror: Mirror, image: string): Promise<PinReport> {
  const { status, json } = await askPins(mirror, "POST", "", { image });
  t.equal(status, 201, JSON.stringify(json));
  return pinSchema.parse(json);
}

async function unpin(mirror: Mirror, image: string) {
  return await askPins(mirror, "DELETE", `?${new URLSearchParams({ image })}`);
}

async function pinsOf(mirror: Mirror): Promise<PinsReport> {
  return pinsSchema.parse((await askPins(mirror, "GET")).json);
}

/** What is told once `holds` is so; time passes meanwhile. */
async function pinsUntil(
  mirror: Mirror,
  what: string,
  holds: (report: PinsReport) => boolean,
): Promise<PinsReport> {
  for (let times = 0; times < 2_000; times++) {
    const report = await pinsOf(mirror);
    if (holds(report)) return report;
    mock.timers.tick(times % 10 === 0 ? pinLookInterval : 0);
  }
  throw new Error(`did not come about: ${what}: ${JSON.stringify(await pinsOf(mirror))}`);
}

function states({ pins }: PinsReport): Record<string, string> {
  return Object.fromEntries(pins.map(({ image, state }) => [image, state]));
}

async function start(t: Test, options: MirrorOptions = {}, upstream?: ScriptedUpstream) {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const clock = new ManualClock();
  const from = upstream ?? (await startUpstream(t));
  return { upstream: from, clock, mirror: await startMirror(t, from, { clock: clock.read, ...options }) };
}

t.test("an image that is pinned by command is fetched as a whole, and survives every eviction", async (t) => {
  const { upstream, mirror, clock } = await start(t, { cache: { maxSize: 1_000_000 } });
  upstream.addIndex("team/app", "1.0", index);
  const made = await pin(t, mirror, "team/app:1.0");
  t.match(made, {
    image: "upstream/team/app:1.0",
    origin: "command",
    digest: index.digest,
    pinnedAt: clock.read(),
  });
  const whole = await pinsUntil(mirror, "it is whole", ({ pins }) => pins[0]?.state === "whole");
  t.match(whole, { budgetBytes: 500_000, heldBytes: whole.neededBytes, leftOut: 0 });
  for (let at = 0; at < 12; at++) {
    const other = makeImage({ layers: [200_000], seed: `other ${at}` });
    upstream.addImage("team/other", `${at}`, other);
    await mirror.get(`/v2/team/other/manifests/${at}`);
    for (const { digest } of other.layers)
      t.equal((await mirror.get(`/v2/team/other/blobs/${digest}`)).body.length, 200_000);
  }
  await upstream.stop();
  for (const { digest, bytes } of [amd64, arm64].flatMap(({ config, layers }) => [config, ...layers]))
    t.ok((await mirror.get(`/v2/team/app/blobs/${digest}`)).body.equals(bytes), digest);
  const metrics = await (await fetch(new URL("/metrics", mirror.ops))).text();
  t.match(metrics, /^entrepot_cache_evictions_total.* [1-9]/m, "others had to go");
  t.match(metrics, /^entrepot_pinned_images 1$/m);
  t.match(metrics, /^entrepot_pinned_images_whole 1$/m);
  t.match(metrics, new RegExp(`^entrepot_pinned_bytes ${whole.heldBytes}$`, "m"));
  t.match(metrics, /^entrepot_pin_budget_bytes 500000$/m);
});

t.test("a pin that would be over the budget is refused with what it would come to", async (t) => {
  const { upstream, mirror } = await start(t, {
    cache: { maxSize: 1_000_000 },
    pin: { images: [], budget: { bytes: 300_000 }, refresh: 3_600_000 },
  });
  upstream.addImage("team/app", "amd64", amd64);
  upstream.addImage("team/app", "arm64", arm64);
  const first = await pin(t, mirror, "team/app:amd64");
  const { status, json } = await askPins(mirror, "POST", "", { image: "team/app:arm64" });
  t.equal(status, 409);
  t.equal(json.error?.code, "conflict");
  const [, total, added] =
    /come to (\d+) bytes, with (\d+) for this one, and pin.budget is 300000/.exec(
      json.error?.message ?? "",
    ) ?? [];
  t.equal(Number(total), first.sizeBytes + Number(added));
  t.ok(Number(added) > 150_000);
  t.equal(
    upstream.count({ kind: "blob", reference: arm64.layers[0]?.digest ?? "" }),
    0,
    "no layer was fetched for it",
  );
  t.same(Object.keys(states(await pinsOf(mirror))), ["upstream/team/app:amd64"]);
});

t.test("of two that are pinned at once, and do not fit together, one is refused", async (t) => {
  const index = openIndex({ directory: t.testdir(), clock: () => 1_000 });
  t.teardown(() => index.close());
  const { blobs, graph, tags, pins: store } = index;
  for (const { digest, layers } of [amd64, arm64]) {
    const parts = layers.map(({ digest, bytes }) => ({ digest, size: bytes.length, role: "layer" as const }));
    blobs.setChildren(digest, parts, undefined);
    blobs.add(digest, 5, "application/vnd.oci.image.manifest.v1+json", 1);
  }
  const fetched = gate();
  const config = {
    pin: { budget: { bytes: 300_000 } },
    cache: { maxSize: 1e9 },
    upstreams: [{ name: "hub" }],
  };
  const pins = new Pins({
    config: () => config,
    warm: {
      namesOf: () => [],
      manifestsOf: async (image: string) => {
        await fetched.opened;
        const { digest } = image === "amd64" ? amd64 : arm64;
        return { name: { upstream: "hub", repository: "team/app", reference: digest }, digest };
      },
      fetchPinned: () => undefined,
    },
    log: { warn: () => {} },
    notices: ({ error }: { error: unknown }) => t.fail(String(error)),
    clock: () => 1_000,
    steady: () => 1_000,
  } as unknown as PinsOptions);
  const ownTags = tags as unknown as PinsParts["ownTags"];
  pins.attach({ store, graph, index: blobs, tags, ownTags, neighbours: { list: () => [] } as never });
  const pinned = ["amd64", "arm64"].map((image) => {
    const request = Readable.from([Buffer.from(JSON.stringify({ image }))]);
    return pins.api.answer("", Object.assign(request, { method: "POST", headers: {} }) as IncomingMessage);
  });
  fetched.open();
  const answers = await Promise.all(pinned);
  t.strictSame(answers.map(({ status }) => status).sort(), [201, 409], JSON.stringify(answers));
  t.equal(store.commands().length, 1);
});

t.test("what cannot be pinned or unpinned is said", async (t) => {
  const { upstream, mirror } = await start(t);
  upstream.addImage("team/app", "1.0", amd64);
  const refusals: [status: number, message: RegExp, asked: ReturnType<typeof askPins>][] = [
    [409, /does not have it/, askPins(mirror, "POST", "", { image: "team/none:1.0" })],
    [400, /expected/, askPins(mirror, "POST", "", { image: "Team App" })],
    [400, /expected/, askPins(mirror, "POST", "", {})],
    [404, /team\/app:1.0 is not pinned/, unpin(mirror, "team/app:1.0")],
    [400, /\?image= is missing/, askPins(mirror, "DELETE")],
    [405, /only GET, HEAD, POST, DELETE/, askPins(mirror, "PUT", "", {})],
  ];
  for (const [status, message, asked] of refusals) {
    const answer = await asked;
    t.equal(answer.status, status);
    t.match(answer.json.error?.message, message);
  }
  const line = await mirror.line(({ event, method }) => event === "audit" && method === "POST");
  t.match(line, { path: "/api/v1/pins", who: "local", about: [/./] });
});

t.test("unpinned, it may be evicted again; under another name of it, too", async (t) => {
  const { upstream, mirror } = await start(t);
  upstream.addImage("team/app", "1.0", amd64);
  await pin(t, mirror, "team/app:1.0");
  t.match(await pin(t, mirror, "upstream/team/app:1.0"), { image: "upstream/team/app:1.0" }, "again");
  const { status, json } = await unpin(mirror, "team/app:1.0");
  t.equal(status, 200);
  t.same(unpinnedSchema.parse(json), { image: "upstream/team/app:1.0", stillConfigured: false });
  const { pins, heldBytes } = await pinsOf(mirror);
  t.same({ pins, heldBytes }, { pins: [], heldBytes: 0 });
});

t.test(
  "patterns of the configuration pin what was pulled, and fetch what they name as a whole",
  async (t) => {
    const { upstream, mirror } = await start(t, {
      cache: { maxSize: 1_000_000 },
      pin: {
        images: ["upstream/team/tool:2.0", "upstream/team/**:v*"],
        budget: { bytes: 400_000 },
        refresh: 3_600_000,
      },
    });
    const big = makeImage({ layers: [250_000], seed: "big" });
    upstream.addImage("team/tool", "2.0", amd64);
    upstream.addImage("team/app", "v1", arm64);
    upstream.addImage("team/app", "v2", big);
    upstream.addImage("team/app", "latest", big);
    for (const tag of ["v1", "v2", "latest"]) await mirror.get(`/v2/team/app/manifests/${tag}`);
    const report = await pinsUntil(
      mirror,
      "what fits is whole",
      ({ pins }) => pins.filter(({ state }) => state === "whole").length === 2 && pins.length === 3,
    );
    t.same(states(report), {
      "upstream/team/tool:2.0": "whole",
      "upstream/team/app:v1": "whole",
      "upstream/team/app:v2": "over_budget",
    });
    t.ok(report.neededBytes > report.budgetBytes);
    const warning = await mirror.line(({ msg }) => String(msg).includes("do not fit in pin.budget"));
    t.match(warning, { budget: 400_000, images: ["upstream/team/app:v2"], not_pinned: 1 });
    t.ok(Number(warning.needed) > 400_000);
    const { status, json } = await unpin(mirror, "team/app:v1");
    t.equal(status, 409);
    t.match(json.error?.message, /pinned by the configuration/);
  },
);

t.test(
  "a pinned tag that moves is confirmed, and the new image fetched before the old one is let go",
  async (t) => {
    const { upstream, mirror, clock } = await start(t);
    upstream.addImage("team/app", "latest", amd64);
    await pin(t, mirror, "team/app:latest");
    await pinsUntil(mirror, "it is whole", ({ pins }) => pins[0]?.state === "whole");
    upstream.addImage("team/app", "latest", arm64);
    upstream.forget();
    clock.advance(3_600_000);
    const moved = await pinsUntil(
      mirror,
      "the new one is whole",
      ({ pins }) => pins[0]?.digest === arm64.digest && pins[0].state === "whole",
    );
    t.equal(moved.heldBytes, moved.pins[0]?.sizeBytes, "and the old one is held no more");
    t.equal(upstream.count({ kind: "blob", reference: arm64.layers[0]?.digest ?? "" }), 1);
  },
);

t.test("what is pinned on one node is pinned on all, and on one that was away when it is back", async (t) => {
  const secret = fixedSecret(new Secret("a secret of all nodes".padEnd(32, "x")));
  const ports = [await freePort(), await freePort()];
  const nodes = ports.map((port) => `http://127.0.0.1:${port}`);
  const root = t.testdir({ a: {}, b: {} });
  const optionsOf = (at: 0 | 1): MirrorOptions => {
    const name = "ab"[at] as string;
    return {
      node: { name, address: nodes[at], secret },
      nodes,
      port: ports[at] as number,
      cache: { dir: `${root}/${name}` },
    };
  };
  const { upstream, mirror: a, clock } = await start(t, optionsOf(0));
  upstream.addImage("team/app", "1.0", amd64);
  upstream.addImage("team/app", "2.0", arm64);
  const startB = () => startMirror(t, upstream, { clock: clock.read, ...optionsOf(1) });
  const heard = async (mirror: Mirror, images: Record<string, string>) =>
    await pinsUntil(mirror, JSON.stringify(images), (report) => {
      mock.timers.tick(pinExchangeInterval);
      return JSON.stringify(states(report)) === JSON.stringify(images);
    });
  const b = await startB();
  await pin(t, a, "team/app:1.0");
  await heard(b, { "upstream/team/app:1.0": "whole" });
  await b.app.stop();
  clock.advance(1_000);
  await pin(t, a, "team/app:2.0");
  t.equal((await unpin(a, "team/app:1.0")).status, 200);
  const back = await startB();
  await heard(back, { "upstream/team/app:2.0": "whole" });
  clock.advance(1_000);
  t.equal((await unpin(back, "team/app:2.0")).status, 200);
  await heard(a, {});
});
