// Passes each event and notice to many sinks. A sink that throws fails neither the request the event is about nor the sinks
// after it.
import type { EventSink, Notice, NoticeSink, RequestEvent } from "../ports/event.ts";

/** A receiver of events and notices; each function may be left out. */
export interface Sink {
  /** A short word for metrics and logs. */
  readonly name: string;
  readonly onEvent?: EventSink | undefined;
  /** Events of probes, which are no traffic. `onEvent` does not get them. */
  readonly onProbe?: EventSink | undefined;
  readonly onNotice?: NoticeSink | undefined;
}

/** Both functions call the sinks in their order. `failed` is called with what a sink throws; what `failed` throws is dropped. */
export function fanOut(
  sinks: readonly Sink[],
  failed: (sink: string, error: unknown) => void,
): { readonly onEvent: EventSink; readonly onNotice: NoticeSink } {
  const report = (sink: string, error: unknown): void => {
    try {
      failed(sink, error);
    } catch {
      // There is no place left to report it.
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
