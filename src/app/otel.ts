// OTLP of this process and its workers: opened at the start, where it is configured.
import type { Logger } from "pino";
import type { Config, HeaderSources, OtelConfig } from "../config/config.ts";
import type { RequestTracing } from "../ports/tracing/span.ts";
import { createRepeatGate } from "../telemetry/lines/repeat-gate.ts";
import type { Metrics } from "../telemetry/metrics/prometheus.ts";
import { openOtel } from "../telemetry/otel/open-otel.ts";
import type { Otel, OtelSettings } from "../telemetry/otel/otel-options.ts";
import { version } from "../version.ts";
import type { WorkerOtel } from "../workers/messages.ts";

/** Milliseconds in which the receiver's failures make one line. */
const repeatWindow = 10 * 60_000;

export interface NodeOtelOptions {
  readonly config: Config;
  readonly metrics: Pick<Metrics, "families" | "lost">;
  readonly log: Logger;
}

export class NodeOtel {
  readonly #options: NodeOtelOptions;
  readonly #mayPass = createRepeatGate(repeatWindow, () => performance.now());
  #otel: Otel | undefined;
  #forWorkers: WorkerOtel | undefined;

  constructor(options: NodeOtelOptions) {
    this.#options = options;
  }

  /** Loads the SDK if it is configured. `ofWorkers`: workers answer the clients. Rejects when it is not installed. */
  async open(ofWorkers: boolean): Promise<void> {
    const { config, metrics, log } = this.#options;
    const { otel } = config;
    if (otel === undefined) return;
    const settings = settingsOf(config, otel);
    if (ofWorkers) this.#forWorkers = { ...settings, headers: await valuesOf(otel.headers) };
    this.#otel = await openOtel({
      ...settings,
      headers: () => valuesOf(otel.headers),
      families: metrics.families,
      ofWorkers,
      lost: (spans, reason) => this.lost(spans, reason),
      metricsFailed: (reason) => this.#say("metrics", { reason }, "metrics cannot be sent by OTLP"),
    });
    log.info({ endpoint: otel.endpoint, protocol: otel.protocol }, "traces and metrics are sent by OTLP");
  }

  /** Undefined: nothing is traced. */
  get tracing(): RequestTracing | undefined {
    return this.#otel?.tracing;
  }

  /** What workers are told. */
  get forWorkers(): WorkerOtel | undefined {
    return this.#forWorkers;
  }

  /** This process or a worker could not send so many spans. */
  lost(spans: number, reason: string): void {
    this.#options.metrics.lost("otel", spans);
    this.#say("spans", { reason }, "spans are lost: entrepot_telemetry_lost_total counts them");
  }

  #say(what: string, fields: object, message: string): void {
    if (this.#mayPass(what) !== undefined) this.#options.log.warn(fields, message);
  }

  /** Resolves when what waits is sent or lost, after 2 s at the latest. */
  async flush(): Promise<void> {
    await this.#otel?.flush();
  }

  /** As `flush`. */
  async close(): Promise<void> {
    await this.#otel?.close();
  }
}

function settingsOf({ node, listenTls }: Config, otel: OtelConfig): OtelSettings {
  const { headers: _, ...settings } = otel;
  return {
    ...settings,
    timeout: settings.timeout,
    node: node.name,
    version,
    scheme: listenTls === undefined ? "http" : "https",
  };
}

async function valuesOf(headers: HeaderSources): Promise<Record<string, string>> {
  const values = await Promise.all(
    headers.map(async ({ name, value }) => [name, (await value.read()).reveal()] as const),
  );
  return Object.fromEntries(values);
}
