// What `entrepot doctor --json` prints, and the same for people.
import { styleText } from "node:util";
import { z } from "zod";
import { type Check, type Outcome, worstOf } from "./examination.ts";

export const doctorReportSchema = z.strictObject({
  /** Of this program. */
  version: z.string(),
  /** When the checks began, RFC 3339. */
  time: z.iso.datetime(),
  /** The worst of the checks. */
  outcome: z.enum(["ok", "warning", "failed"]),
  /** In the order of the hops. */
  checks: z.array(
    z.strictObject({
      /** `configuration`, `machine`, `listeners`, `cache`, `upstream NAME`, `redis`, `s3`, `nodes`, `siblings`, `clients`; of a client `mirror` and `past the mirror`. */
      part: z.string(),
      name: z.string(),
      outcome: z.enum(["ok", "warning", "failed", "skipped"]),
      /** What was seen; of a skipped one, why. */
      seen: z.string(),
      /** Of a warning and a failure only: one sentence. */
      fix: z.string().optional(),
    }),
  ),
});

export type DoctorReport = z.infer<typeof doctorReportSchema>;

export function reportOf(checks: readonly Check[], version: string, time: Date): DoctorReport {
  return {
    version,
    time: time.toISOString(),
    outcome: worstOf(checks),
    checks: checks.map(({ part, name, outcome, seen, fix }) => ({
      part,
      name,
      outcome,
      seen,
      ...(fix === undefined ? {} : { fix }),
    })),
  };
}

const words: Readonly<Record<Outcome, string>> = {
  ok: "ok",
  warning: "WARNING",
  failed: "FAILED",
  skipped: "skipped",
};

const colors = { ok: "green", warning: "yellow", failed: "red", skipped: "gray" } as const;

/** The checks of one part under its name; ends in a newline, "" for none. In colour where the output is a terminal. */
export function formatPart(checks: readonly Check[]): string {
  const [first] = checks;
  if (first === undefined) return "";
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ outcome, name, seen, fix }) => {
    const word = styleText(colors[outcome], words[outcome].padEnd(7));
    const line = `  ${word}  ${name.padEnd(width)}  ${oneLine(seen)}`;
    return fix === undefined
      ? [line]
      : [line, `  ${" ".repeat(7)}  ${" ".repeat(width)}  -> ${oneLine(fix)}`];
  });
  return [first.part, ...lines, ""].join("\n");
}

/** What it comes to, on one line or two; ends in a newline. */
export function formatSummary(checks: readonly Check[]): string {
  const count = (outcome: Outcome): number => checks.filter((check) => check.outcome === outcome).length;
  const counts = `${count("failed")} failed, ${count("warning")} warnings, ${count("ok")} ok, ${count("skipped")} skipped`;
  const failing = checks.filter(({ outcome }) => outcome === "failed");
  const names = failing.map(({ part, name }) => `${part}: ${name}`).join("; ");
  return failing.length === 0 ? `\n${counts}\n` : `\n${counts}\nfailed: ${names}\n`;
}

/** Registries' words may hold whatever they like; terminals obey control characters. */
function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, " ").replace(/\p{Cc}/gu, "?");
}
