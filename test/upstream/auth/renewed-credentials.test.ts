import { inspect } from "node:util";
import t from "tap";
import { Credentials } from "../../../src/upstream/auth/credentials.ts";
import {
  type EndingCredentials,
  RenewedCredentials,
  SourceFailure,
} from "../../../src/upstream/auth/renewed-credentials.ts";
import { upstreamError } from "../../fixtures/connected-upstream.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const hour = 3_600_000;

/** A source that gives `secret 1`, `secret 2` and so on for twelve hours each. */
function setUp(timeout = 60_000) {
  const clock = new ManualClock();
  const state = { asked: 0, life: 12 * hour, failure: undefined as Error | undefined, same: false };
  let settled = Promise.resolve();
  const ask = async (): Promise<EndingCredentials> => {
    state.asked++;
    await settled;
    if (state.failure !== undefined) throw state.failure;
    return { account: new Credentials("AWS", `secret ${state.same ? 1 : state.asked}`), life: state.life };
  };
  const source = new RenewedCredentials({ label: "main: its source", ask, clock: clock.read, timeout });
  const read = async () => (await source.read()).reveal();
  const hold = () => {
    const gate = Promise.withResolvers<void>();
    settled = gate.promise;
    return gate.resolve;
  };
  return { clock, state, source, read, hold };
}

/** Lets a renewal in the background end. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

t.test("asked once by all, and again before the end, without anybody waiting for it", async (t) => {
  const { clock, state, read, hold } = setUp();
  t.same(await Promise.all([read(), read(), read()]), ["secret 1", "secret 1", "secret 1"]);
  clock.advance(9 * hour - 1);
  t.equal(await read(), "secret 1");
  t.equal(state.asked, 1);
  const release = hold();
  clock.advance(1);
  t.same([await read(), await read()], ["secret 1", "secret 1"], "the one in hand is still good");
  t.equal(state.asked, 2);
  release();
  await turn();
  t.equal(await read(), "secret 2");
});

t.test("while the source fails what is still good goes on, and it is asked every half minute", async (t) => {
  const { clock, state, read } = setUp();
  await read();
  clock.advance(10 * hour);
  state.failure = new Error("s3cret");
  for (let i = 0; i < 5; i++) {
    t.equal(await read(), "secret 1");
    await turn();
  }
  t.equal(state.asked, 2);
  clock.advance(30_000);
  t.equal(await read(), "secret 1");
  await turn();
  t.equal(state.asked, 3);
  clock.advance(2 * hour);
  const error = await upstreamError(read());
  t.match(error, { code: "auth", message: "upstream main: its source failed (Error)" });
  t.notMatch(inspect(error), /s3cret/);
  await upstreamError(read());
  t.equal(state.asked, 4, "and once a second when there is nothing left");
  state.failure = undefined;
  clock.advance(1_000);
  t.equal(await read(), "secret 5");
});

t.test("what upstream refuses is asked for again, and the same again is of no use", async (t) => {
  const { state, source } = setUp();
  const refused = await source.read();
  const renewed = await Promise.all([source.renew(refused), source.renew(refused)]);
  t.same(
    renewed.map((account) => account?.reveal()),
    ["secret 2", "secret 2"],
  );
  t.equal((await source.renew(refused))?.reveal(), "secret 2", "a late request gets what is known by now");
  t.equal(state.asked, 2);
  state.same = true;
  const { source: constant, state: again } = setUp();
  again.same = true;
  t.equal(await constant.renew(await constant.read()), undefined);
});

t.test("a life that makes no sense is a minute, and never more than a day", async (t) => {
  for (const [life, good] of [
    [-5, 59_999],
    [Number.NaN, 59_999],
    [400 * 24 * hour, 24 * hour - 1],
  ] as const) {
    const { clock, state, read } = setUp();
    state.life = life;
    await read();
    state.failure = new SourceFailure("said no");
    clock.advance(good);
    t.equal(await read(), "secret 1", `${life}`);
    await turn();
    clock.advance(30_001);
    t.match(await upstreamError(read()), { message: "upstream main: its source said no" });
  }
});

t.test("a source that hangs is waited for so long, and not after closing", async (t) => {
  // The time-out itself keeps no process alive.
  const alive = setInterval(() => {}, 60_000);
  t.teardown(() => clearInterval(alive));
  const { read, hold } = setUp(20);
  const release = hold();
  t.match(await upstreamError(read()), { code: "auth", message: /gave no answer in 20 ms$/ });
  const other = setUp();
  const releaseOther = other.hold();
  const reading = upstreamError(other.read());
  other.source.close();
  t.match(await reading, { code: "auth" });
  release();
  releaseOther();
});
