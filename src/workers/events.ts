// The events of a worker on their way to its primary: lines of JSON on a pipe of their own, a few milliseconds' worth in
// each write.
import type { Readable, Writable } from "node:stream";
import type { RequestEvent } from "../ports/event.ts";

/** Milliseconds from an event until it is written: what a worker that is killed loses. */
const delay = 5;
/** Characters that wait for a primary that reads nothing; events beyond them are lost, and counted. */
const maxWaiting = 16 * 1024 * 1024;

/** A row has the values alone, in this order: names would be most of it. */
function rowOf(event: RequestEvent): readonly unknown[] {
  return [
    event.time.getTime(),
    event.id,
    event.traceId,
    event.method,
    event.probe,
    event.route,
    event.path,
    event.upstream,
    event.repository,
    event.reference,
    event.status,
    event.result,
    event.source,
    event.bytesSent,
    event.bytesExpected,
    event.ttfbMs,
    event.durationMs,
    event.upstreamStatus,
    event.abortedBy,
    event.detail,
    event.client,
    event.forwardedFor,
    event.userAgent,
    event.host,
    event.content,
    event.write,
    event.user,
    event.ofNode,
  ];
}

/** JSON has null for what is undefined. */
type Row = readonly (RequestEvent[keyof RequestEvent] | null)[];

function eventOf(row: Row): RequestEvent {
  const at = (column: number) => row[column] ?? undefined;
  // Whether a drill was on the primary knows.
  const event: Record<Exclude<keyof RequestEvent, "drill">, unknown> = {
    time: new Date(row[0] as unknown as number),
    id: row[1],
    traceId: at(2),
    method: row[3],
    probe: at(4),
    route: row[5],
    path: row[6],
    upstream: at(7),
    repository: at(8),
    reference: at(9),
    status: row[10],
    result: row[11],
    source: row[12],
    bytesSent: row[13],
    bytesExpected: at(14),
    ttfbMs: at(15),
    durationMs: row[16],
    upstreamStatus: at(17),
    abortedBy: at(18),
    detail: at(19),
    client: row[20],
    forwardedFor: at(21),
    userAgent: at(22),
    host: at(23),
    content: at(24),
    write: at(25),
    user: at(26),
    ofNode: at(27),
  };
  return event as unknown as RequestEvent;
}

/** The worker's end. */
export class EventWriter {
  readonly #pipe: Writable;
  #lines = "";
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;

  /** A pipe that breaks is the primary's end, and soon the worker's: it is no error here. */
  constructor(pipe: Writable) {
    this.#pipe = pipe;
    pipe.on("error", () => {});
  }

  add(event: RequestEvent): void {
    if (this.#lines.length + this.#pipe.writableLength > maxWaiting) this.#lost++;
    else this.#lines += `${JSON.stringify(rowOf(event))}\n`;
    this.#timer ??= setTimeout(() => void this.flush(), delay);
  }

  /** Resolves when the kernel has all of them. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const lost = this.#lost === 0 ? "" : `${this.#lost}\n`;
    const lines = this.#lines + lost;
    this.#lines = "";
    this.#lost = 0;
    return new Promise((resolve) => {
      if (lines === "" || !this.#pipe.writable) resolve();
      else this.#pipe.write(lines, () => resolve());
    });
  }
}

export interface EventReceiver {
  readonly onEvent: (event: RequestEvent) => void;
  /** So many events could not be sent. */
  readonly lost: (events: number) => void;
}

/** The primary's end: passes on what comes, until the pipe ends. A line that the death of the worker has cut is dropped. */
export function readEvents(pipe: Readable, { onEvent, lost }: EventReceiver): void {
  let rest = "";
  pipe.setEncoding("utf8");
  pipe.on("error", () => {});
  pipe.on("data", (text: string) => {
    const end = text.lastIndexOf("\n");
    if (end < 0) {
      rest += text;
      return;
    }
    const lines = rest + text.slice(0, end);
    rest = text.slice(end + 1);
    for (const line of JSON.parse(`[${lines.replaceAll("\n", ",")}]`) as (Row | number)[]) {
      if (typeof line === "number") lost(line);
      else onEvent(eventOf(line));
    }
  });
}
