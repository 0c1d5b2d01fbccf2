// How much of an upstream's bandwidth each caller may have. Nobody knows how much there is, nor how much a caller could use:
// it is tried. Where one gets less than its share, those that get more are cut by what the first could grow by. If it grows,
// they are cut further, until all have the same (max-min fairness). If it does not grow it can use no more, or nothing is
// short: then that is what it needs, the others may have the rest, and it is tried again later, each time after longer.

/** Below this part of its share, or of what it is known to need, a caller wants more. */
const near = 0.93;
const nearNeeds = 0.85;
/** A rate is growing when it is larger by this factor. */
const growth = 1.1;
/** A caller that is held may have this much more than its share: what is left over then finds a taker. */
const slack = 1.04;
/** Milliseconds without growth after which a caller is taken to have what it can use: several round trips. */
const patience = 2_000;
/**
 * Bytes that a held transfer takes in before its sender notices. The link carries them instead of what others are left, so
 * that they have more time; but never more than so many milliseconds.
 */
const taken = 256 * 1024;
const longestTaking = 20_000;
/** Milliseconds until more is left to anyone again, at first and at most; each time without growth twice as long. */
const firstRest = 10_000;
const longestRest = 80_000;
/** Until one that wants more has it, the others may have less than their share, but not less than this part of it. */
const deepest = 1 / 2;
/** The factor by which those that are held may have more at each measurement, while the others have what they can use. */
const relaxing = 1.02;

/** While some are held, what comes is not what could come: by this part what that was before is doubted at each measurement. */
const doubt = 0.05;
/** The part by which upstream is believed to have become faster from one measurement to the next. */
const quickly = 0.2;
/** What is left to a caller, when that is tried again: by what it is known to need, and of all that upstream sends. */
const tryAgain = 1.5;
const leastRoom = 1 / 16;

/** What is known of a caller. Rates are in bytes a millisecond. */
export interface ShareTaker {
  /** It is never held. */
  readonly exempt: boolean;
  /** Mean of the last two measurements. */
  rate: number;
  /** The last one; undefined before the first. */
  measured: number | undefined;
  /** Most it may have; undefined: as much as it gets. */
  limit: number | undefined;
  /** Whether that has held some of its transfers back since the last measurement. */
  held: boolean;
  /** All it could use when that was tried; until when that counts; and what is left to it. */
  needs: { readonly rate: number; readonly until: number; readonly due: number } | undefined;
  /** While it wants more: its rate when it last grew, and since when that is all. */
  wanting: { readonly rate: number; readonly since: number } | undefined;
}

export function newcomer(exempt: boolean): ShareTaker {
  return {
    exempt,
    rate: 0,
    measured: undefined,
    limit: undefined,
    held: false,
    needs: undefined,
    wanting: undefined,
  };
}

/** Takes note of what a caller got since the last measurement. */
export function note(taker: ShareTaker, rate: number): void {
  taker.rate = taker.measured === undefined ? rate : (rate + taker.measured) / 2;
  taker.measured = rate;
}

export class FairShares {
  /** What upstream sends when nobody is held, as far as is known, in bytes a millisecond. */
  #full = 0;
  /** Nobody could use more when that was last tried: milliseconds until it is tried again, and when that is. */
  #rest = firstRest;
  #restsUntil = 0;
  /** It is being tried: meanwhile less comes than could. */
  #trying = false;

