// What the page's buttons do: ask this node for a change, and tell what has come of it. The login is the page's own: the browser
// shows what it was asked for when the page was opened, and asks again when that is no longer taken.
import type { JobReport } from "../../jobs/job-report.ts";
import type { PinReport, UnpinnedReport } from "../../pins/pin-report.ts";
import type { PurgeReport, RefreshReport } from "../../purge/purge-report.ts";
import {
  type ActionButton,
  confirmed,
  outcomeId,
  outcomeView,
  pinnedView,
  purgedView,
  purgeView,
  refreshedView,
  unpinnedView,
} from "../actions-view.ts";
import { count, size } from "../format.ts";
import { h, type PageNode } from "../html.ts";
import { make } from "./patch.ts";

/** Milliseconds between two questions how far a job has got; how many of them: it goes on without being watched. */
const jobInterval = 1_000;
const maxQuestions = 3_600;

export interface ActionsOptions {
  /** The address of a path on the listener. */
  readonly address: (path: string) => URL;
  /** Called when something about the image may have changed. */
  readonly changed: () => void;
}

/** Once for all buttons: those of an explanation come and go. */
export function listenToActions(options: ActionsOptions): void {
  const run: Readonly<Record<ActionButton["name"], (reference: string) => Promise<void>>> = {
    warm: (reference) => warm(reference, options),
    refresh: (reference) => refresh(reference, options),
    pin: (reference) => pin(reference, options),
    unpin: (reference) => unpin(reference, options),
    purge: (reference) => purge(reference, options),
  };
  let busy = false;
  document.addEventListener("click", ({ target }) => {
    if (!(target instanceof HTMLButtonElement)) return;
    const { action, reference } = target.dataset;
    if (action === undefined || reference === undefined || !(action in run)) return;
    if (busy) return tell("warn", "not asked", ": what the button before asks for is still under way");
    busy = true;
    run[action as ActionButton["name"]](reference)
      .catch(tellRefusal)
      .finally(() => {
        busy = false;
      });
  });
}

function tell(...said: Parameters<typeof outcomeView>): void {
  show(outcomeView(...said));
}

function tellRefusal(error: unknown): void {
  tell("bad", "refused", `: ${error instanceof Error ? error.message : error}`);
}

function show(outcome: PageNode): void {
  document.getElementById(outcomeId)?.replaceChildren(make(outcome));
}

/** What the API says against it; what is no JSON comes from something between. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message = `status ${status}`) {
    super(message);
    this.status = status;
  }
}

/** What the API answers. Rejects with Refusal, and with TypeError when there is no answer. */
async function ask<Answer>(
  { address }: ActionsOptions,
  path: string,
  change?: object,
  method = "POST",
): Promise<Answer> {
  const answer = await fetch(
    address(path),
    change && {
      method,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(change),
    },
  );
  const said = (await answer.json().catch(() => undefined)) as Answer | ApiError | undefined;
  if (typeof said !== "object" || said === null || "error" in said || !answer.ok)
    throw new Refusal(answer.status, (said as ApiError | null | undefined)?.error?.message);
  return said as Answer;
}

interface ApiError {
  readonly error: { readonly message: string };
}

const jobs = "api/v1/jobs";
/** Of the job that is followed: the last that was begun. */
let followed: string | undefined;

/** The job is followed while other buttons work. */
async function warm(reference: string, options: ActionsOptions): Promise<void> {
  const job = await ask<JobReport>(options, jobs, { images: [reference] });
  followed = job.id;
  follow(job, reference, options).catch(tellRefusal);
}

async function follow(begun: JobReport, reference: string, options: ActionsOptions): Promise<void> {
  let job = begun;
  const page = h("a", { href: options.address("jobs").href }, `job ${job.id}`);
  tell("idle", "fetching", ` ${reference}: `, page);
  for (let asked = 0; job.endedAt === null && asked < maxQuestions; asked++) {
    await new Promise((resolve) => setTimeout(resolve, jobInterval));
    if (followed !== job.id) return;
    // Where nobody answers for the node it is asked again: the page itself shows that it is gone.
    job = await ask<JobReport>(options, `${jobs}/${job.id}`).catch((error: unknown) => {
      if (error instanceof Refusal && error.status >= 400 && error.status < 500) throw error;
      return job;
    });
  }
  const { sums, failures, state } = job;
  const came = `${count(sums.parts, "part")}, ${size(sums.sizeBytes)}, ${size(sums.fetchedBytes)} of it fetched`;
  const [failure] = failures;
  if (state === "done") tell("ok", "all of it is here", `: ${reference}: ${came}: `, page);
  else if (failure !== undefined)
    tell("bad", "not all of it is here", `: ${reference}: ${failure.reason}: `, page);
  else tell("warn", state, ` ${reference}: `, page);
  options.changed();
}

async function pin(reference: string, options: ActionsOptions): Promise<void> {
  tell("idle", "pinning", ` ${reference}`);
  show(pinnedView(reference, await ask<PinReport>(options, "api/v1/pins", { image: reference })));
  options.changed();
}

async function unpin(reference: string, options: ActionsOptions): Promise<void> {
  tell("idle", "unpinning", ` ${reference}`);
  const path = `api/v1/pins?image=${encodeURIComponent(reference)}`;
  show(unpinnedView(reference, await ask<UnpinnedReport>(options, path, {}, "DELETE")));
}

async function refresh(reference: string, options: ActionsOptions): Promise<void> {
  tell("idle", "asking", ` for ${reference} at all nodes`);
  show(refreshedView(reference, await ask<RefreshReport>(options, "api/v1/refresh", { reference })));
  options.changed();
}

/** Nothing goes before it has been seen. */
async function purge(reference: string, options: ActionsOptions): Promise<void> {
  const path = "api/v1/purge";
  tell("idle", "looking", ` what would go with ${reference}`);
  const planned = await ask<PurgeReport>(options, path, { reference, dryRun: true });
  if (!(await isConfirmed(purgeView(reference, planned)))) return tell("idle", "kept", `: ${reference}`);
  tell("idle", "purging", ` ${reference} at all nodes`);
  show(purgedView(reference, await ask<PurgeReport>(options, path, { reference })));
  options.changed();
}

/** Whether the dialog was left by its button that says yes; Esc says no. */
function isConfirmed(view: PageNode): Promise<boolean> {
  const dialog = make(view) as HTMLDialogElement;
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === confirmed);
    });
    dialog.showModal();
  });
}
