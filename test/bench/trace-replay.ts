// What a cache with a bound keeps of what clients of a production registry asked for: a trace, replayed through each mirror
// with room for a part of its bytes.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { request } from "undici";
import { until } from "../system/fixtures/until.ts";
import { costOf } from "./cost.ts";
import type { FarRegistry, FarRequest } from "./far-registry.ts";
import { nginx, type Peer } from "./peer.ts";
import type { Round } from "./round.ts";
import { type Measure, ours, type Sample, type Scale, type Scenario, samplesOf } from "./scenario.ts";
import type { Room, Server } from "./server.ts";
import { percentile } from "./statistics.ts";
import { lruHits } from "./trace/computed-lru.ts";
import { makeTrace } from "./trace/made-trace.ts";
import { replay } from "./trace/replay.ts";
import { type Trace, uniqueBytes } from "./trace/trace.ts";
import { contentOf, scaled, type TraceContent } from "./trace/trace-content.ts";
import { readTrace } from "./trace/trace-file.ts";

/** Room for a part of all bytes, in percent; undefined without a bound. */
type Part = number | undefined;

/** Bytes below which a blob is small, before the sizes are scaled: the default of `cache.smallBlob`. */
const smallBlob = 1_000_000;

export function traceReplay({ quick, trace: file }: Scale): Scenario {
  const length = quick ? 3_000 : 100_000;
  const bytes = quick ? 40e6 : 1.5e9;
  const parts: readonly Part[] = quick ? [5, undefined] : [1, 5, 10, undefined];
  const what = file === undefined ? `${length.toLocaleString("en")} requests as in production` : file;
  return {
    name: "trace",
    title: `A trace replayed: ${what}, with room for a part of the bytes`,
    mostRounds: 1,
    measures: parts.flatMap(measuresOf),
    async run(round) {
      const trace = file === undefined ? makeTrace({ length }) : (await readTrace(file)).trace;
      const content = contentOf(trace, bytes);
      const far = await round.startFar(content.repositories);
      const sizes = scaled(trace, content.scale);
      // About half of the bytes are fetched, so half of the room each time, and more of a small room: each wait takes a second.
      const pauses = (fillings: number): number => Math.min(quick ? 5 : 60, Math.ceil(fillings));
      const samples: Sample[] = [];
      for (const part of parts)
        for (const peer of round.peers)
          if (part === undefined || peer.bounded)
            samples.push(...(await measure(round, far, { peer, part, content, sizes, pauses })));
      return samples;
    },
  };
}

function measuresOf(part: Part): readonly Measure[] {
  const room = part === undefined ? "no bound" : `room for ${part} %`;
  const id = idOf(part);
  const bounded: readonly Measure[] = [
    {
      id: `${id}-objects-over-lru`,
      title: `Blobs hit, ${room}, above LRU by digest (computed)`,
      unit: "points",
      ...(part === 1 && { targets: [{ atLeast: 15 }] }),
      ...(part === 5 && { targets: [{ atLeast: 7 }] }),
    },
    {
      id: `${id}-bytes-over-lru`,
      title: `Bytes hit, ${room}, above LRU by digest (computed)`,
      unit: "points",
      targets: [{ atLeast: -0.2 }],
    },
    { id: `${id}-held`, title: `Bytes of blobs at the end, ${room}`, unit: "%" },
  ];
  return [
    { id: `${id}-objects`, title: `Blobs hit, ${room}`, unit: "%" },
    { id: `${id}-bytes`, title: `Bytes hit, ${room}`, unit: "%" },
    ...(part === undefined ? [] : bounded),
    { id: `${id}-upstream-bytes`, title: `Upstream's bytes, ${room}`, unit: "MB" },
    { id: `${id}-upstream-requests`, title: `Requests to upstream, ${room}`, unit: "requests" },
    { id: `${id}-p50`, title: `First byte, ${room}, p50`, unit: "ms" },
    { id: `${id}-p99`, title: `First byte, ${room}, p99`, unit: "ms" },
    { id: `${id}-cpu`, title: `CPU, ${room}`, unit: "CPU µs/request" },
  ];
}

function idOf(part: Part): string {
  return part === undefined ? "unbounded" : `room-${part}`;
}

