import t from "tap";
import { plainUpstream } from "../../../src/config/config.ts";
import { tagReportSchema } from "../../../src/ops/history/tag-report-schema.ts";
import { staysOfAll, tagReport } from "../../../src/ops/history/tag-stays.ts";
import { parseImageReference } from "../../../src/ops/stats/image-reference.ts";
import { StoreError } from "../../../src/ports/blobs.ts";
import type { OtherNodes } from "../../../src/ports/datacenter/nodes.ts";
import type { TagStay } from "../../../src/ports/history/tag-history.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";

const [a, b] = [digestOf(Buffer.from("a")), digestOf(Buffer.from("b"))] as const;

function stay(digest: TagStay["digest"], firstSeen: number, end?: TagStay["end"], by?: string): TagStay {
  return { digest, firstSeen, by, end };
}

const moved = (at: number) => ({ at, why: "moved" }) as const;
const deleted = (at: number) => ({ at, why: "deleted" }) as const;

t.test("what several nodes have seen is one row of stays", (t) => {
  const seen = [
    { node: "n1", stays: [stay(a, 10, moved(30), "ann"), stay(b, 30, undefined, "bob")] },
    { node: "n2", stays: [stay(a, 12, undefined, "cid")] },
    { node: "n3", stays: [] },
  ];
  t.strictSame(staysOfAll(seen), [
    { digest: a, firstSeenAt: 10, by: "ann", endedAt: 30, ended: "moved", nodes: ["n1", "n2"] },
    { digest: b, firstSeenAt: 30, by: "bob", endedAt: null, ended: null, nodes: ["n1"] },
  ]);
  t.end();
});

t.test("a deletion ends a stay, also for who has not noticed it; then a tag begins anew", (t) => {
  const seen = [
    { node: "n2", stays: [stay(a, 11)] },
    { node: "n1", stays: [stay(a, 10, deleted(20)), stay(a, 40)] },
  ];
  t.match(staysOfAll(seen), [
    { digest: a, firstSeenAt: 10, endedAt: 20, ended: "deleted", nodes: ["n1", "n2"] },
    { digest: a, firstSeenAt: 40, endedAt: null, nodes: ["n1"] },
  ]);
  t.match(staysOfAll([{ node: "n1", stays: [stay(a, 10, deleted(20)), stay(b, 40)] }]), [
    { ended: "deleted" },
    { digest: b, ended: null },
  ]);
  t.end();
});

t.test("a tag that was seen again after another node's deletion is back", (t) => {
  const seen = [
    { node: "n1", stays: [stay(a, 10, deleted(20))] },
    { node: "n2", stays: [{ ...stay(a, 11), lastSeen: 30 }] },
  ];
  t.match(staysOfAll(seen), [
    { digest: a, firstSeenAt: 10, endedAt: 20, ended: "deleted" },
    { digest: a, firstSeenAt: 30, endedAt: null, nodes: ["n2"] },
  ]);
  t.end();
});

function options(others: Readonly<Record<string, readonly TagStay[] | null | undefined>>) {
  const nodes = {
    async tagStays(address: string) {
      const stays = others[address];
      if (!stays) throw new Error("no answer");
      return stays;
    },
  } as unknown as OtherNodes;
  const hub = plainUpstream("hub", new URL("https://registry.example.com"));
  return {
    name: "n1",
    parse: (text: string) => parseImageReference(text, { upstreams: [hub], own: [], port: undefined }),
    history: { of: () => [stay(a, 10)] },
    neighbours: () => ({
      nodes,
      list: () =>
        Object.entries(others).map(([name, said]) => ({ name, address: said === null ? null : name })),
    }),
    clock: () => 1000,
  };
}

t.test("a node that does not answer, or cannot be asked, is named", async (t) => {
  const report = await tagReport(options({ n4: undefined, n3: null, n2: [stay(b, 20)] }), "team/app:1.0");
  t.match(report, {
    ...{ at: 1000, upstream: "hub", repository: "team/app", tag: "1.0", silentNodes: ["n3", "n4"] },
    stays: [
      { digest: a, endedAt: 20 },
      { digest: b, nodes: ["n2"] },
    ],
  });
  t.doesNotThrow(() => tagReportSchema.parse(report));
});

t.test("only a tag has a history; what cannot be read is said", async (t) => {
  t.match(await tagReport(options({}), `team/app@${a}`), { problem: /a digest has no history/ });
  t.match(await tagReport(options({}), "team//app"), { problem: /^expected/ });
  const history = {
    of: () => {
      throw new StoreError("closed", "the index is closed");
    },
  };
  await t.rejects(tagReport({ ...options({}), history }, "team/app"), StoreError);
});
