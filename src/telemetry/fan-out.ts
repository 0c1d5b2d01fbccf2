// One event and one notice for many sinks. A sink that throws costs its own line, never the request it tells of, nor
// the sinks after it.
import type { EventSink, Notice, NoticeSink, RequestEvent } from "../ports/event.ts";

/** What listens; each may be left out. */
export interface Sink {
  /** A short word for metrics and logs. */
  readonly name: string;
  readonly onEvent?: EventSink | undefined;
  /** The events of probes, which are no traffic: no other sink hears of them. */
  readonly onProbe?: EventSink | undefined;
  readonly onNotice?: NoticeSink | undefined;
}

/** Both sinks call those given, in their order. `failed` is told of whatever one throws; what it throws is dropped. */
export function fanOut(
  sinks: readonly Sink[],
  failed: (sink: string, error: unknown) => void,
): { readonly onEvent: EventSink; readonly onNotice: NoticeSink } {
  const report = (sink: string, error: unknown): void => {
    try {
      failed(sink, error);
    } catch {
      // Nobody is left to be told.
    }
  };
  return {
    onEvent(event: RequestEvent) {
      for (const { name, onEvent, onProbe } of sinks) {
        try {
          if (event.probe === undefined) onEvent?.(event);
          else onProbe?.(event);
        } catch (error) {
          report(name, error);
        }
      }
    },
    onNotice(notice: Notice) {
      for (const { name, onNotice } of sinks) {
        try {
          onNotice?.(notice);
        } catch (error) {
          report(name, error);
        }
      }
    },
  };
}
