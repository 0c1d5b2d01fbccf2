// What it means that two clocks differ: tokens, signatures and certificates are good for a time.
import { type Finding, failed, ok, warning } from "./examination.ts";

/** Seconds a clock may be off before it is warned of, and before what is signed with it is refused. */
const doubtfulSkew = 30;
const wrongSkew = 300;

/** `whose` clock says `theirs` when ours says `ours`, both in Unix milliseconds. */
export function skewFinding(whose: string, theirs: number, ours: number): Finding {
  const skew = Math.round((ours - theirs) / 1000);
  if (Math.abs(skew) <= doubtfulSkew) return ok(`as ${whose}, to within ${doubtfulSkew} s`);
  const seen = `ours is ${Math.abs(skew)} s ${skew > 0 ? "ahead of" : "behind"} ${whose}`;
  const fix = "Have this machine's clock set by NTP, if it is not the other one that is wrong.";
  return Math.abs(skew) > wrongSkew ? failed(seen, fix) : warning(seen, fix);
}
