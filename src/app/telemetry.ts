// The sinks of events and notices, put together: metrics, the log, and those the configuration adds.
import type { Logger } from "pino";
import type { Config, InfluxConfig } from "../config/config.ts";
import type { EventSink, NoticeSink } from "../ports/event.ts";
import { fanOut, type Sink } from "../telemetry/fan-out.ts";
import { combinedLog } from "../telemetry/lines/combined-log.ts";
import { InfluxFile } from "../telemetry/lines/influx-file.ts";
import { createInfluxPoints } from "../telemetry/lines/influx-points.ts";
import { createLogger, type LogLevel, noticeLog, requestLog } from "../telemetry/lines/json-log.ts";
import { openLogOutput } from "../telemetry/lines/log-output.ts";
import { createRepeatGate } from "../telemetry/lines/repeat-gate.ts";
import { textOutput } from "../telemetry/lines/text-log.ts";
import type { GaugeSources } from "../telemetry/metrics/gauges.ts";
import type { NotificationMetricsOptions } from "../telemetry/metrics/notification-metrics.ts";
import { createMetrics, type Metrics } from "../telemetry/metrics/prometheus.ts";
import type { SavingsSource } from "../telemetry/metrics/savings-metrics.ts";
import { version } from "../version.ts";

/** File descriptors of the standard output and the standard error. */
const standardOutput = 1;
const standardError = 2;
/** Milliseconds in which the failures of one sink make one line. */
const repeatWindow = 10_000;

export interface TelemetryOptions {
  readonly config: Config;
  readonly gauges: GaugeSources;
  readonly notifications?: NotificationMetricsOptions;
  readonly savings?: SavingsSource;
  /** Takes every line instead of the standard output. */
  readonly log?: Logger | undefined;
  /** The standard output when it is a terminal. */
  readonly terminal?: LogTerminal | undefined;
  /** Further sinks; called last. */
  readonly sinks?: readonly Sink[];
}

export interface LogTerminal {
  readonly colors: boolean;
}

export interface Telemetry {
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly onEvent: EventSink;
  readonly notices: NoticeSink;
  /** The level of the lines from now on. */
  setLevel(level: LogLevel): void;
  /** Resolves when what was taken so far is written or given up, after 6 s at the latest. */
  flush(): Promise<void>;
}

/** A sink that may hold lines back for a while. */
interface Held extends Sink {
  flush?(): Promise<void>;
}

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const { config, gauges, notifications, savings, log: given, terminal, sinks = [] } = options;
  const upstreams = config.upstreams.map(({ name }) => name);
  const metrics = createMetrics({
    gauges,
    upstreams,
    siblings: config.siblings?.map(({ name }) => name),
    version,
    savings,
    ...(notifications && { notifications }),
  });
  const combined = given === undefined && config.log.format === "combined";
  const own =
    given === undefined
      ? createLogger(
          config.log.level,
          combined ? output(standardError, metrics) : logOutput(config, terminal, metrics),
          config.node.name,
        )
      : undefined;
  const log = given ?? (own as NonNullable<typeof own>).logger;
  const all: readonly Held[] = [
    { name: "metrics", onEvent: metrics.onEvent, onProbe: metrics.onProbe, onNotice: metrics.onNotice },
    { name: "log", onNotice: noticeLog(log) },
    combined ? accessLog(log, metrics) : jsonLines(log, config.node.name),
    ...(config.influx === undefined ? [] : [influx(config.influx, config.node.name, log, metrics)]),
    ...sinks,
  ];
  const { onEvent, onNotice } = fanOut(all, sinkFailure(log, metrics));
  return {
    log,
    metrics,
    onEvent,
    notices: onNotice,
    setLevel(level) {
      log.level = level;
    },
    async flush() {
      await Promise.all(all.map((sink) => sink.flush?.()));
      await own?.flush();
    },
  };
}

function output(descriptor: number, metrics: Metrics) {
  return openLogOutput(descriptor, (lines) => metrics.lost("log", lines));
}

function logOutput({ log: { format } }: Config, terminal: LogTerminal | undefined, metrics: Metrics) {
  const lines = output(standardOutput, metrics);
  const isText = format === "text" || (format === "auto" && terminal !== undefined);
  return isText ? textOutput(lines, terminal?.colors ?? false) : lines;
}

function jsonLines(log: Logger, node: string): Held {
  const onEvent = requestLog(log, node);
  return { name: "log", onEvent, onProbe: onEvent };
}

/** Programs that read access logs expect nothing else on the standard output. */
function accessLog(log: Logger, metrics: Metrics): Held {
  const lines = output(standardOutput, metrics);
  const onEvent = combinedLog(log, lines);
  return { name: "log", onEvent, onProbe: onEvent, flush: () => lines.flush() };
}

function influx(options: InfluxConfig, node: string, log: Logger, metrics: Metrics): Held {
  const { dir: directory, maxFileSize, keep } = options;
  const file = new InfluxFile({
    directory,
    maxSize: maxFileSize,
    keep,
    lost: (lines) => metrics.lost("influx", lines),
    failing(error) {
      if (error === undefined) log.info("the file for InfluxDB is written again");
      else log.error({ err: error }, "the file for InfluxDB cannot be written; its lines are lost meanwhile");
    },
  });
  const points = createInfluxPoints({ node });
  return {
    name: "influx",
    onEvent(event) {
      for (const line of points.ofRequest(event)) file.write(line);
    },
    onNotice(notice) {
      for (const line of points.ofNotice(notice)) file.write(line);
    },
    flush: () => file.flush(),
  };
}

/** A sink that throws has a bug of ours: counted each time, logged now and then. */
function sinkFailure(log: Logger, metrics: Metrics): (sink: string, error: unknown) => void {
  const mayPass = createRepeatGate(repeatWindow, () => performance.now());
  return (sink, error) => {
    metrics.lost(sink, 1);
    if (mayPass(sink) !== undefined) log.error({ err: error, sink }, "a part of telemetry failed");
  };
}
