// What a stretch of work costs a server.
import { setTimeout as delay } from "node:timers/promises";
import type { Server } from "./server.ts";

export interface Cost<T> {
  readonly result: T;
  /** User and system time of the servers. */
  readonly cpuSeconds: number;
  readonly seconds: number;
}

/** The time `work` takes, and what the servers spend on it. */
export async function costOf<T>(servers: readonly Server[], work: () => Promise<T>): Promise<Cost<T>> {
  const cpu = total(servers);
  const start = performance.now();
  const result = await work();
  return { result, seconds: (performance.now() - start) / 1000, cpuSeconds: total(servers) - cpu };
}

/** Milliseconds without work after which a server is at rest, and after which waiting for that is given up. */
const restful = 200;
const patience = 5_000;

/** Resolves when the server does nothing any more: some store what they fetched behind the client's back. */
export async function atRest(server: Server): Promise<void> {
  const deadline = performance.now() + patience;
  for (let before = -1; performance.now() < deadline; ) {
    const now = server.cpuSeconds();
    if (now === before) return;
    before = now;
    await delay(restful);
  }
}

function total(servers: readonly Server[]): number {
  return servers.reduce((sum, server) => sum + server.cpuSeconds(), 0);
}
