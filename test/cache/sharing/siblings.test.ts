import t, { type Test } from "tap";
import { Siblings } from "../../../src/cache/sharing/siblings.ts";
import type { Notice } from "../../../src/ports/event.ts";
import { UpstreamError } from "../../../src/ports/upstream.ts";
import { randomBytesFor } from "../../fixtures/images.ts";
import { ManualClock, ManualPause } from "../../fixtures/manual-time.ts";
import { repo, sha256 } from "../../fixtures/memory-upstream.ts";
import { MemorySibling } from "../../fixtures/siblings.ts";

const bytes = randomBytesFor("layer", 100_000);
const digest = sha256(bytes);
const scope = { upstream: "up", repository: repo("team/app") };
const mebibyte = 1024 * 1024;

function siblingsOf(_: Test, ...names: string[]) {
  const clock = new ManualClock();
  const time = new ManualPause();
  const notices: Notice[] = [];
  const all = names.map((name) => new MemorySibling(name));
  for (const sibling of all) sibling.timeout = 5_000;
  const siblings = new Siblings({
    siblings: all,
    notices: (notice) => notices.push(notice),
    clock: clock.read,
    pause: time.pause,
  });
  const state = () => siblings.verdicts.map((verdict) => verdict.state);
  const { signal } = new AbortController();
  const open = (name: string) => siblings.open(name, scope, digest, 0, signal);
  return { clock, time, notices, all: all as [MemorySibling, ...MemorySibling[]], siblings, state, open };
}

t.test(
  "those that are not measured are asked first, in the order of the configuration; then the fastest",
  async (t) => {
    const { siblings, clock } = siblingsOf(t, "a", "b", "c");
    t.same(siblings.toAsk("up", true), ["a", "b", "c"]);
    siblings.came("a", mebibyte, 1_000);
    siblings.came("b", mebibyte, 100);
    t.same(siblings.toAsk("up", true), ["c", "b", "a"]);
    siblings.came("c", mebibyte, 500);
    t.same(siblings.toAsk("up", true), ["b", "c", "a"]);
    clock.advance(600_000);
    t.same(siblings.toAsk("up", true), ["a", "b", "c"], "a rate is believed for ten minutes");
  },
);

t.test("one that is slower than the upstream is not asked, unless the upstream is away", async (t) => {
  const { siblings, state, all, clock } = siblingsOf(t, "a", "b");
  siblings.came("a", mebibyte, 1_000);
  siblings.came("b", mebibyte, 10_000);
  siblings.cameFrom("up", mebibyte, 2_000);
  t.same(siblings.toAsk("up", true), ["a"]);
  t.same(siblings.toAsk("up", false), ["a", "b"]);
  t.same(siblings.toAsk("other", true), ["a", "b"], "nothing is known of that one");
  t.same(state(), ["asked", "slow"]);
  siblings.cameFrom("other", mebibyte, 20_000);
  t.same(state(), ["asked", "asked"], "it is faster than one of them");
  if (all[1] !== undefined) all[1].upstreams = ["up"];
  t.same(state(), ["asked", "slow"], "about which nobody asks it");
  clock.advance(600_000);
  t.same(state(), ["asked", "asked"]);
});

t.test("what a transfer has to bring follows what the upstream does", async (t) => {
  const { siblings } = siblingsOf(t, "a");
  t.equal(siblings.least("up"), 64);
  siblings.cameFrom("up", mebibyte, 1_024);
  t.equal(siblings.least("up"), 512);
});

t.test("one that is not asked about the upstream, or does not answer, is left out", async (t) => {
  const { siblings, state, all } = siblingsOf(t, "a", "b");
  all[0].upstreams = ["hub"];
  t.same(siblings.toAsk("up", true), ["b"]);
  t.same(siblings.toAsk("hub", true), ["a", "b"]);
  all[0].available = false;
  t.same(siblings.toAsk("hub", true), ["b"]);
  t.same(state(), ["away", "asked"]);
});

t.test("after a failure it rests for ten seconds", async (t) => {
  const { siblings, state, all, clock, open, notices } = siblingsOf(t, "a");
  all[0].fault = () => {
    throw new UpstreamError("unreachable", "nobody there");
  };
  t.equal(await open("a"), "failed");
  t.same(notices, [{ kind: "sibling", sibling: "a", result: "failed", message: "nobody there" }]);
  t.same(siblings.toAsk("up", true), []);
  t.same(state(), ["resting"]);
  t.match(siblings.verdicts[0]?.lastError, { at: clock.now, message: "nobody there" });
  clock.advance(10_000);
  t.same(siblings.toAsk("up", true), ["a"]);
  all[0].fault = () => {
    throw new UpstreamError("circuit_open", "known before");
  };
  t.equal(await open("a"), "failed");
  t.equal(notices.length, 1, "that is no failure of its own");
});

t.test("after wrong bytes it is not asked for ten minutes", async (t) => {
  const { siblings, state, clock } = siblingsOf(t, "a");
  siblings.wrong("a", "another digest");
  clock.advance(599_999);
  t.same(siblings.toAsk("up", false), []);
  t.same(state(), ["distrusted"]);
  clock.advance(1);
  t.same(siblings.toAsk("up", true), ["a"]);
});

t.test("that it does not have it is no failure; that it does not let this mirror read is told", async (t) => {
  const { siblings, all, open } = siblingsOf(t, "a");
  t.equal(await open("a"), undefined);
  t.match(siblings.verdicts, [{ state: "asked", results: { miss: 1, failed: 0 }, lastError: undefined }]);
  all[0].open = async () => ({ kind: "denied" });
  t.equal(await open("a"), undefined);
  t.match(siblings.verdicts, [
    { state: "asked", results: { miss: 2 }, lastError: { message: /does not let/ } },
  ]);
});

t.test(
  "one that lets this mirror read nothing of a repository is not asked about it for ten seconds",
  async (t) => {
    const { siblings, all, open, clock } = siblingsOf(t, "a");
    let asked = 0;
    all[0].open = async () => {
      asked++;
      return { kind: "denied" };
    };
    for (let i = 0; i < 3; i++) t.equal(await open("a"), undefined);
    t.equal(asked, 1);
    t.equal(siblings.verdicts[0]?.results.miss, 1);
    const other = { ...scope, repository: repo("team/other") };
    await siblings.open("a", other, digest, 0, new AbortController().signal);
    t.equal(asked, 2, "what holds of one repository need not of another");
    clock.advance(10_000);
    await open("a");
    t.equal(asked, 3);
  },
);

t.test("what has a doubt about it is not read, and what is found counts when it is used", async (t) => {
  const { siblings, all, open } = siblingsOf(t, "a");
  all[0].blobs.set(digest, bytes);
  const found = await open("a");
  t.match(found, { kind: "found", size: bytes.length });
  t.equal(siblings.verdicts[0]?.results.hit, 0);
  siblings.hit("a");
  t.match(siblings.verdicts, [{ results: { hit: 1 } }]);
  const { open: plain } = all[0];
  all[0].open = async (...asked) =>
    ({ ...(await plain.apply(all[0], asked)), doubt: "sent a web page" }) as never;
  t.equal(await open("a"), "failed");
  t.equal(all[0].sending, 1, "only the first is still there");
});

t.test("who stops waiting is told so, and it is nobody's failure", async (t) => {
  const { siblings, all, notices } = siblingsOf(t, "a");
  const over = new AbortController();
  all[0].fault = () => new Promise(() => {});
  const opening = siblings.open("a", scope, digest, 0, over.signal);
  over.abort(new Error("the client has left"));
  await t.rejects(opening, { message: "the client has left" });
  t.same(notices, []);
});
