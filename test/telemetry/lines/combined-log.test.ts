import fc from "fast-check";
import t from "tap";
import { combinedLine, combinedLog } from "../../../src/telemetry/lines/combined-log.ts";
import { createLogger } from "../../../src/telemetry/lines/json-log.ts";
import { rememberingOutput, sampleDigest, sampleEvent } from "../../fixtures/telemetry-samples.ts";

/** As readers of the combined format take it apart, and what follows it here. */
const grammar =
  /^(\S+) (\S+) (\S+) \[(\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "(\S+) (\S+) HTTP\/1\.1" (\d{3}) (\d+) "([^"]*)" "([^"]*)" rt=(\d+\.\d{3}) urt=(-|\d+\.\d{3}) cs=(\w+) rid=(\S+)\n$/;

t.test("a line has every field in its place", async (t) => {
  t.equal(
    combinedLine(sampleEvent()),
    `192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /v2/team/app/blobs/${sampleDigest} HTTP/1.1" 200 1000 "-" ` +
      '"containerd/2.1" rt=0.020 urt=- cs=hit rid=req-1\n',
  );
  t.match(combinedLine(sampleEvent({ result: "miss" })), " rt=0.020 urt=0.003 cs=miss ");
  t.match(combinedLine(sampleEvent({ result: "miss", ttfbMs: undefined })), " urt=- ");
  t.match(
    combinedLine(sampleEvent({ user: "j\u00fcrgen [x]" })),
    "192.0.2.7 - j\\xC3\\xBCrgen\\x20[x] [02/Jan",
  );
  t.match(combinedLine(sampleEvent({ userAgent: undefined })), '"-" "-" rt=');
  t.match(combinedLine(sampleEvent({ client: "2001:db8::1" })), /^2001:db8::1 - - \[/);
});

t.test("nothing a client sends ends a field, adds a line or commands a terminal", async (t) => {
  t.match(combinedLine(sampleEvent({ userAgent: 'a"b\\c\n\u001b[2J' })), '"a\\x22b\\x5Cc\\x0A\\x1B[2J" rt=');
  t.match(combinedLine(sampleEvent({ path: '/v2/a b"\u00e9' })), '"GET /v2/a\\x20b\\x22\\xC3\\xA9 HTTP/1.1"');
  t.match(combinedLine(sampleEvent({ method: "", path: "", client: "" })), /^- - - \[.*\] "- - HTTP\/1\.1"/);
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 2000 }),
    fc.constantFrom('" 200 1 "', "\r\n", "\ud800"),
  );
  fc.assert(
    fc.property(
      fc.record({ method: text, path: text, client: text, userAgent: text, id: text }),
      fc.nat(),
      (texts, durationMs) => {
        const line = combinedLine(sampleEvent({ ...texts, durationMs }));
        return grammar.test(line) && /^[ -~\u00a0-\uffff]*\n$/.test(line) && line.length < 16_000;
      },
    ),
  );
});

t.test("the level of the log decides what is written", async (t) => {
  const written: string[] = [];
  const output = { write: (line: string) => void written.push(line), flush: async () => {}, lost: 0 };
  const { logger } = createLogger("warn", rememberingOutput());
  const sink = combinedLog(logger, output);
  sink(sampleEvent());
  sink(sampleEvent({ status: 404 }));
  t.equal(written.length, 0);
  sink(sampleEvent({ status: 502, result: "error" }));
  t.match(written, [/ 502 1000 .* cs=error /]);
});
