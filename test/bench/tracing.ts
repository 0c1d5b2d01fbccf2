// What traces by OTLP cost: the same cached manifest, by the same client, from mirrors that trace none, some and all of the requests,
// to a receiver that takes everything. All of them run at once and are asked in turn, a second each.
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { makeImage } from "../fixtures/images.ts";
import { costOf } from "./cost.ts";
import { startEntrepot } from "./entrepot.ts";
import { repositoryOf } from "./far-content.ts";
import { pull } from "./pulling.ts";
import type { Round } from "./round.ts";
import { ours, type Scale, type Scenario } from "./scenario.ts";
import { median } from "./statistics.ts";
import { wrk } from "./wrk.ts";

const image = makeImage({ seed: "tracing", layers: Array.from({ length: 8 }, () => 64) });
const repository = repositoryOf("bench/tracing", "1", image);
const path = `/v2/${repository.name}/manifests/1`;

const modes = [
  { name: "without", title: "without otel" },
  { name: "none", title: "otel, none of them", ratio: "0%" },
  { name: "some", title: "otel, 1 %", ratio: "1%" },
  { name: "all", title: "otel, all", ratio: "100%" },
] as const;

interface Sizes {
  /** Turns of every mode, and seconds of each. */
  readonly turns: number;
  readonly seconds: number;
}

export function tracing({ quick }: Scale): Scenario {
  const sizes = quick ? { turns: 1, seconds: 1 } : { turns: 10, seconds: 1 };
  return {
    name: "tracing",
    title: "Cached manifest by tag, by the share of requests that are traced",
    programs: ["wrk"],
    measures: modes.flatMap(({ name, title }) => [
      { id: `${name}-cpu`, title, unit: "CPU µs/request" as const },
      ...(name === "without"
        ? []
        : [{ id: `${name}-ratio`, title: `${title}, over without`, unit: "×" as const }]),
    ]),
    run: (round) => measure(round, sizes),
  };
}

/** Takes everything; resolves with its address. */
async function startSink(round: Round): Promise<string> {
  const server = createServer((request, response) => {
    request.resume().on("end", () => response.end());
  });
  round.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function measure(round: Round, { turns, seconds }: Sizes) {
  const far = await round.startFar([repository]);
  const endpoint = await startSink(round);
  const running = [];
  for (const mode of modes) {
    const env: Record<string, string> =
      "ratio" in mode ? { ENTREPOT_OTEL_ENDPOINT: endpoint, ENTREPOT_OTEL_SAMPLE_RATIO: mode.ratio } : {};
    const directory = await round.directory();
    const options = {
      name: mode.name,
      upstream: far.url,
      directory,
      place: round.places.mirrors[0],
      env,
    };
    const server = await round.stopping(startEntrepot(options));
    await pull(round, server, path, image);
    const load = (time: number) =>
      wrk({
        base: server.url,
        paths: [path],
        accept: image.mediaType,
        seconds: time,
        place: round.places.load,
      });
    // The first seconds show how a program warms up, not how it runs.
    await load(3 * seconds);
    running.push({ name: mode.name, server, load, cpu: [] as number[] });
  }
  for (let turn = 0; turn < turns; turn++)
    for (const { name, server, load, cpu } of turn % 2 === 0 ? running : running.toReversed()) {
      const { result, cpuSeconds } = await costOf([server], () => load(seconds));
      round.equal(`failed requests ${name}`, result.failed, 0);
      cpu.push((cpuSeconds / result.requests) * 1e6);
    }
  const without = running[0]?.cpu ?? [];
  return running.flatMap(({ name, cpu }) => [
    { measure: `${name}-cpu`, peer: ours, value: median(cpu) },
    ...(name === "without"
      ? []
      : [
          {
            measure: `${name}-ratio`,
            peer: ours,
            value: median(cpu.map((each, turn) => each / (without[turn] ?? Number.NaN))),
          },
        ]),
  ]);
}