  /**
   * Sets the limits of those that have transfers under way, so many in all, after each was noted. `now` in milliseconds.
   */
  judge(takers: readonly ShareTaker[], transfers: number, now: number): void {
    const total = this.#take(takers, now);
    if (total === 0 || takers.length < 2) return;
    const share = shareOf(this.#full, takers);
    // While one has more than its share and is not held, what the others get says nothing of what they could use.
    const tried =
      takers.some(({ held }) => held) &&
      !takers.some(({ rate, limit, exempt }) => rate > share && limit === undefined && !exempt);
    const late = now - patience - Math.min(longestTaking, (2 * transfers * taken) / this.#full);
    let found: "content" | "wants" | "squeezed" | "responds" = "content";
    /** What they need is a higher limit. */
    const low: ShareTaker[] = [];
    let least = 1;
    for (const taker of takers) {
      const { rate, held, needs } = taker;
      const due = dueTo(taker, share);
      if (rate >= (isKnown(needs) ? nearNeeds : near) * due) taker.wanting = undefined;
      else if (held) low.push(taker);
      else if (isKnown(needs) || now >= this.#restsUntil) {
        const trial = this.#try(taker, tried, late, now);
        if (trial === "changes") found = "responds";
        else if (trial === "stays" && found !== "responds") found = isKnown(needs) ? "squeezed" : "wants";
        if (needs === undefined) least = Math.min(least, rate / due);
      }
    }
    this.#trying = tried && found !== "content";
    if (found === "responds") cut(takers, share, Math.max(least, deepest));
    else if (found === "squeezed") squeeze(takers);
    else if (found === "content") {
      relax(takers, shareOf(this.#full, takers), this.#full);
      for (const taker of low) taker.limit = Math.max(taker.limit ?? 0, share * slack);
    }
    // Someone has to take what nobody else can.
    if (takers.every(({ limit }) => limit !== undefined)) leastOf(takers).limit = undefined;
  }

  /** What all got together. */
  #take(takers: readonly ShareTaker[], now: number): number {
    let total = 0;
    let anyHeld = false;
    for (const taker of takers) {
      const { needs, rate, held } = taker;
      total += rate;
      anyHeld ||= held;
      if (needs === undefined) continue;
      if (rate > needs.rate * growth) taker.needs = undefined;
      else if (now >= needs.until)
        taker.needs = { ...needs, due: needs.rate * tryAgain + this.#full * leastRoom };
    }
    // What was held back comes at once when it may: that is more than upstream sends.
    const least = anyHeld ? this.#full * (this.#trying ? 1 : 1 - doubt) : total;
    const most = this.#full === 0 ? total : this.#full * (1 + quickly);
    this.#full = Math.min(Math.max(total, least), most);
    return total;
  }

  /**
   * What comes of leaving a caller more: its rate `changes`, or it has just begun to want more; it `stays` as it is; that is
   * `settled` after a while.
   */
  #try(taker: ShareTaker, tried: boolean, late: number, now: number): "changes" | "stays" | "settled" {
    const { wanting, rate } = taker;
    const grows = wanting !== undefined && rate > wanting.rate * growth;
    if (grows && tried) this.#rest = firstRest;
    if (wanting === undefined || grows || !tried) {
      taker.wanting = { rate, since: now };
      return "changes";
    }
    if (wanting.since > late) {
      if (rate * growth > wanting.rate) return "stays";
      // The others take it away: they have too much by all means.
      taker.wanting = { rate, since: wanting.since };
      return "changes";
    }
    this.#restsUntil = now + this.#rest;
    this.#rest = Math.min(2 * this.#rest, longestRest);
    taker.needs = { rate, until: this.#restsUntil, due: rate };
    taker.wanting = undefined;
    return "settled";
  }
}

/** What a caller is to have, when all that could use more have `share`. */
function dueTo({ needs }: ShareTaker, share: number): number {
  return needs === undefined ? share : Math.min(needs.due, share);
}

/** Whether what it needs is known well enough not to be tried. */
function isKnown(needs: ShareTaker["needs"]): boolean {
  return needs !== undefined && needs.due === needs.rate;
}

/** The most each may have so that all together have `total`; Infinity when nobody could use more than it needs. */
function shareOf(total: number, takers: readonly ShareTaker[]): number {
  const needs = takers.map((taker) => taker.needs?.due ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
  let left = total;
  for (const [index, need] of needs.entries()) {
    const share = left / (needs.length - index);
    if (need > share) return share;
    left -= need;
  }
  return Number.POSITIVE_INFINITY;
}

/** Those with more than their share get `part` of it, as long as someone has less. */
function cut(takers: readonly ShareTaker[], share: number, part: number): void {
  for (const taker of takers)
    if ((taker.rate > share || taker.held) && !taker.exempt) taker.limit = share * part;
}

/** One gets less than it needs: those that are held have too much. */
function squeeze(takers: readonly ShareTaker[]): void {
  for (const taker of takers) if (taker.held && taker.limit !== undefined) taker.limit *= 1 - doubt;
}

/** All have what is due to them. Where some can use no more than they have, the others may find out whether there is more. */
function relax(takers: readonly ShareTaker[], share: number, full: number): void {
  const more = takers.some(({ needs }) => needs !== undefined && needs.due < share);
  for (const taker of takers) {
    const { limit } = taker;
    if (limit === undefined) continue;
    const relaxed = more ? Math.max(Math.min(share, full), limit * relaxing) : share * slack;
    // More than everything there is.
    taker.limit = relaxed > full * slack ? undefined : relaxed;
  }
}

function leastOf(takers: readonly ShareTaker[]): ShareTaker {
  return takers.reduce((least, taker) => (taker.rate < least.rate ? taker : least));
}