interface Run {
  readonly peer: Peer;
  readonly part: Part;
  readonly content: TraceContent;
  /** The trace with the sizes it is replayed with. */
  readonly sizes: Trace;
  /** How often nginx is waited for, when a cache as large as its room would be filled so often by all that is asked for. */
  readonly pauses: (fillings: number) => number;
}

async function measure(
  round: Round,
  far: FarRegistry,
  { peer, part, content, sizes, pauses }: Run,
): Promise<readonly Sample[]> {
  const { asked, uniqueBytes: unique, askedBytes, scale } = content;
  const room =
    part === undefined
      ? undefined
      : { bytes: Math.round((unique * part) / 100), smallBlob: Math.max(1, Math.round(smallBlob / scale)) };
  const before = (await far.asked()).length;
  const directory = await round.directory();
  const place = round.places.mirrors[0];
  const server = await round.stopping(
    peer.start({ upstream: far.url, directory, place, ...(room && { room }) }),
  );
  const { result, cpuSeconds } = await costOf([server], () =>
    replay(
      server.url,
      asked,
      room !== undefined && peer === nginx
        ? keepingTo(room, server, directory, pauses(askedBytes / room.bytes))
        : {},
    ),
  );
  const fetched = fetchesIn(await far.asked(before));
  const blobs = asked.filter(({ kind }) => kind === "blob").length;
  const objects = 100 * (1 - fetched.blobs / blobs);
  const bytes = 100 * (1 - fetched.blobBytes / askedBytes);
  const values: Record<string, number> = {
    objects,
    bytes,
    "upstream-bytes": fetched.bytes / 1e6,
    "upstream-requests": fetched.requests,
    p50: percentile(result.firstByteMs, 50),
    p99: percentile(result.firstByteMs, 99),
    cpu: (cpuSeconds / asked.length) * 1e6,
  };
  if (room !== undefined) {
    const lru = lruHits(sizes, room.bytes);
    values["objects-over-lru"] = objects - 100 * lru.objects;
    values["bytes-over-lru"] = bytes - 100 * lru.bytes;
    const held = () => bytesIn(blobsOf(peer, directory));
    // What somebody was reading during the last pass goes with the next one, within half a minute.
    if (peer.name === ours)
      await until(`${ours} keeps to its room`, async () => (await held()) <= room.bytes, 60_000);
    values.held = (100 * (await held())) / room.bytes;
    if (peer.name === ours) round.within(`% of its room that ${ours} holds`, values.held, 0, 100);
  } else if (peer.name === ours) {
    const possible = lruHits(sizes, uniqueBytes(sizes) + 1);
    round.within(
      "blobs hit without a bound",
      objects,
      100 * possible.objects - 1,
      100 * possible.objects + 1,
    );
  }
  round.equal(`bytes of blobs ${peer.name} sent`, result.blobBytes, askedBytes);
  await server.stop();
  return samplesOf(peer.name, values, (name) => `${idOf(part)}-${name}`);
}

/** What upstream sent. A blob that came in several parts is one, begun with its first byte. */
function fetchesIn(asked: readonly FarRequest[]) {
  const blobs = asked.filter(({ method, path }) => method === "GET" && path.includes("/blobs/"));
  const sum = (requests: readonly FarRequest[]): number =>
    requests.reduce((total, { bytes }) => total + bytes, 0);
  return {
    requests: asked.length,
    bytes: sum(asked),
    blobs: blobs.filter(({ from }) => from === 0).length,
    blobBytes: sum(blobs),
  };
}

/**
 * nginx looks at its bound at most once a second (nginx.ts), which is next to never in a replay of days in a minute. So it is
 * given the time to, `parts` times.
 */
function keepingTo(room: Room, server: Server, directory: string, parts: number) {
  return {
    parts,
    pause: async (): Promise<void> => {
      while ((await bytesIn(blobsOf(nginx, directory))) > room.bytes) {
        const { body } = await request(new URL("/v2/", server.url));
        await body.dump();
        await delay(50);
      }
    },
  };
}

function blobsOf(peer: Peer, directory: string): string {
  return join(directory, "cache", peer.name === ours ? "blobs" : "");
}

/** Bytes of all files below. */
async function bytesIn(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      // It may go meanwhile.
      .map((entry) =>
        stat(join(entry.parentPath, entry.name)).then(
          ({ size }) => size,
          () => 0,
        ),
      ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
