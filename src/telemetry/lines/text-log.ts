// The log for people at a terminal: the lines of the JSON log, read and written again. Not by pino-pretty: that one writes out
// what clients have sent with its control characters, which are commands to the terminal, and brings fourteen more packages.
import { styleText } from "node:util";
import type { LogOutput } from "./log-output.ts";

type Format = Parameters<typeof styleText>[0];
type Fields = Readonly<Record<string, unknown>>;

/** What a line of a request says before its other fields. */
const inRequestHead = new Set(["method", "path", "status", "result", "bytes", "duration_ms", "client"]);
/** Of which a person at a terminal has no need: the head says it, or programs put lines together by it. */
const leftOut = new Set([
  "level",
  "time",
  "msg",
  "id",
  "trace",
  "route",
  "upstream",
  "repository",
  "reference",
]);

const levelStyles: Readonly<Record<string, Format>> = {
  trace: "dim",
  debug: "dim",
  info: "green",
  warn: "yellow",
  error: "red",
  fatal: ["bold", "red"],
};

/** Takes lines of the JSON log, with their ends, and gives them to `output` as text; what is no JSON object as it is. */
export function textOutput(output: LogOutput, colors: boolean): LogOutput {
  const style = (format: Format, text: string) =>
    colors ? styleText(format, text, { validateStream: false }) : text;
  return {
    write: (line) => output.write(textLine(line, style)),
    flush: () => output.flush(),
    get lost() {
      return output.lost;
    },
  };
}

function textLine(line: string, style: (format: Format, text: string) => string): string {
  const fields = read(line);
  if (fields === undefined) return line;
  const field = (name: string, value: unknown) => `${style("dim", `${plain(name)}=`)}${bare(value)}`;
  const { level, time, msg, err, ...rest } = fields;
  const isRequest = msg === "request" && typeof rest.path === "string";
  const others = Object.entries(rest)
    .filter(([name]) => !isRequest || !(inRequestHead.has(name) || leftOut.has(name)))
    .map(([name, value]) => field(name, value));
  const { message, stack, ...ofError } = (err ?? {}) as Fields;
  for (const [name, value] of Object.entries(ofError)) others.push(field(name, value));
  const parts = [
    style("dim", clock(time)),
    style(levelStyles[String(level)] ?? "dim", String(level).toUpperCase().padEnd(5)),
    isRequest ? requestHead(rest) : plain(String(msg ?? "")),
    ...(message === undefined ? [] : [plain(String(message))]),
    ...others,
  ];
  const trace =
    typeof stack === "string"
      ? stack
          .split("\n")
          .slice(1)
          .map((each) => `    ${plain(each.trim())}\n`)
      : [];
  return `${parts.join(" ")}\n${trace.join("")}`;
}

function read(line: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Fields)
      : undefined;
  } catch {
    return undefined;
  }
}

/** `GET /v2/team/app/manifests/1.0 200 hit 1.2 ms 1234 B 10.1.2.3` */
function requestHead({ method, path, status, result, bytes, duration_ms: duration, client }: Fields): string {
  const head = [method, path, status, result].map((each) => plain(String(each))).join(" ");
  const time = duration === undefined ? "" : ` ${duration} ms`;
  return `${head}${time} ${bytes} B ${plain(String(client))}`;
}

/** The time of the day, in UTC as all times of this program. */
function clock(time: unknown): string {
  return plain(String(time)).replace(/^.*T/, "");
}

/** Without blanks and quotes it stands as it is, else as JSON. */
function bare(value: unknown): string {
  if (typeof value === "string" && /^[\w./:@%+,?&~*-]+$/.test(value)) return value;
  return plain(JSON.stringify(value));
}

/** Control characters are commands to a terminal, and the invisible ones turn what is read around. */
function plain(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (unit) => `\\u${(unit.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}
