// `entrepot demo`: the mirror in front of a registry of its own, with nothing to configure.
import { type Context, exitCode } from "./context.ts";
import { describeStartFailure } from "./start-failure.ts";

export interface DemoFlags {
  readonly once?: boolean;
  readonly port: number;
  readonly opsPort: number;
}

/** Resolves to the exit code. The first signal ends the demo in order, a second one at once. */
export async function demo(flags: DemoFlags, context: Context): Promise<number> {
  const controller = new AbortController();
  const cut = Promise.withResolvers<number>();
  const release = context.onSignal(() => {
    if (controller.signal.aborted) cut.resolve(exitCode.failed);
    else controller.abort();
  });
  const options = {
    ...flags,
    once: flags.once ?? false,
    print: (line: string) => context.out(`${line}\n`),
    signal: controller.signal,
    terminal: context.terminal,
  };
  try {
    const runDemo = context.runDemo ?? (await import("../demo/demo.ts")).runDemo;
    return await Promise.race([runDemo(options), cut.promise]);
  } catch (error) {
    context.err(`${describeStartFailure(error, [])}\n`);
    return exitCode.failed;
  } finally {
    release();
  }
}
