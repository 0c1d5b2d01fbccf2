// What the mirror does while the demo is tried: its own log, line by line, worded for people.
import { type Logger, pino } from "pino";
import { z } from "zod";
import { size } from "../ops/page/format.ts";
import { formatTime } from "./report.ts";

/** The fields of the JSON log that are shown; the names are its promise to log pipelines. */
const requestLine = z.object({
  msg: z.literal("request"),
  method: z.string(),
  path: z.string(),
  repository: z.string().optional(),
  reference: z.string().optional(),
  status: z.number(),
  result: z.string(),
  bytes: z.number(),
  duration_ms: z.number(),
});
const otherLine = z.object({ level: z.string(), msg: z.string(), detail: z.string().optional() });

/**
 * A logger for the mirror whose lines go to `print`. It begins at level `warn`, where only trouble shows; at `info`
 * it shows every request.
 */
export function createActivityLog(print: (line: string) => void): Logger {
  const formatters = { level: (label: string) => ({ level: label }) };
  const write = (line: string): void => print(`  ${activityText(JSON.parse(line))}`);
  return pino({ level: "warn", base: null, formatters }, { write });
}

function activityText(line: unknown): string {
  const request = requestLine.safeParse(line).data;
  if (request === undefined) {
    const { level, msg, detail } = otherLine.parse(line);
    return `${level}: ${msg}${detail === undefined ? "" : ` (${detail})`}`;
  }
  const { method, status, result, bytes, duration_ms: duration } = request;
  const cells = [
    method.padEnd(4),
    subject(request).padEnd(30),
    String(status),
    result.padEnd(11),
    size(bytes).padStart(8),
    formatTime(duration).padStart(8),
  ];
  return cells.join("  ");
}

/** `team/app:1.0`, or `team/app@` with the first twelve digits, as docker shows layers; else the path. */
function subject({ repository, reference, path }: z.infer<typeof requestLine>): string {
  if (repository === undefined || reference === undefined) return path;
  const [algorithm, hex] = reference.split(":");
  return hex === undefined ? `${repository}:${algorithm}` : `${repository}@${hex.slice(0, 12)}`;
}
