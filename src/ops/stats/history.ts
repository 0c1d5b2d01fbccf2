// Carries the traffic of the last day, and the last hour of each upstream, over a restart. A failure is a notice and nothing more.
import type { NoticeSink } from "../../ports/event.ts";
import { SharedCall } from "../../ports/single-flight.ts";
import type { RecentActivity } from "../../telemetry/recent/recent-activity.ts";
import { readHistory, writeHistory } from "../../telemetry/recent/recent-history.ts";

/** Milliseconds between two writes: what a crash can forget. */
export const historyInterval = 60_000;

export interface History {
  /** Loads what the last run left. Never rejects. */
  load(): Promise<void>;
  /** Writes the file; at most one write at a time, a call meanwhile waits for that one. Never rejects. */
  save(): Promise<void>;
}

export function createHistory(path: string, activity: RecentActivity, notices: NoticeSink): History {
  const failed = (op: string) => (error: unknown) => {
    notices({ kind: "store_error", op, code: "io", message: String(error) });
  };
  const saving = new SharedCall<void>();
  return {
    async load() {
      const saved = await readHistory(path).catch(failed("history.read"));
      if (saved) activity.restore(saved);
    },
    save() {
      return saving.run(() => writeHistory(path, activity.save()).catch(failed("history.write")));
    },
  };
}
