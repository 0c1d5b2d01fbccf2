// While upstream is away who has proved a right before keeps it for an hour at most. Nobody gets a new one.
import t from "tap";
import { login } from "../fixtures/access.ts";
import { makeImage } from "../fixtures/images.ts";
import { startPassthrough } from "../fixtures/passthrough.ts";
import type { Fault } from "../fixtures/upstream-fault.ts";

const minute = 60_000;
const image = makeImage({ layers: [5_000], seed: "outage" });
const layer = image.layers[0]?.digest ?? "";
const alice = login("alice", "alice-pw");
const carol = login("carol", "carol-pw");
const path = "/v2/team/app/manifests/1";

const outages: Readonly<Record<string, Fault | "stopped">> = {
  "connections refused": "stopped",
  "connections reset": { reset: true },
  "5xx": { status: 503 },
  "429": { status: 429 },
  "time-outs": { hang: true },
};

for (const [name, outage] of Object.entries(outages))
  t.test(`upstream is away: ${name}`, async (t) => {
    const time = { now: 1_000_000 };
    const clock = (): number => time.now;
    const { upstream, mirror } = await startPassthrough(
      t,
      {
        alice: { password: "alice-pw", reads: ["team/app"] },
        carol: { password: "carol-pw", reads: ["team/app"] },
      },
      { clock, steady: clock, upstream: { firstByteTimeout: name === "time-outs" ? 1_000 : 60_000 } },
    );
    upstream.addImage("team/app", "1", image);
    for (const what of [path, `/v2/team/app/blobs/${layer}`])
      t.equal((await mirror.get(what, alice)).status, 200);
    if (outage === "stopped") await upstream.stop();
    else upstream.fault(() => outage);
    time.now += 5 * minute;
    const stale = await mirror.get(path, alice);
    t.equal(stale.status, 200, "extended");
    t.match(stale.headers.warning, /stale tag/);
    t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 200);
    const never = await mirror.get(path, carol);
    t.ok([429, 502, 504].includes(never.status), `never made: ${never.status}`);
    t.notOk(never.headers["cache-status"]);
    t.equal((await mirror.get(path)).status, 401);
    time.now += 60 * minute - 1;
    t.equal((await mirror.get(`/v2/team/app/blobs/${layer}`, alice)).status, 200);
    time.now += 1;
    const over = await mirror.get(`/v2/team/app/blobs/${layer}`, alice);
    t.ok([429, 502, 504].includes(over.status), `an hour at most: ${over.status}`);
  });
