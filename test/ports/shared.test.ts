// The suites of what nodes share, on the one in memory that other tests build on.
import t from "tap";
import { announcementsSuite } from "../fixtures/announcements-suite.ts";
import { leasesSuite } from "../fixtures/leases-suite.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { MemoryShared } from "../fixtures/memory-shared.ts";

t.test("leases", (t) =>
  leasesSuite(
    t,
    async () => {
      const shared = new MemoryShared();
      return {
        node: (address) => {
          const node = shared.node(address);
          return { leases: node.leases, die: () => node.die(), announced: node.announcements.published };
        },
      };
    },
    async (_what, holds) => t.ok(await holds()),
  ),
);

t.test("announcements", (t) =>
  announcementsSuite(
    t,
    async () => {
      const shared = new MemoryShared();
      return { node: async () => shared.node().announcements, garbage: async () => {} };
    },
    eventually,
  ),
);

t.test("what is made to fail fails", async (t) => {
  const shared = new MemoryShared();
  const node = shared.node();
  const taken = await node.leases.acquire("blob a");
  if (!("lease" in taken)) throw new Error("it was free");
  shared.expire("blob a");
  t.ok(taken.lease.lost.aborted);
  shared.working = false;
  await t.rejects(node.leases.acquire("blob a"), { code: "unavailable" });
  t.notOk(node.usable);
});
