// The catalog of all nodes, with nodes that answer as the test says.
import type { OutgoingHttpHeaders } from "node:http";
import t from "tap";
import type { Exchange } from "../../src/http/exchange.ts";
import { type CatalogOptions, handleCatalog } from "../../src/http/listing-handler.ts";
import type { Repository } from "../../src/oci/name.ts";
import type { OtherNodes } from "../../src/ports/datacenter/nodes.ts";
import type { Upstream } from "../../src/ports/upstream.ts";
import { eventually, ManualPause, quiet } from "../fixtures/manual-time.ts";

type Repositories = OtherNodes["repositories"];

function start(own: readonly string[], nodes: Record<string, Repositories>, denied = /^no\//) {
  const { pause, waiting, elapse } = manual();
  const options: CatalogOptions = {
    index: { repositories: (_, last, limit) => page(own, last, limit) },
    router: { permits: ({ repository }) => !denied.test(repository) },
    neighbours: {
      nodes: {
        repositories: (address, ...of) => (nodes[address] as Repositories)(address, ...of),
      } as OtherNodes,
      list: () => Object.keys(nodes).map((address) => ({ name: "evil\r\nname", address })),
    },
    pause,
  };
  const ask = (n: number, last?: string) => {
    const sent = Promise.withResolvers<{ headers: OutgoingHttpHeaders; repositories: string[] }>();
    let leave = (): void => {};
    const exchange = {
      findings: {},
      onOver: (listener: () => void) => {
        leave = listener;
        return () => {};
      },
      send: (_: number, headers: OutgoingHttpHeaders, body: string) =>
        sent.resolve({ headers, ...JSON.parse(body) }),
    } as unknown as Exchange;
    const address = { basePath: "", prefix: "", ns: undefined };
    const done = handleCatalog(exchange, options, { name: "hub" } as Upstream, { n, last }, address);
    return { done, answer: sent.promise, leave: () => leave() };
  };
  return { ask, waiting, elapse };
}

function manual() {
  const pauses = new ManualPause();
  return { pause: pauses.pause, waiting: () => pauses.waiting, elapse: () => pauses.elapse() };
}

function page(names: readonly string[], last: string | undefined, limit: number): Repository[] {
  return names.filter((name) => last === undefined || name > last).slice(0, limit) as Repository[];
}

const numbered = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, at) => `${prefix}${String(at).padStart(6, "0")}`);

t.test(
  "a node read to its bound: the next page misses nothing, and hidden names are in no link",
  async (t) => {
    const asked: number[] = [];
    const theirs = ["a/1", ...numbered("no/", 12_000), "x/1"];
    const { ask, waiting } = start(["b/1", "z/1"], {
      there: async (_, __, last, limit) => {
        asked.push(limit);
        return page(theirs, last, limit);
      },
    });
    const first = await ask(10).answer;
    t.same(first.repositories, ["a/1", "b/1"], "z/1 comes after what was looked at");
    t.match(first.headers.link, /last=b%2F1>/);
    t.equal(asked.length, 10);
    t.ok(asked.every((limit) => limit <= 1_000));
    const second = await ask(10, "b/1").answer;
    t.same(second.repositories, ["z/1"]);
    t.equal(second.headers.link, undefined);
    t.match(second.headers.warning, /^299 - "without repositories that come after many/);
    t.equal(waiting(), 0, "no timer is left");
  },
);

t.test("a second for all pages of a node: what has come is kept, and the answer says so", async (t) => {
  const theirs = [...numbered("no/", 1_500), "x/1"];
  let asked = 0;
  const { ask, elapse } = start(["a/1", "z/1"], {
    slow: async (_, __, last, limit) => {
      asked++;
      return last === undefined ? page(theirs, last, limit) : await new Promise<never>(() => {});
    },
    silent: () => new Promise<never>(() => {}),
    refusing: async () => {
      throw new Error("no");
    },
  });
  const { answer } = ask(10);
  await eventually("the second page is asked for", () => asked === 2);
  elapse();
  const { repositories, headers } = await answer;
  t.same(repositories, ["a/1"]);
  t.match(headers.link, /last=a%2F1>/, "x/1 may still come");
  t.equal(headers.warning, '299 - "without all repositories of 3 nodes that did not answer"', "and no names");
});

t.test("nobody is asked any more when the client has left", async (t) => {
  const pages: (() => void)[] = [];
  const { ask } = start([], {
    there: (_, __, last, limit) =>
      new Promise((resolve) => pages.push(() => resolve(page(numbered("no/", 9_000), last, limit)))),
  });
  const { done, leave } = ask(10);
  await eventually("it is asked", () => pages.length === 1);
  leave();
  pages[0]?.();
  await done;
  await quiet();
  t.equal(pages.length, 1);
});
