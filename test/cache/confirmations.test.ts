import t from "tap";
import { Access } from "../../src/cache/access.ts";
import { Confirmations } from "../../src/cache/confirmations.ts";
import { NegativeAnswers } from "../../src/cache/negative-answers.ts";
import { remoteRepository } from "../../src/ports/upstream.ts";
import { gate, ManualClock, ManualPause } from "../fixtures/manual-time.ts";
import { MemoryShared } from "../fixtures/memory-shared.ts";
import { MemoryUpstream, repo } from "../fixtures/memory-upstream.ts";

const app = repo("team/app");
const other = repo("team/app2");

function setUp() {
  const [clock, pause, upstream] = [new ManualClock(), new ManualPause(), new MemoryUpstream()];
  pause.instant = () => false;
  const negative = new NegativeAnswers(10_000, clock.read);
  const access = new Access(
    new MemoryShared().links,
    () => {},
    () => undefined,
  );
  const confirmations = new Confirmations({ access, negative, clock: clock.read, pause: pause.pause });
  const digest = upstream.addBlob(app, Buffer.from("blob"));
  upstream.addBlob(other, Buffer.from("blob"));
  const ask = (repository = app) =>
    confirmations.refusal(remoteRepository(upstream, repository), digest, "blob");
  return { clock, pause, upstream, negative, access, confirmations, digest, ask };
}

t.test("two seconds are waited for upstream's word; it counts when it comes later", async (t) => {
  const { pause, upstream, ask, digest } = setUp();
  const answer = gate();
  upstream.fault = () => answer.opened;
  const asked = [ask(), ask()];
  t.same(pause.asked, [2_000, 2_000]);
  pause.elapse();
  t.same(await Promise.all(asked), [undefined, undefined], "what is here counts");
  const last = ask();
  answer.open();
  t.equal(await last, undefined);
  t.same(upstream.calls, [`HEAD blob ${app} ${digest}`], "all of them asked once");
  t.equal(pause.waiting, 0, "and nothing is left waiting");
  await ask();
  t.equal(upstream.calls.length, 1, "the late answer is remembered");
});

t.test("a refusal within two seconds is given, and what is gone is unlinked and remembered", async (t) => {
  const { pause, upstream, access, negative, digest, ask } = setUp();
  await access.link(remoteRepository(upstream, app), [{ digest, size: undefined }]);
  upstream.remove(app, digest);
  t.match(await ask(), { kind: "absent" });
  t.equal(pause.waiting, 0);
  t.notOk(await access.linked(remoteRepository(upstream, app), digest));
  t.ok(negative.has({ upstream: upstream.name, repository: app }, "blob", digest));
});

t.test("an open circuit: upstream is not asked and no request waits", async (t) => {
  const { pause, upstream, digest, ask } = setUp();
  upstream.remove(app, digest);
  upstream.available = false;
  t.equal(await ask(), undefined);
  t.same([upstream.calls, pause.asked], [[], []]);
  upstream.available = true;
  t.match(await ask(), { kind: "absent" }, "what was not asked is not remembered");
});

t.test("an answer is given again for 30 s, and not once its repository has changed", async (t) => {
  const { clock, upstream, confirmations, ask } = setUp();
  const count = (): number => upstream.calls.length;
  await ask();
  await ask(other);
  clock.advance(29_999);
  await ask();
  t.equal(count(), 2);
  clock.advance(2);
  await ask();
  await ask(other);
  t.equal(count(), 4, "30 s later");
  confirmations.forget({ upstream: "elsewhere", repository: app });
  await ask();
  t.equal(count(), 4);
  confirmations.forget({ upstream: upstream.name, repository: app });
  await ask(other);
  t.equal(count(), 4, "its neighbour is known");
  await ask();
  t.equal(count(), 5, "it is asked about");
});

t.test("what upstream was asked before a write is no answer after it", async (t) => {
  const { upstream, confirmations, digest, ask } = setUp();
  const before = gate();
  upstream.fault = () => before.opened;
  const early = ask();
  confirmations.forget({ upstream: upstream.name, repository: app });
  upstream.fault = undefined;
  const late = ask();
  t.equal(upstream.calls.length, 2, "no request joins the question of before");
  await late;
  confirmations.forget({ upstream: upstream.name, repository: app });
  before.open();
  t.equal(await early, undefined);
  upstream.remove(app, digest);
  t.match(await ask(), { kind: "absent" }, "nor is its answer remembered");
});
