import t from "tap";
import type { buildConnector } from "undici";
import { TimedConnector } from "../../../src/upstream/connection/connections.ts";

type Callback = buildConnector.Callback;

t.test("the quickest connection counts, half of it over TLS, and failures do not", async (t) => {
  let now = 1_000;
  const pending: Callback[] = [];
  const timed = new TimedConnector(
    (_, callback) => void pending.push(callback),
    () => now,
  );
  let connected = 0;
  const after = (milliseconds: number, protocol: string, ...result: Parameters<Callback>): void => {
    timed.connect({ hostname: "registry.example.com", protocol, port: "" }, () => {
      connected++;
    });
    now += milliseconds;
    pending.pop()?.(...result);
  };
  const socket = {} as Exclude<Parameters<Callback>[1], null>;
  t.equal(timed.roundTrip, undefined);
  after(1, "http:", new Error("refused"), null);
  t.equal(timed.roundTrip, undefined);
  after(40, "http:", null, socket);
  t.equal(timed.roundTrip, 40);
  after(90, "http:", null, socket);
  t.equal(timed.roundTrip, 40);
  after(70, "https:", null, socket);
  t.equal(timed.roundTrip, 35);
  t.equal(connected, 4, "every result is passed on");
});
