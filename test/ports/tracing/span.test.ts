import t from "tap";
import {
  currentSpan,
  inSpan,
  type Span,
  type SpanAttributes,
  within,
} from "../../../src/ports/tracing/span.ts";

function spanNamed(name: string, log: string[]): Span {
  return {
    traceId: "",
    traceparent: "",
    child: (child: string, _: SpanAttributes) => spanNamed(`${name}/${child}`, log),
    set: () => {},
    link: () => {},
    end: (error) => void log.push(error === undefined ? name : `${name} failed`),
  };
}

t.test("nothing is traced where no span is", async (t) => {
  t.equal(currentSpan(), undefined);
  t.equal(await inSpan("work", {}, async (span) => span), undefined);
  t.equal(
    within(undefined, () => 1),
    1,
  );
});

t.test("spans go along with what is waited for, and end with it", async (t) => {
  const log: string[] = [];
  await within(spanNamed("request", log), async () => {
    await inSpan("fill", {}, async (span) => {
      t.equal(currentSpan(), span);
      await new Promise((resolve) => setImmediate(resolve));
      t.equal(currentSpan(), span, "also after a wait");
      await t.rejects(inSpan("disk", {}, () => Promise.reject(new Error("full"))));
    });
  });
  t.strictSame(log, ["request/fill/disk failed", "request/fill"]);
  t.equal(currentSpan(), undefined);
});
