// The access log in the combined format of NCSA and Apache, for programs that read nothing else. What they do not
// know follows after it: rt and urt, seconds until the end and until upstream had answered, cs, how the answer came
// about, rid, the request's id.
import type { Logger } from "pino";
import { asksUpstream, type EventSink, type RequestEvent } from "../../ports/event.ts";
import { requestLevel } from "./json-log.ts";
import type { LogOutput } from "./log-output.ts";

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Longest request target, User-Agent, address and name of a user, in UTF-16 units. */
const longest = { target: 1024, agent: 512, address: 64, user: 255 } as const;

/** What would end a quoted field, or be a terminal's command. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unsafe = /["\\\u0000-\u001f\u007f-\u009f]/;
/** What may not stand outside quotes. */
const unsafeBare = /[^!#-[\]-~]/;

/** One line per request that the logger's level lets through; `output` takes nothing else. */
export function combinedLog(logger: Pick<Logger, "isLevelEnabled">, output: LogOutput): EventSink {
  return (event) => {
    if (logger.isLevelEnabled(requestLevel(event))) output.write(combinedLine(event));
  };
}

/** The line, with its end. */
export function combinedLine(event: RequestEvent): string {
  const { method, path, status, bytesSent, user, userAgent, durationMs, ttfbMs, result, id } = event;
  const request = `${bare(method, 32)} ${bare(path, longest.target)} HTTP/1.1`;
  const answered = ttfbMs === undefined || !asksUpstream(result) ? "-" : seconds(ttfbMs);
  const agent = userAgent === undefined ? "-" : quotable(userAgent, longest.agent);
  return (
    `${bare(event.client, longest.address)} - ${bare(user ?? "", longest.user)} [${date(event.time)}] "${request}" ${status} ${bytesSent} "-" ` +
    `"${agent}" rt=${seconds(durationMs)} urt=${answered} cs=${result} rid=${bare(id, 64)}\n`
  );
}

/** `10/Oct/2000:13:55:36 +0000`, when the request came. */
function date(time: Date): string {
  const text = time.toISOString();
  const month = months[time.getUTCMonth()];
  return `${text.slice(8, 10)}/${month}/${text.slice(0, 4)}:${text.slice(11, 19)} +0000`;
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(3);
}

/** For within quotes: `\xHH`, as nginx writes them, for what is not plain text there. */
function quotable(text: string, max: number): string {
  const cut = text.length > max ? text.slice(0, max) : text;
  return unsafe.test(cut) ? cut.replaceAll(new RegExp(unsafe, "g"), escapeUnit) : cut;
}

/** The same without quotes around: no blanks, and `-` for nothing. */
function bare(text: string, max: number): string {
  const cut = text.length > max ? text.slice(0, max) : text;
  if (cut === "") return "-";
  return unsafeBare.test(cut) ? cut.replaceAll(new RegExp(unsafeBare, "gu"), escapeBytes) : cut;
}

function escapeUnit(unit: string): string {
  return `\\x${unit.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

function escapeBytes(character: string): string {
  return [...Buffer.from(character)]
    .map((byte) => `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`)
    .join("");
}
