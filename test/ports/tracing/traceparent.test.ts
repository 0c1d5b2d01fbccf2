import t from "tap";
import { formatTraceparent, parseTraceparent } from "../../../src/ports/tracing/traceparent.ts";

const [traceId, parentId] = ["0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"];

t.test("what is read is written as it was", (t) => {
  for (const flags of ["00", "01"]) {
    const header = `00-${traceId}-${parentId}-${flags}`;
    const parsed = parseTraceparent(header);
    t.strictSame(parsed, { traceId, parentId, sampled: flags === "01" });
    t.equal(parsed && formatTraceparent(parsed), header);
  }
  t.end();
});

t.test("of a later version what is known is read, of what is none nothing", (t) => {
  t.match(parseTraceparent(`01-${traceId}-${parentId}-03-more`), { traceId, sampled: true });
  const bad = [
    undefined,
    "",
    `00-${traceId}-${parentId}-01-more`,
    `ff-${traceId}-${parentId}-01`,
    `00-${"0".repeat(32)}-${parentId}-01`,
    `00-${traceId}-${"0".repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${parentId}-01`,
    `01-${traceId}-${parentId}-01-${"x".repeat(300)}`,
  ];
  for (const header of bad) t.equal(parseTraceparent(header), undefined, String(header));
  t.end();
});
