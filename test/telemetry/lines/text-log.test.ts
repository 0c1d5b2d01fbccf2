import t from "tap";
import { createLogger, requestLog } from "../../../src/telemetry/lines/json-log.ts";
import { textOutput } from "../../../src/telemetry/lines/text-log.ts";
import { sampleEvent } from "../../fixtures/telemetry-samples.ts";

/** A logger whose lines, as text, are kept. */
function textLog(colors = false) {
  let text = "";
  let flushed = 0;
  const output = {
    lost: 3,
    write(line: string) {
      text += line;
    },
    async flush() {
      flushed++;
    },
  };
  const shown = textOutput(output, colors);
  const { logger } = createLogger("trace", shown);
  return { logger, shown, text: () => text, flushed: () => flushed };
}

/** Without the time at the beginning of a line. */
function untimed(text: string): string {
  return text.replaceAll(/^\d\d:\d\d:\d\d\.\d\d\dZ /gm, "");
}

t.test("a line is the time, the level, the message and the fields", async (t) => {
  const { logger, text } = textLog();
  logger.info(
    { version: "1.0", listen: "0.0.0.0:5000", free: 12, detail: "two words", none: undefined },
    "listening",
  );
  t.match(text(), /^\d\d:\d\d:\d\d\.\d\d\dZ INFO /);
  t.equal(untimed(text()), 'INFO  listening version=1.0 listen=0.0.0.0:5000 free=12 detail="two words"\n');
});

t.test("a request is a line to read across", async (t) => {
  const { logger, text } = textLog();
  const event = sampleEvent({ path: "/v2/team/app/manifests/1.0", userAgent: "docker/28 linux" });
  requestLog(logger)(event);
  const { method, status, result, bytesSent, client } = event;
  t.ok(
    untimed(text()).startsWith(
      `INFO  ${method} /v2/team/app/manifests/1.0 ${status} ${result} 20.1 ms ${bytesSent} B ${client} `,
    ),
    text(),
  );
  t.match(text(), ' user_agent="docker/28 linux"');
  t.notMatch(text(), event.id);
  t.equal(text().split("\n").length, 2, "one line");
});

t.test("an error has its message, its code and, below, where it was", async (t) => {
  const { logger, text } = textLog();
  logger.error({ err: Object.assign(new Error("no\nroom"), { code: "ENOSPC" }) }, "the store failed");
  const [first = "", second = ""] = untimed(text()).split("\n");
  t.match(first, /^ERROR the store failed no\\u000aroom type=Error code=ENOSPC$/);
  t.match(second, /^ {4}\S/);
});

t.test("nothing a client has sent is a command to the terminal", async (t) => {
  const { logger, text } = textLog();
  const odd = "a\u001b[2J\u009b31m\u202e\u2028\u0007b";
  requestLog(logger)(sampleEvent({ path: `/${odd}`, userAgent: odd, client: odd }));
  logger.warn({ [odd]: odd, nested: { [odd]: odd } }, odd);
  logger.error({ err: new Error(odd) }, odd);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  t.notMatch(text(), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/);
});

t.test("colours are in it only where they are wanted", async (t) => {
  const plain = textLog();
  plain.logger.warn("careful");
  t.notMatch(plain.text(), "\u001b");
  const colored = textLog(true);
  colored.logger.warn("careful");
  t.match(colored.text(), "\u001b[33mWARN \u001b[39m careful\n");
});

t.test("what is no line of the log passes as it is, and the rest is the output's", async (t) => {
  const { shown, text, flushed } = textLog();
  shown.write("not json\n");
  shown.write("[1]\n");
  t.equal(text(), "not json\n[1]\n");
  await shown.flush();
  t.equal(flushed(), 1);
  t.equal(shown.lost, 3);
});
