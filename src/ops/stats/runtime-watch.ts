// How the process itself does: the event loop's lateness and memory.
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import type { RuntimeStats } from "./stats-document.ts";

/** Milliseconds between two samples; each sample is this long when nothing is late. */
const resolution = 20;
/** Milliseconds after which lateness is forgotten. */
const memory = 60_000;

/** Lateness is of the last minute at most. Watches from its creation until `stop`. */
export class RuntimeWatch {
  readonly #loop = monitorEventLoopDelay({ resolution });
  #since = performance.now();

  constructor() {
    this.#loop.enable();
  }

  read(): RuntimeStats {
    const loop = this.#loop;
    const heap = getHeapStatistics();
    const stats = {
      eventLoopP50Ms: loop.count === 0 ? null : lateness(loop.percentile(50)),
      eventLoopP99Ms: loop.count === 0 ? null : lateness(loop.percentile(99)),
      residentBytes: residentBytes(),
      heapBytes: heap.used_heap_size,
      externalBytes: heap.external_memory,
    };
    if (performance.now() - this.#since > memory) {
      loop.reset();
      this.#since = performance.now();
    }
    return stats;
  }

  stop(): void {
    this.#loop.disable();
  }
}

/** `nanoseconds` is how long a sample took. */
function lateness(nanoseconds: number): number {
  return Math.max(0, Math.round((nanoseconds / 1e6 - resolution) * 100) / 100);
}

/** Linux only (proc_pid_status); from the kernel's memory, so that reading it waits for no disk. */
function residentBytes(): number | null {
  try {
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"));
    return match === null ? null : Number(match[1]) * 1024;
  } catch {
    return null;
  }
}
