// What repositories may read is forgotten with what is evicted, and upstream is asked again.
import { mock } from "node:test";
import t from "tap";
import type { Notice } from "../src/ports/event.ts";
import { randomBytesFor } from "./fixtures/images.ts";
import { eventually, ManualClock } from "./fixtures/manual-time.ts";
import { startMirror } from "./fixtures/mirror.ts";
import { startUpstream } from "./fixtures/scripted-upstream.ts";

const size = 100_000;

t.test("links of an evicted blob end, in the index and in memory, and upstream is asked once", async (t) => {
  mock.timers.enable({ apis: ["setInterval"] });
  t.teardown(() => mock.timers.reset());
  const clock = new ManualClock();
  const upstream = await startUpstream(t);
  const bytes = randomBytesFor("wanted", size);
  const digest = upstream.addBlob("team/app", bytes);
  upstream.addBlob("team/other", bytes);
  const evicting = upstream.addBlob("team/app", randomBytesFor("another", size));
  const notices: Notice[] = [];
  const stored = () => notices.filter(({ kind }) => kind === "fill").length;
  const mirror = await startMirror(t, upstream, {
    clock: clock.read,
    cache: { maxSize: 1.5 * size },
    sinks: [{ name: "test", onNotice: (notice) => notices.push(notice) }],
  });
  await mirror.line(({ msg }) => msg === "made the index agree with the store");
  const pull = async (repository: string, blob = digest): Promise<void> => {
    const { status, complete } = await mirror.get(`/v2/${repository}/blobs/${blob}`);
    t.same([status, complete], [200, true]);
  };
  const asked = (repository: string): number => upstream.count({ repository, reference: digest });
  await pull("team/app");
  await eventually("it is stored", () => stored() === 1);
  for (const _ of [1, 2]) for (const repository of ["team/app", "team/other"]) await pull(repository);
  t.same([asked("team/app"), asked("team/other")], [1, 1], "what is linked is not asked for");

  clock.advance(1_000);
  await pull("team/app", evicting);
  await eventually("the first is evicted", () =>
    notices.some((notice) => notice.kind === "eviction" && notice.digest === digest),
  );
  clock.advance(2 * 3_600_000);
  mock.timers.tick(1_000);
  await pull("team/app");
  t.same([asked("team/app"), asked("team/other")], [2, 1]);
  for (const _ of [1, 2]) await pull("team/other");
  t.same([asked("team/app"), asked("team/other")], [2, 2], "its right had ended with the bytes");
});
