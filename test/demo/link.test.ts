import t from "tap";
import { makeLink } from "../../src/demo/link.ts";
import { quiet } from "../fixtures/manual-time.ts";

const kib = 1024;
async function receive(slices: AsyncIterable<Buffer>): Promise<Buffer[]> {
  const received: Buffer[] = [];
  for await (const slice of slices) received.push(slice);
  return received;
}
const never = new AbortController().signal;

t.test("a body arrives unchanged, in slices of at most 32 KiB", async (t) => {
  const link = makeLink({ roundTripMs: 0, bytesPerSecond: 1e9 });
  const body = Buffer.from(Array.from({ length: 100 * kib + 7 }, (_, index) => index % 251));
  const slices = await receive(link.carry(body, never));
  t.ok(slices.every((slice) => slice.length <= 32 * kib));
  t.ok(Buffer.concat(slices).equals(body));
  t.same(await receive(link.carry(Buffer.alloc(0), never)), []);
});

t.test("bodies share the bandwidth and take turns", async (t) => {
  let now = 1_000_000;
  const waiting: { readonly until: number; readonly over: () => void }[] = [];
  const pause = (milliseconds: number) =>
    new Promise<void>((over) => void waiting.push({ until: now + milliseconds, over }));
  const link = makeLink({ roundTripMs: 0, bytesPerSecond: 4_000_000 }, () => now, pause);
  const order: string[] = [];
  const carry = async (name: string): Promise<void> => {
    for await (const _ of link.carry(Buffer.alloc(256 * kib), never)) order.push(name);
  };
  const carried = Promise.all([carry("a"), carry("b")]);
  for (await quiet(); waiting.length > 0; await quiet()) {
    const [next] = waiting.sort((a, b) => a.until - b.until).splice(0, 1);
    now = next?.until ?? now;
    next?.over();
  }
  await carried;
  t.equal(
    (now - 1_000_000).toFixed(3),
    "111.072",
    "512 KiB at 4 MB/s are 131 ms, of which an idle link gives away 20",
  );
  t.equal(order.join(""), "ab".repeat(8));
});

t.test("an idle link saves up no more than a moment of bandwidth", async (t) => {
  let now = 1_000_000;
  const link = makeLink({ roundTripMs: 0, bytesPerSecond: 1_000_000 }, () => now);
  const signal = AbortSignal.abort(new Error("had to wait"));
  const slice = Buffer.alloc(10_000); // 10 ms each
  const take = (): Promise<unknown> => link.carry(slice, signal).next();
  await take();
  await take();
  await t.rejects(take(), { name: "AbortError" }, "the third 10 ms are past the 20 ms of credit");
  now += 60_000;
  await take();
  await take();
  await t.rejects(take(), { name: "AbortError" }, "a minute later it is the same credit");
});

t.test("waiting ends with the signal", async (t) => {
  const link = makeLink({ roundTripMs: 60_000, bytesPerSecond: 1 });
  const leaving = new AbortController();
  const waits: Promise<unknown>[] = [
    link.roundTrip(leaving.signal),
    link.carry(Buffer.alloc(100), leaving.signal).next(),
  ];
  leaving.abort();
  for (const wait of waits) await t.rejects(async () => wait, { name: "AbortError" });
});
