import t from "tap";
import { Maintenance, type MaintenanceOptions, type MaintenanceParts } from "../../src/app/maintenance.ts";
import { gate } from "../fixtures/manual-time.ts";

t.test("its end waits for the thread that copies the index, though nothing changed since", async (t) => {
  const stopping = new AbortController();
  const [begun, held] = [gate(), gate()];
  let copies = 0;
  const index = {
    needsReconcile: false,
    pause: undefined,
    changed: true,
    graph: { unreadAfter: () => undefined },
    async copy() {
      copies++;
      index.changed = false;
      begun.open();
      await held.opened;
    },
  };
  const store = { created: false, sweep: async () => 0, probe: async () => false };
  const maintenance = new Maintenance({
    ...{ store, index, health: { set: () => {} }, indexCopied: () => {}, log: {} },
    ...{ notices: (notice: unknown) => t.fail(JSON.stringify(notice)), clock: () => 0, steady: () => 0 },
    pause: () => new Promise(() => {}),
    signal: stopping.signal,
  } as unknown as MaintenanceOptions);
  maintenance.start({
    eviction: { run: async () => {} },
    scrubber: { start: () => {}, stop: async () => {} },
    refreshAhead: { look: () => {} },
    checkShared: async () => {},
    uploadOverdue: async () => {},
  } as unknown as MaintenanceParts);
  await begun.opened;
  stopping.abort();
  let isOver = false;
  const ended = maintenance.end().then(() => {
    isOver = true;
  });
  for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(isOver, false, "the thread still writes");
  held.open();
  await ended;
  t.equal(copies, 1);
});
