// How far an export or an import has got, on a terminal.
import { SingleBar } from "cli-progress";
import { size } from "../../ops/page/format.ts";

export interface ProgressBar {
  /** So many bytes are done. */
  show(bytes: number): void;
  /** Takes it away. Idempotent. */
  end(): void;
}

/** `total`: bytes there are to do; undefined: nobody knows. Nothing is shown where there is no terminal. */
export function progressBar(
  terminal: NodeJS.WritableStream | undefined,
  total: number | undefined,
): ProgressBar {
  if (terminal === undefined) return { show: () => {}, end: () => {} };
  const format = total === undefined ? "{done}" : "{bar} {done} of {all}";
  const bar = new SingleBar({ format, stream: terminal, clearOnComplete: true, hideCursor: true });
  const texts = (bytes: number) => ({ done: size(bytes), all: size(total ?? 0) });
  bar.start(Math.max(1, total ?? 1), 0, texts(0));
  let ended = false;
  return {
    show: (bytes) => bar.update(Math.min(bytes, total ?? 0), texts(bytes)),
    end() {
      if (!ended) bar.stop();
      ended = true;
    },
  };
}
