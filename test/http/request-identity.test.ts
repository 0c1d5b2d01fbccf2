import t from "tap";
import { requestId, tracedOn, traceId } from "../../src/http/request-identity.ts";

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const parent = "00f067aa0ba902b7";

t.test("a client's request id counts if it can stand in a log", async (t) => {
  for (const id of ["a", "A-1_b.2", "x".repeat(64), "0af7651916cd43dd8448eb211c80319c"])
    t.equal(requestId(id), id);
  for (const id of [undefined, "", " a", "a b", "x".repeat(65), "a\n", 'a"', "é", "a;b", "a/b", ["a", "b"]])
    t.match(requestId(id), uuid, JSON.stringify(id));
  t.not(requestId(undefined), requestId(undefined));
});

t.test("a trace is read as W3C writes it, and nothing else", async (t) => {
  const good = [
    `00-${trace}-${parent}-01`,
    `00-${trace}-${parent}-00`,
    `cc-${trace}-${parent}-09`,
    `cc-${trace}-${parent}-09-what-the-future-brings`,
  ];
  for (const header of good) t.equal(traceId(header), trace, header);
  const bad = [
    undefined,
    "",
    `ff-${trace}-${parent}-01`,
    `00-${"0".repeat(32)}-${parent}-01`,
    `00-${trace}-${"0".repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${parent}-01`,
    `00-${trace}-${parent}-01-more`,
    `00-${trace}-${parent}-1`,
    `00-${trace}-${parent}`,
    ` 00-${trace}-${parent}-01`,
    `00-${trace}-${parent}-01\n`,
    `cc-${trace}-${parent}-09-${"x".repeat(300)}`,
    [`00-${trace}-${parent}-01`],
  ];
  for (const header of bad) {
    t.equal(traceId(header), undefined, String(header));
    t.equal(tracedOn(header), undefined, String(header));
  }
});

t.test(
  "upstream gets the same trace with another parent, and of the flags the one everybody knows",
  async (t) => {
    const grammar = new RegExp(`^00-${trace}-(?!0{16})[0-9a-f]{16}-(0[01])$`);
    for (const [flags, told] of [
      ["00", "00"],
      ["01", "01"],
      ["fe", "00"],
      ["ff", "01"],
    ]) {
      const passed = tracedOn(`00-${trace}-${parent}-${flags}`) ?? "";
      t.match(passed, grammar);
      t.equal(passed.slice(-2), told);
      t.notMatch(passed, parent);
    }
    t.not(tracedOn(`00-${trace}-${parent}-01`), tracedOn(`00-${trace}-${parent}-01`));
  },
);
