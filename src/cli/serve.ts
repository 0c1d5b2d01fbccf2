// `entrepot serve`: runs the mirror until a signal, then lets transfers under way finish.
import type { App } from "../app.ts";
import type { Config } from "../config/config.ts";
import { formatProblems, formatWarnings } from "../config/problem.ts";
import { type Context, exitCode, loadFrom } from "./context.ts";
import { Reloads } from "./reloads.ts";
import { describeStartFailure, type Listener } from "./start-failure.ts";
import { trustSystemAuthorities } from "./system-authorities.ts";
import { tellWrongUpstreams } from "./wrong-upstreams.ts";

/** Milliseconds `stop` may take before the process ends without it. */
const stopTimeout = 10_000;

export interface ServeOptions {
  readonly config?: string;
  /** Does not ask the registries whether they answer as configured, neither at the start nor later. */
  readonly offline?: boolean;
}

/** Resolves to the exit code, when nothing of the mirror runs any more or stopping it took longer than 10 s. */
export async function serve(options: ServeOptions, context: Context): Promise<number> {
  const load = () => loadFrom(options.config, context);
  const loaded = load();
  if (!loaded.ok) {
    context.err(formatProblems(loaded.problems));
    return exitCode.usage;
  }
  context.err(formatWarnings(loaded.warnings));
  const signals = new Signals(context);
  const reloads = new Reloads(loaded, load);
  let app: App | undefined;
  // From the start on: unheard, they end the process.
  const deafen = context.onHarmlessSignal((name) => {
    if (name === "SIGHUP") reloads.request();
    else app?.heard(name);
  });
  try {
    return await run(reloads, options, context, signals, (made) => {
      app = made;
    });
  } finally {
    signals.release();
    deafen();
  }
}

async function run(
  reloads: Reloads,
  { offline = false }: ServeOptions,
  context: Context,
  signals: Signals,
  made: (app: App) => void,
): Promise<number> {
  const { config } = reloads;
  const fail = (error: unknown) => {
    context.err(`${describeStartFailure(error, listenersOf(config))}\n`);
    return exitCode.failed;
  };
  let app: App;
  try {
    app = await make(config, context, offline);
    made(app);
  } catch (error) {
    return fail(error);
  }
  try {
    // A first signal while starting is answered after it; a second one does not wait.
    const started = await Promise.race([app.start().then(() => true), signals.second.then(() => false)]);
    if (!started) return await end(app, context, exitCode.failed);
  } catch (error) {
    return await end(app, context, fail(error));
  }
  reloads.attach(app);
  const checking = new AbortController();
  const checked = offline ? undefined : tellWrongUpstreams(config, context, checking.signal);
  await signals.first;
  reloads.detach();
  checking.abort();
  await checked;
  return await end(app, context, await drain(app, reloads.config.drainTimeout, context, signals));
}

async function make(config: Config, context: Context, offline: boolean): Promise<App> {
  if (context.build !== undefined) return context.build(config);
  trustSystemAuthorities();
  // Loaded only here, so that check and --help do not wait for all of it.
  const { build } = await import("../app.ts");
  const { memoryLimit, outputTerminal: terminal } = context;
  return build(config, { memoryLimit, terminal, checkUpstreams: !offline });
}

/** Waits for the transfers under way, at most `timeout` milliseconds or until a second signal. */
async function drain(app: App, timeout: number, context: Context, signals: Signals): Promise<number> {
  const late = after(timeout, exitCode.failed);
  try {
    const drained = app.drain().then(() => exitCode.done);
    return await Promise.race([drained, late.promise, signals.second.then(() => exitCode.failed)]);
  } catch (error) {
    context.err(`entrepot: draining failed: ${messageOf(error)}\n`);
    return exitCode.failed;
  } finally {
    late.cancel();
  }
}

async function end(app: App, context: Context, code: number): Promise<number> {
  const late = after(stopTimeout, false);
  try {
    if (await Promise.race([app.stop().then(() => true), late.promise])) return code;
    context.err(`entrepot: stopping took longer than ${stopTimeout / 1000} s, gave up\n`);
  } catch (error) {
    context.err(`entrepot: stopping failed: ${messageOf(error)}\n`);
  } finally {
    late.cancel();
  }
  return exitCode.failed;
}

function after<T>(
  milliseconds: number,
  value: T,
): { readonly promise: Promise<T>; readonly cancel: () => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  const timer = setTimeout(resolve, milliseconds, value);
  return { promise, cancel: () => clearTimeout(timer) };
}

/** The first and the second signal, each a promise. */
class Signals {
  readonly first: Promise<void>;
  readonly second: Promise<void>;
  readonly release: () => void;

  constructor({ onSignal }: Context) {
    const first = Promise.withResolvers<void>();
    const second = Promise.withResolvers<void>();
    let count = 0;
    this.first = first.promise;
    this.second = second.promise;
    this.release = onSignal(() => {
      count++;
      if (count === 1) first.resolve();
      else second.resolve();
    });
  }
}

function listenersOf(config: Config): Listener[] {
  return [
    { address: config.listen, remedy: "with ENTREPOT_LISTEN, or listen in the configuration file" },
    { address: config.opsListen, remedy: "with ENTREPOT_OPS_LISTEN, or opsListen in the configuration file" },
  ];
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
