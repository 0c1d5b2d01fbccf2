// Questions to other nodes: servers that answer them as a node does, or as none would.
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import type { Repository, Tag } from "../../src/oci/name.ts";
import { NodeProof } from "../../src/ports/datacenter/node-proof.ts";
import { type NodeSummary, nodePaths } from "../../src/ports/datacenter/nodes.ts";
import { fixedSecret, Secret } from "../../src/ports/secret.ts";
import { AskedSummaries, HttpNodes } from "../../src/upstream/nodes.ts";
import { digestOf } from "../fixtures/images.ts";
import { eventually } from "../fixtures/manual-time.ts";
import { nodeSummariesSuite, sampleSummary } from "../fixtures/node-summaries-suite.ts";

const secret = fixedSecret(new Secret("x".repeat(32)));

async function server(t: Test, answer: RequestListener): Promise<string> {
  const listening = createServer(answer).listen(0, "127.0.0.1");
  await once(listening, "listening");
  t.teardown(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return `127.0.0.1:${(listening.address() as AddressInfo).port}`;
}

const upstreamId = (name: string): string | undefined => (name === "hub" ? "hub@0123456789ab" : undefined);

function nodes(node = "node-a", signal = new AbortController().signal): HttpNodes {
  return new HttpNodes({
    node,
    proof: new NodeProof(secret, Date.now),
    userAgent: "test",
    upstreamId,
    signal,
  });
}

t.test("summaries of nodes that ask each other", (t) =>
  nodeSummariesSuite(t, async (t, names) => {
    const own = new Map<number, () => NodeSummary>();
    let garbage: string | undefined;
    // As many as there will be nodes, and one more.
    const hosts = await Promise.all(
      [...names, ""].map(async (_, at) => {
        const host = await server(t, async (request, response) => {
          const isNode = await new NodeProof(secret, Date.now, host).isNode(request);
          const text = at === names.length ? garbage : JSON.stringify(own.get(at)?.());
          const there = isNode && request.url === nodePaths.summary && text !== undefined;
          response.writeHead(there ? 200 : 404).end(text);
        });
        return host;
      }),
    );
    const addresses = hosts.map((host) => `http://${host}`);
    return {
      async node(said) {
        const at = own.size;
        own.set(at, said);
        return new AskedSummaries(
          nodes(names[at]),
          addresses.filter((_, other) => other !== at),
        );
      },
      garbage: async (text) => {
        garbage = text;
      },
    };
  }),
);

t.test(
  "a node is known by the address it is asked at; one that is silent keeps nobody waiting",
  async (t) => {
    const there = await server(t, (_, response) => response.end(JSON.stringify(sampleSummary("b"))));
    const silent = await server(t, () => {});
    const refusing = await server(t, (_, response) => response.writeHead(401).end());
    const summaries = new AskedSummaries(
      nodes(),
      [silent, refusing, there, "127.0.0.1:1"].map((h) => `http://${h}`),
    );
    const heard = await summaries.exchange();
    t.match(heard, [{ ageMs: 0, summary: { name: "b", address: `http://${there}` } }]);
    t.equal(heard.length, 1);
  },
);

t.test("which digests a node has: nothing is believed that was not asked", async (t) => {
  const [one, two, three] = ["1", "2", "3"].map((text) => digestOf(Buffer.from(text)));
  if (one === undefined || two === undefined || three === undefined) throw new Error("three");
  let answer: unknown;
  const asked: (string | undefined)[] = [];
  const host = await server(t, (request, response) => {
    asked.push(request.url);
    response.end(JSON.stringify(answer));
  });
  const address = `http://${host}`;
  answer = { digests: [two, three, "x", 7] };
  t.same([...(await nodes().holding(address, [one, two]))], [two]);
  t.same(asked, [`${nodePaths.holding}?${new URLSearchParams({ digests: `${one},${two}` })}`]);
  for (answer of [null, {}, { digests: "x" }, []]) await t.rejects(nodes().holding(address, [one]));
  await t.rejects(nodes().holding("http://user@host/path", [one]), /names an address that is none/);
});

t.test("repositories come in order and after the last one", async (t) => {
  const asked: (string | undefined)[] = [];
  const host = await server(t, (request, response) => {
    asked.push(request.url);
    response.end(JSON.stringify({ repositories: ["a/a", "b", "B?", 7, "c", "d"] }));
  });
  t.same(await nodes().repositories(`http://${host}`, "hub", "a/a", 2), ["b", "c"]);
  t.same(asked, ["/node/v1/repositories?upstream=hub%400123456789ab&n=2&last=a%2Fa"]);
});

t.test("what a node has saved: sums only, and not more rows than are asked for", async (t) => {
  const row = {
    ...{ month: "2026-11", team: "a", upstream: "hub" },
    ...{ requests: 1, roundTripsSaved: 1, sentBytes: 2, fetchedBytes: 1 },
  };
  let answer: unknown = { currency: null, rows: [row, { ...row, pricePerGB: 2, more: "x" }] };
  const asked: (string | undefined)[] = [];
  const host = await server(t, (request, response) => {
    asked.push(request.url);
    response.end(JSON.stringify(answer));
  });
  const savings = () => nodes().savings(`http://${host}`, "2026-11");
  t.strictSame(await savings(), {
    currency: null,
    rows: [
      { ...row, pricePerGB: undefined },
      { ...row, pricePerGB: 2 },
    ],
  });
  t.same(asked, ["/node/v1/savings?month=2026-11"]);
  for (answer of [
    null,
    { rows: [row] },
    { currency: null, rows: Array(4_001).fill(row) },
    ...[{ requests: -1 }, { month: "x" }, { sentBytes: "2" }, { team: 7 }].map((wrong) => ({
      currency: null,
      rows: [{ ...row, ...wrong }],
    })),
  ])
    await t.rejects(savings(), /does not say what it has saved/, JSON.stringify(answer).slice(0, 100));
});

t.test("what was pulled from a node: names that can be asked for, and no more than a job has", async (t) => {
  const one = digestOf(Buffer.from("1"));
  const image = {
    upstream: "hub@0123456789ab",
    repository: "team/app",
    reference: "1.0",
    platforms: ["linux/amd64"],
  };
  let answer: unknown = { images: [image, { ...image, reference: one, platforms: [], more: 1 }], leftOut: 2 };
  const asked: (string | undefined)[] = [];
  const host = await server(t, (request, response) => {
    asked.push(request.url);
    response.end(JSON.stringify(answer));
  });
  const pulled = () => nodes().pulled(`http://${host}`, 7);
  t.strictSame(await pulled(), {
    images: [
      { ...image, reference: { kind: "tag", tag: "1.0" } },
      { ...image, reference: { kind: "digest", digest: one }, platforms: [] },
    ],
    leftOut: 2,
  });
  t.same(asked, ["/node/v1/pulled?days=7"]);
  for (answer of [
    null,
    { images: [image] },
    { images: Array(1_001).fill(image), leftOut: 0 },
    ...[{ repository: "B?" }, { reference: "a b" }, { platforms: ["x"] }, { upstream: 7 }].map((wrong) => ({
      images: [{ ...image, ...wrong }],
      leftOut: 0,
    })),
  ])
    await t.rejects(pulled(), /does not say what was pulled/, JSON.stringify(answer).slice(0, 100));
});

t.test("a node without that upstream has no repositories; another 404 is no answer", async (t) => {
  let code = "NAME_UNKNOWN";
  const host = await server(t, (_, response) =>
    response.writeHead(404).end(JSON.stringify({ errors: [{ code }] })),
  );
  t.same(await nodes().repositories(`http://${host}`, "hub", undefined, 2), []);
  code = "UNSUPPORTED";
  await t.rejects(nodes().repositories(`http://${host}`, "hub", undefined, 2), /does not say/);
  await t.rejects(nodes().repositories(`http://${host}`, "gone", undefined, 2), /no upstream is called gone/);
});

t.test("the same question is asked once at a time, and at most 8 are under way to one node", async (t) => {
  const waiting: (() => void)[] = [];
  const host = await server(t, (_, response) => {
    waiting.push(() => response.end(JSON.stringify({ repositories: ["a"] })));
  });
  const asking = nodes();
  const ask = (n: number) => asking.repositories(`http://${host}`, "hub", undefined, n);
  const same = [ask(1), ask(1), ask(1)];
  const others = [2, 3, 4, 5, 6, 7, 8].map(ask);
  await t.rejects(ask(9), /is being asked 8 questions/);
  await eventually("all have come", () => waiting.length === 8);
  for (const answer of waiting) answer();
  t.same(await Promise.all([...same, ...others]), Array(10).fill(["a"]));
  t.equal(waiting.length, 8);
  const next = ask(9);
  await eventually("it is asked again", () => waiting.length === 9);
  waiting.at(-1)?.();
  t.same(await next, ["a"], "there is room again");
});

t.test("what a node has seen a tag name: no more than it keeps, and digests only", async (t) => {
  const one = digestOf(Buffer.from("1"));
  const stay = { digest: one, firstSeen: 1, by: "ann", end: { at: 2, why: "moved" } };
  let answer: unknown = { stays: [stay, { digest: one, firstSeen: 3, more: "x" }] };
  const asked: (string | undefined)[] = [];
  const host = await server(t, (request, response) => {
    asked.push(request.url);
    response.end(JSON.stringify(answer));
  });
  const scope = { upstream: "hub", repository: "team/app" as Repository };
  const stays = () => nodes().tagStays(`http://${host}`, scope, "1.0" as Tag);
  t.strictSame(await stays(), [stay, { digest: one, firstSeen: 3, by: undefined, end: undefined }]);
  t.same(asked, ["/node/v1/tag-stays?upstream=hub%400123456789ab&repository=team%2Fapp&tag=1.0"]);
  answer = { errors: [{ code: "NAME_UNKNOWN" }] };
  t.same(await stays(), [], "it has no such upstream");
  for (answer of [
    null,
    {},
    { stays: Array(101).fill(stay) },
    ...[{ digest: "x" }, { firstSeen: -1 }, { by: 7 }, { end: { at: 2, why: "x" } }].map((wrong) => ({
      stays: [{ ...stay, ...wrong }],
    })),
  ])
    await t.rejects(stays(), /does not say what it has seen/, JSON.stringify(answer).slice(0, 100));
});
