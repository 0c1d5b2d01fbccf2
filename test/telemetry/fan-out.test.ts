import t from "tap";
import { fanOut } from "../../src/telemetry/fan-out.ts";
import { sampleEvent } from "../fixtures/telemetry-samples.ts";

t.test("every sink hears everything, in order, whatever the others throw", async (t) => {
  const heard: string[] = [];
  const failures: string[] = [];
  const throws = (): never => {
    throw new Error("broken");
  };
  const { onEvent, onNotice } = fanOut(
    [
      { name: "a", onEvent: () => heard.push("a event"), onNotice: () => heard.push("a notice") },
      { name: "b", onEvent: throws, onNotice: throws },
      { name: "c", onEvent: () => heard.push("c event") },
      { name: "d", onNotice: () => heard.push("d notice") },
    ],
    (sink, error) => {
      failures.push(`${sink}: ${(error as Error).message}`);
      throw new Error("the reporter is broken too");
    },
  );
  onEvent(sampleEvent());
  onNotice({ kind: "rate_limit", upstream: "hub", remaining: 1 });
  t.strictSame(heard, ["a event", "c event", "a notice", "d notice"]);
  t.strictSame(failures, ["b: broken", "b: broken"]);
});
