// How a running pull is shown: one bar on a terminal, nothing elsewhere (the result line says it all).
import { Presets, SingleBar } from "cli-progress";
import prettyBytes from "pretty-bytes";

/** Bytes received so far and to be received in all; `total` grows while manifests are still being read. */
export type ProgressCallback = (received: number, total: number) => void;

/** Runs `work` with a bar on `terminal`; without a terminal the callback does nothing. */
export async function withProgress<T>(
  terminal: NodeJS.WritableStream | undefined,
  work: (onProgress: ProgressCallback) => Promise<T>,
): Promise<T> {
  if (terminal === undefined) return work(() => undefined);
  const format = "     {bar} {percentage} %  {done} of {all}";
  const bar = new SingleBar(
    { stream: terminal, format, barsize: 30, clearOnComplete: true, gracefulExit: false },
    Presets.shades_classic,
  );
  const sizes = (received: number, total: number) => ({
    done: prettyBytes(received),
    all: prettyBytes(total),
  });
  bar.start(1, 0, sizes(0, 0));
  try {
    return await work((received, total) => {
      bar.setTotal(Math.max(total, 1));
      bar.update(received, sizes(received, total));
    });
  } finally {
    bar.stop();
  }
}
