import t from "tap";
import { toldPinsSchema } from "../../../src/ports/datacenter/pins-schema.ts";
import { maxCommanded } from "../../../src/ports/pins/pins.ts";

const told = { upstream: "hub@0123456789ab", repository: "team/app", reference: "1.0", pinned: true, at: 10 };

t.test("what another node says is read, and what it says besides is left out", async (t) => {
  const digest = `sha256:${"ab".repeat(32)}`;
  const pins = [told, { ...told, reference: digest, pinned: false }];
  t.strictSame(toldPinsSchema.parse({ pins: [{ ...told, more: 1 }, pins[1]], else: true }), { pins });
  t.strictSame(toldPinsSchema.parse({ pins: [] }), { pins: [] });
});

t.test("what is no pin is not read", async (t) => {
  for (const wrong of [
    { ...told, repository: "Team//app" },
    { ...told, reference: "a b" },
    { ...told, reference: "sha256:12" },
    { ...told, pinned: 1 },
    { ...told, at: -1 },
    { ...told, at: 1e17 },
    { ...told, upstream: "x".repeat(301) },
  ])
    t.notOk(toldPinsSchema.safeParse({ pins: [wrong] }).success, JSON.stringify(wrong).slice(0, 120));
  t.notOk(toldPinsSchema.safeParse({ pins: Array(2 * maxCommanded + 1).fill(told) }).success);
  t.notOk(toldPinsSchema.safeParse({}).success);
});
