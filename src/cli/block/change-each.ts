// Changes of the same kind that a command asks a running mirror for, one after the other.
import { type Context, exitCode } from "../context.ts";
import {
  askOps,
  noAnswer,
  type OpsChange,
  type OpsPlaceOptions,
  OpsRefusal,
  opsPlace,
} from "../ops-place.ts";

export interface EachOptions extends OpsPlaceOptions {
  readonly json?: true;
}

/** It is not so, or cannot be: the others are asked for all the same. */
const refusals: readonly number[] = [404, 409];

/** Milliseconds for one: manifests may have to be fetched, and other nodes be told. */
const patience = 60_000;

/** Gives the exit code. `called`: what each of them is, for JSON. */
export async function changeEach(
  called: string,
  each: readonly string[],
  options: EachOptions,
  context: Context,
  asked: (one: string) => { readonly path: string; readonly change: OpsChange },
  read: (answer: unknown) => { readonly isDone: boolean; readonly text: string },
): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  let code: number = exitCode.done;
  for (const one of each) {
    const { path, change } = asked(one);
    try {
      const answer = await askOps(place, path, patience, change);
      const { isDone, text } = read(answer);
      context.out(options.json ? `${JSON.stringify(answer)}\n` : `${text}\n`);
      if (!isDone) code = exitCode.failed;
    } catch (error) {
      const said = noAnswer(error, place);
      if (options.json) context.out(`${JSON.stringify({ [called]: one, error: said })}\n`);
      context.err(`entrepot: ${said}\n`);
      if (!(error instanceof OpsRefusal && refusals.includes(error.status))) return exitCode.usage;
      code = exitCode.failed;
    }
  }
  return code;
}
