// `entrepot pin`, `entrepot unpin` and `entrepot pins`: images that a running mirror never evicts.
import { count, size } from "../ops/page/format.ts";
import type { PinReport, PinsReport } from "../ops/pins/pin-report.ts";
import { changeEach, type EachOptions } from "./block/change-each.ts";
import { type Context, exitCode } from "./context.ts";
import { answerFrom, opsPlace } from "./ops-place.ts";

export type PinOptions = EachOptions;

const pinsPath = "/api/v1/pins";
/**
 * Gives the exit code: 0 when all of them are pinned, 1 when the mirror does not pin one, as when that would be over the budget,
 * 2 for a wrong reference, command line or configuration and when no mirror answers: then the rest is not asked for.
 */
export async function pin(images: readonly string[], options: PinOptions, context: Context): Promise<number> {
  const change = (image: string) => ({
    path: pinsPath,
    change: { method: "POST", body: { image } } as const,
  });
  return await changeEach("image", images, options, context, change, (answer) => {
    const pinned = answer as PinReport;
    const isDone = pinned.state !== "over_budget" && pinned.state !== "too_large";
    return { isDone, text: isDone ? `pinned ${lineOf(pinned)}` : lineOf(pinned) };
  });
}

/** As `pin`; 1 when one was not pinned, or is pinned by the configuration. */
export async function unpin(
  images: readonly string[],
  options: PinOptions,
  context: Context,
): Promise<number> {
  const change = (image: string) => ({
    path: `${pinsPath}?${new URLSearchParams({ image })}`,
    change: { method: "DELETE" } as const,
  });
  return await changeEach("image", images, options, context, change, (answer) => {
    const { image, stillConfigured } = answer as { image: string; stillConfigured: boolean };
    const still = stillConfigured ? ", which the configuration still pins" : "";
    return { isDone: true, text: `unpinned ${image}${still}` };
  });
}

/** Gives the exit code: 0 when all pinned images are here as a whole, 1 when one is not, 2 as above. */
export async function pins(options: PinOptions, context: Context): Promise<number> {
  const place = opsPlace(options, context);
  if (place === undefined) return exitCode.usage;
  const report = (await answerFrom(place, pinsPath, context)) as PinsReport | undefined;
  if (report === undefined) return exitCode.usage;
  const { pins, budgetBytes, heldBytes, neededBytes, leftOut } = report;
  if (options.json) context.out(`${JSON.stringify(report)}\n`);
  else {
    for (const each of pins) context.out(`${lineOf(each)}\n`);
    if (leftOut > 0) context.out(`${leftOut} more are not pinned: there are too many\n`);
    const over = neededBytes > budgetBytes ? `; all of them would come to ${size(neededBytes)}` : "";
    context.out(
      `${count(pins.length, "pinned image")}: ${size(heldBytes)} of ${size(budgetBytes)} held${over}\n`,
    );
  }
  return leftOut === 0 && pins.every(({ state }) => state === "whole") ? exitCode.done : exitCode.failed;
}

const states: Readonly<Record<PinReport["state"], string>> = {
  whole: "whole",
  incomplete: "not all here yet",
  over_budget: "NOT PINNED: over the budget",
  too_large: "NOT PINNED: too many parts",
  unknown: "not known yet",
};

function lineOf({ image, origin, state, sizeBytes, hereBytes, reason }: PinReport): string {
  const bytes = state === "incomplete" ? `${size(hereBytes)} of ${size(sizeBytes)}` : size(sizeBytes);
  const facts = [states[state], ...(state === "unknown" ? [] : [bytes]), `by ${origin}`];
  return `${image}  ${facts.join(", ")}${reason === null || state === "whole" ? "" : ` (${reason})`}`;
}
