// `entrepot worker`: a worker process, which only the mirror itself starts.
import type { Context } from "./context.ts";

/** Runs until the mirror ends the process. Rejects when nobody but a person has started it. */
export async function worker({ onSignal, onHarmlessSignal }: Context): Promise<number> {
  // A signal to the whole group, such as Ctrl-C, is for the primary: it lets the answers under way end first.
  onSignal(() => {});
  onHarmlessSignal(() => {});
  const { runWorker } = await import("../app/worker-process.ts");
  return await runWorker();
}
