import t from "tap";
import type { PinReport, PinsReport } from "../../src/ops/pins/pin-report.ts";
import { commandLine } from "../fixtures/command-line.ts";
import { type JsonReply, startJsonServer } from "../fixtures/json-server.ts";

function report(image: string, changes: Partial<PinReport> = {}): PinReport {
  return {
    image: `hub/${image}`,
    upstream: "hub",
    repository: "team/app",
    reference: "1.0",
    origin: "command",
    pinnedAt: 1,
    state: "whole",
    digest: "sha256:d",
    parts: 3,
    sizeBytes: 20_000,
    hereBytes: 20_000,
    reason: null,
    ...changes,
  };
}

const refusal = (status: number, message: string): JsonReply => ({
  status,
  json: { error: { code: "conflict", message } },
});

t.test(
  "images are pinned one after the other; one that is refused is 1, and the others are pinned",
  async (t) => {
    const { asked, url } = await startJsonServer(t, ({ body }) =>
      body.includes("big")
        ? refusal(409, "hub/team/big:1 is not pinned: pinned images would come to 9000 bytes")
        : { status: 201, json: report("team/app:1.0", { state: "incomplete", hereBytes: 5_000 }) },
    );
    const line = commandLine(["pin", "team/big:1", "team/app:1.0", "--ops", url.host]);
    t.equal(await line.exit, 1);
    t.equal(line.out(), "pinned hub/team/app:1.0  not all here yet, 5.00 kB of 20.0 kB, by command\n");
    t.match(line.err(), /would come to 9000 bytes/);
    t.same(
      asked.map(({ method, path, body }) => [method, path, JSON.parse(body)]),
      ["team/big:1", "team/app:1.0"].map((image) => ["POST", "/api/v1/pins", { image }]),
    );
    const good = commandLine(["pin", "team/app:1.0", "--json", "--ops", url.host]);
    t.equal(await good.exit, 0);
    t.match(JSON.parse(good.out()), { image: "hub/team/app:1.0" });
    const both = commandLine(["pin", "team/big:1", "team/app:1.0", "--json", "--ops", url.host]);
    t.equal(await both.exit, 1);
    t.match(
      both
        .out()
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
      [{ image: "team/big:1", error: /would come to 9000 bytes/ }, { image: "hub/team/app:1.0" }],
      "a line for each",
    );
  },
);

t.test("a reference that cannot be read, and a mirror that does not answer, are 2", async (t) => {
  const { url } = await startJsonServer(t, () => refusal(400, "image: expected a reference"));
  t.equal(await commandLine(["pin", "X", "--ops", url.host]).exit, 2);
  t.equal(await commandLine(["pin", "--ops", url.host]).exit, 2, "no image");
  t.equal(await commandLine(["pins", "--ops", "127.0.0.1:9"]).exit, 2);
});

t.test("only what is not pinned or cannot be is 1; other refusals are 2, as of every command", async (t) => {
  for (const [status, code] of [
    [404, 1],
    [409, 1],
    [400, 2],
    [401, 2],
    [413, 2],
    [429, 2],
    [500, 2],
    [503, 2],
  ] as const) {
    const { url } = await startJsonServer(t, () => refusal(status, "no"));
    for (const command of ["pin", "unpin"])
      t.equal(await commandLine([command, "app", "--ops", url.host]).exit, code, `${command} ${status}`);
  }
});

t.test("an image that is told of as not held is not pinned", async (t) => {
  for (const state of ["over_budget", "too_large"] as const) {
    const { url } = await startJsonServer(t, () => ({ status: 201, json: report("app:1", { state }) }));
    const line = commandLine(["pin", "app:1", "--ops", url.host]);
    t.equal(await line.exit, 1, state);
    t.match(line.out(), /^hub\/app:1 {2}NOT PINNED: /);
  }
});

t.test("images are unpinned", async (t) => {
  const { asked, url } = await startJsonServer(t, ({ path }) =>
    path.includes("none")
      ? refusal(404, "team/none:1 is not pinned")
      : { json: { image: "hub/team/app:1.0", stillConfigured: path.endsWith("v1") } },
  );
  const line = commandLine(["unpin", "team/app:1.0", "team/app:v1", "--ops", url.host]);
  t.equal(await line.exit, 0);
  t.equal(
    line.out(),
    "unpinned hub/team/app:1.0\nunpinned hub/team/app:1.0, which the configuration still pins\n",
  );
  t.same([asked[0]?.method, asked[0]?.path], ["DELETE", "/api/v1/pins?image=team%2Fapp%3A1.0"]);
  t.equal(await commandLine(["unpin", "team/none:1", "--ops", url.host]).exit, 1);
});

t.test("pins are listed; one that is not here as a whole is 1", async (t) => {
  const whole: PinsReport = {
    schema: 1,
    at: 1,
    budgetBytes: 100_000,
    heldBytes: 20_000,
    neededBytes: 20_000,
    leftOut: 0,
    pins: [report("team/app:1.0")],
  };
  const answers = { now: whole };
  const { url } = await startJsonServer(t, () => ({ json: answers.now }));
  const good = commandLine(["pins", "--ops", url.host]);
  t.equal(await good.exit, 0);
  t.equal(
    good.out(),
    "hub/team/app:1.0  whole, 20.0 kB, by command\n1 pinned image: 20.0 kB of 100 kB held\n",
  );
  answers.now = {
    ...whole,
    neededBytes: 120_000,
    leftOut: 2,
    pins: [
      report("team/app:1.0", { state: "unknown", reason: "upstream hub does not have it" }),
      report("team/web:v1", {
        state: "over_budget",
        sizeBytes: 100_000,
        origin: "configuration",
        pinnedAt: null,
      }),
    ],
  };
  const bad = commandLine(["pins", "--ops", url.host]);
  t.equal(await bad.exit, 1);
  t.same(bad.out().split("\n"), [
    "hub/team/app:1.0  not known yet, by command (upstream hub does not have it)",
    "hub/team/web:v1  NOT PINNED: over the budget, 100 kB, by configuration",
    "2 more are not pinned: there are too many",
    "2 pinned images: 20.0 kB of 100 kB held; all of them would come to 120 kB",
    "",
  ]);
});
