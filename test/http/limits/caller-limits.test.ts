import t from "tap";
import type { Caller } from "../../../src/gate/caller.ts";
import { type CallerLimitRule, CallerLimits, OverRate } from "../../../src/http/limits/caller-limits.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";

const rule = (some: Partial<CallerLimitRule>): CallerLimitRule => ({
  users: [],
  groups: [],
  anonymous: false,
  networks: [],
  shared: false,
  ...some,
});
const caller = (name: string | undefined, groups: readonly string[] = [], address = "192.0.2.1"): Caller => ({
  name,
  groups,
  address,
});

function limitsOf(...rules: readonly Partial<CallerLimitRule>[]) {
  const clock = new ManualClock();
  const notices: Notice[] = [];
  const limits = new CallerLimits(rules.map(rule), {
    notices: (notice) => notices.push(notice),
    clock: clock.read,
    after: () => () => {},
  });
  const of = (who: Caller, key = who.name ?? who.address, exempt = false) => limits.of(who, { key, exempt });
  return { of, notices, clock };
}

t.test("the first rule that is for a caller counts", async (t) => {
  const { of } = limitsOf(
    { users: ["alice"], coldFills: 1 },
    { groups: ["ci"], anonymous: true, coldFills: 2 },
    { networks: ["10.0.0.0/8"], coldFills: 3 },
  );
  const most = (who: Caller, exempt = false) => of(who, "key", exempt)?.coldFills?.most;
  t.equal(most(caller("alice", ["ci"])), 1);
  t.equal(most(caller("bob", ["ci"])), 2);
  t.equal(most(caller(undefined)), 2, "one without a name");
  t.equal(most(caller("carol", [], "10.1.1.1")), 3);
  t.equal(most(caller("carol")), undefined);
  t.equal(most(caller("alice"), true), undefined, "an exempt client");
});

t.test("each caller has the limits, or all have them together", async (t) => {
  const { of } = limitsOf(
    { users: ["a", "b"], coldFills: 1, requestsPerSecond: 1 },
    { coldFills: 2, requestsPerSecond: 1, shared: true },
  );
  t.not(of(caller("a"))?.coldFills?.key, of(caller("b"))?.coldFills?.key);
  t.equal(of(caller("c"))?.coldFills?.key, of(caller("d"))?.coldFills?.key);
  t.equal(of(caller("a"))?.request(), undefined);
  t.equal(of(caller("b"))?.request(), undefined, "another caller does not notice");
  t.equal(of(caller("c"))?.request(), undefined);
  t.ok(of(caller("d"))?.request(), "here it does");
});

t.test(
  "ten seconds' worth wait, more are refused, and both are counted by the number of the rule",
  async (t) => {
    const { of, notices } = limitsOf({ users: ["other"], coldFills: 1 }, { requestsPerSecond: 5 });
    const outcomes = Array.from({ length: 60 }, () => {
      try {
        return of(caller("a"))?.request() === undefined ? "now" : "waits";
      } catch (error) {
        if (!(error instanceof OverRate)) throw error;
        t.equal(error.retryAfter, 11, "seconds after which there is room again");
        return "refused";
      }
    });
    const count = (outcome: string) => outcomes.filter((each) => each === outcome).length;
    t.same([count("now"), count("waits"), count("refused")], [5, 50, 5]);
    t.same(
      ["waited", "refused"].map(
        (result) =>
          notices.filter((each) => each.kind === "caller_limit" && each.rule === 2 && each.result === result)
            .length,
      ),
      [50, 5],
    );
  },
);

t.test("a newcomer waits its turn while another caller's queue is full", async (t) => {
  const { of } = limitsOf({ requestsPerSecond: 1, shared: true });
  for (let i = 0; i < 11; i++) of(caller("farm"))?.request();
  t.throws(() => of(caller("farm"))?.request(), OverRate);
  t.ok(of(caller("production"))?.request());
});

t.test(
  "bytes: those of a second at once, and then at the rate; an answer that is over waits no more",
  async (t) => {
    const { of, clock } = limitsOf({ bytesPerSecond: 100_000 });
    const pacer = of(caller("a"))?.pacer();
    t.equal(pacer?.came(100_000), undefined);
    const turn = pacer?.came(50_000);
    t.ok(turn);
    pacer?.over();
    await turn;
    t.equal(pacer?.came(1_000_000), undefined);
    clock.advance(1_000);
    const next = of(caller("a"))?.pacer();
    next?.count(60_000);
    t.equal(next?.came(40_000), undefined, "what went out at once has been counted");
    t.ok(next?.came(1));
    t.equal(of(caller("b"))?.pacer()?.came(100_000), undefined);
  },
);
